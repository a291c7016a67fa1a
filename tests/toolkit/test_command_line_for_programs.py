"""What a program that calls the command line can rely on: failures as JSON, quiet pipes, any encoding, wrong usage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import anyio
import click
import pytest

from plasm.cli import main
from plasm.cli.failures import report
from plasm.cli.running import Interrupted, stoppable
from plasm.cli.table import table
from plasm.errors import PlanError
from plasm.jobs.messages import REASONS
from plasm.jobs.rejections import MENDS
from tests.toolkit.conftest import Shell

PEER = "12D3KooWRS8X7N12H9YhM7d9s2RA4934DzvDzDXXhYtB5Z9hHre8"

FAILING_COMMAND = """
    import click

    @click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
    @click.option("--json", "wanted", is_flag=True)
    @click.argument("args", nargs=-1, type=click.UNPROCESSED)
    def command(wanted, args):
        from plasm.cli.context import fail
        fail("it is broken", "mend it", code=7)
"""


# --- failures as JSON -----------------------------------------------------------------------------------------------


def test_a_failure_is_one_json_object_on_stdout_beside_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(PlanError("no driver x", "install it"), verbose=False, as_json=True) == 125
    written = capsys.readouterr()
    assert json.loads(written.out) == {"error": {"code": 125, "message": "no driver x", "mend": "install it"}}
    assert written.out.count("\n") == 1
    assert written.err == "plasm: no driver x; install it\n"


def test_leaving_with_a_code_of_its_own_is_no_failure_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(SystemExit(3), verbose=False, as_json=True) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [(["--json"], True), (["--json", "x"], True), ([], False), (["x", "--json"], False)],
    ids=["asked", "asked before the program", "not asked", "asked of the program"],
)
def test_any_command_that_is_given_json_fails_in_json(shell: Shell, arguments: list[str], shown: bool) -> None:
    shell.install("broken", FAILING_COMMAND, group="plasm.commands", target=":command")
    done = shell.run("broken", *arguments)
    assert done.returncode == 7
    assert done.stderr == "plasm: it is broken; mend it\n"
    error = {"error": {"code": 7, "message": "it is broken", "mend": "mend it"}}
    assert (json.loads(done.stdout) if done.stdout else None) == (error if shown else None)


def test_the_commands_of_a_group_fail_in_json_too(shell: Shell) -> None:
    hooks = FAILING_COMMAND + "\n    group = click.Group('outer', {'inner': command})\n"
    shell.install("outer", hooks, group="plasm.commands", target=":group")
    assert json.loads(shell.run("outer", "inner", "--json").stdout)["error"]["code"] == 7


def test_a_command_that_cannot_be_imported_is_told_as_that(shell: Shell) -> None:
    shell.install("broken", "raise RuntimeError('at import')", group="plasm.commands", target=":command")
    done = shell.run("broken", "--json")
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)


def test_wrong_usage_is_2_in_json_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes", "--json", "--nope"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == 2


# --- streams --------------------------------------------------------------------------------------------------------


def test_what_stdout_cannot_encode_ends_no_command(shell: Shell) -> None:
    hooks = "import click\n@click.command()\ndef command():\n    print('verified \\u2713')\n"
    shell.install("tick", hooks, group="plasm.commands", target=":command")
    done = shell.run("tick", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "verified ?\n", "")


def test_a_reader_that_has_seen_enough_hears_no_complaint(shell: Shell) -> None:
    hooks = "import click\n@click.command()\ndef command():\n    print('x')\n    raise SystemExit(0)\n"
    shell.install("late", hooks, group="plasm.commands", target=":command")
    code = f"import sys; sys.path.insert(0, {str(shell.folder)!r}); from plasm.cli import main; sys.exit(main())"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", code, "late"], stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


# --- stopping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_stop_ends_what_it_began(anyio_backend: str, number: int) -> None:
    ended = []

    async def work() -> None:
        try:
            signal.raise_signal(number)
            await anyio.sleep(30)
        finally:
            ended.append(True)

    began = time.monotonic()
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        anyio.run(stoppable, work, backend=anyio_backend)
    assert ended == [True]
    assert time.monotonic() - began < 10


def test_what_a_command_returns_or_raises_comes_through(anyio_backend: str) -> None:
    async def answer() -> int:
        return 3

    async def fail() -> int:
        raise PlanError("no")

    assert anyio.run(stoppable, answer, backend=anyio_backend) == 3
    with pytest.raises(PlanError):
        anyio.run(stoppable, fail, backend=anyio_backend)


# --- wrong usage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["start", "--listen", "0.0.0.0:4001"], "write /ip4/0.0.0.0/tcp/4001"),
        (["start", "--listen", "[::1]:9"], "write /ip6/::1/tcp/9"),
        (["start", "--listen", "localhost:9"], "write /ip4/0.0.0.0/tcp/9"),
        (["start", "--listen", "here"], "write /ip4/0.0.0.0/tcp/4001"),
        (["start", "--peer", "bogus"], "/p2p/PEER"),
        (["nodes", "--peer", "bogus"], "/p2p/PEER"),
        (["nodes", "--bootstrap", "/ip4/127.0.0.1/tcp/1"], "/p2p/PEER"),
        (["submit", "--peer", f"/ip4/127.0.0.1/tcp/1/p2p/{'1' * 600}", "x"], "too long"),
        (["nodes", "-t", "-1"], "above 0"),
        (["nodes", "-t", "nan"], "above 0"),
        (["nodes", "-t", "inf"], "above 0"),
        (["submit", "--look", "0", "x"], "above 0"),
        (["submit", "--wait", "-3", "x"], "above 0"),
    ],
)
def test_an_address_or_a_time_that_is_none_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_a_home_that_is_no_folder_says_what_to_name_instead(shell: Shell) -> None:
    done = shell.run("jobs", PLASM_HOME="/dev/null")
    assert done.returncode == 125
    assert "/dev/null is not a folder; name another in PLASM_HOME or --home" in done.stderr


# --- help and tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["start", "run", "execute-job", "submit", "result", "jobs", "cancel", "nodes", "verify"]
)
def test_each_option_is_described(command: str) -> None:
    from plasm.cli.root import root

    found = root.get_command(click.Context(root), command)
    assert found is not None
    undescribed = [each.name for each in found.params if isinstance(each, click.Option) and not each.help]
    assert undescribed == []


def test_start_says_where_it_listens_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["start", "--help"]) == 0
    assert "/ip4/0.0.0.0/tcp/4001" in capsys.readouterr().out


def test_each_reason_of_a_rejection_has_a_mend() -> None:
    assert set(MENDS) == set(REASONS)


def test_lines_that_are_printed_one_by_one_stand_under_one_header() -> None:
    first = table(("A", "B"), [("x", "1")], (4,)).splitlines()
    second = table(("A", "B"), [("yyy", "2")], (4,)).splitlines()
    assert first == ["A     B", "x     1"]
    assert second == ["A     B", "yyy   2"]

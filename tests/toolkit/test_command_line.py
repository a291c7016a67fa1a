"""The root of the command line: options before the command, commands that come when called, and one line on failure."""

from __future__ import annotations

import json
import logging
import stat
import subprocess
import sys
import time
from pathlib import Path

import anyio
import click
import pytest

from plasm import __version__
from plasm.cli import main
from plasm.cli.context import CommandFailed, Context, fail
from plasm.cli.failures import report
from plasm.cli.logs import configure_logging
from plasm.cli.root import COMMANDS, root
from plasm.errors import PlanError
from plasm.identity import parse_peer_id
from plasm.ports import DialFailed, NotRunnable
from plasm.registry import Registry
from tests.toolkit.conftest import Shell

COMMAND_PLUGIN = """
    import click

    @click.command()
    @click.pass_obj
    def command(context):
        print("called with", context.plugins, context.profile)
        {action}
"""

LOADED = "print(*sorted(name for name in sys.modules), file=sys.stderr)"


def modules_of(shell: Shell, *arguments: str) -> set[str]:
    return set(shell.run(*arguments, code=LOADED).stderr.split())


# --- version and help -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["-v", "version"], ["-v", "--version"]])
def test_version_says_which(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"plasm {__version__}\n"


@pytest.mark.parametrize("arguments", [["version", "--json"], ["-v", "version", "--json"]])
def test_version_is_there_for_programs(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__


def test_version_imports_next_to_nothing(shell: Shell) -> None:
    assert not modules_of(shell, "version") & {"click", "anyio", "msgspec", "pluggy", "logging", "importlib.metadata"}


def test_version_takes_less_than_100_ms_over_bare_python(shell: Shell) -> None:
    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, "version"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    bare, ours = [], []
    for _ in range(7):
        bare.append(seconds("pass"))
        ours.append(seconds("from plasm.cli import main; main()"))
    # The least of several: what else runs on the machine only ever adds.
    assert min(ours) - min(bare) < 0.1


def test_help_lists_every_command_and_imports_none(shell: Shell) -> None:
    shell.install("plasm-extra", COMMAND_PLUGIN.format(action=""), group="plasm.commands", target=":command")
    done = shell.run("--help", code=LOADED)
    assert done.returncode == 0
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert line.split()[0] in done.stdout
    assert "From plasm-extra 1.0." in done.stdout
    commands = {target.partition(":")[0] for target, _ in COMMANDS.values()} | {"plasm_extra"}
    assert not commands & set(done.stderr.split())


def test_completing_a_command_imports_none(shell: Shell) -> None:
    done = shell.run(_PLASM_COMPLETE="bash_complete", COMP_WORDS="plasm ver", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,verify", "plain,version"]


# --- wrong usage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bogus"], "No such command 'bogus'; see plasm --help"),
        (["--nope"], "see plasm --help"),
        (["version", "--nope"], "see plasm version --help"),
        (["--plugins"], "requires an argument"),
        (["--plugins", "a" * 5000, "version"], "longer than 4096 characters"),
        (["completion", "tcsh"], "tcsh"),
        (["bo\x1b[2Jgus"], "\\x1b"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("plasm: ")
    assert error.count("\n") == 1
    assert line in error
    assert "\x1b" not in error


def test_without_a_command_the_help_is_shown_as_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


# --- failures -------------------------------------------------------------------------------------------------------


FAILURES: list[tuple[BaseException, int, str]] = [
    (PlanError("no driver x", "install it"), 125, "plasm: no driver x; install it\n"),
    (CommandFailed("timed out", code=124), 124, "plasm: timed out\n"),
    (DialFailed("no answer\nfrom \x07it"), 125, "plasm: no answer from \\x07it\n"),
    (NotRunnable("no _start"), 126, "plasm: no _start\n"),
    (click.ClickException("no"), 125, "plasm: no\n"),
    (click.BadParameter("no"), 2, "plasm: Invalid value: no; see plasm --help\n"),
    (KeyboardInterrupt(), 130, "plasm: interrupted\n"),
    (click.Abort(), 130, "plasm: interrupted\n"),
    (PermissionError(13, "Permission denied", "/x"), 125, "plasm: /x: Permission denied\n"),
    (ValueError("odd"), 125, "plasm: unexpected ValueError: odd; -v shows where, please report it\n"),
    (SystemExit(3), 3, ""),
    (click.exceptions.Exit(4), 4, ""),
    (ExceptionGroup("a", [ExceptionGroup("b", [PlanError("inside")])]), 125, "plasm: inside\n"),
    (ExceptionGroup("a", [ValueError("first"), PlanError("tells more")]), 125, "plasm: tells more\n"),
    (BaseExceptionGroup("a", [ValueError("x"), SystemExit(5)]), 5, ""),
    (BaseExceptionGroup("a", [ValueError("x"), KeyboardInterrupt()]), 130, "plasm: interrupted\n"),
]


@pytest.mark.parametrize(("error", "code", "line"), FAILURES, ids=[repr(each[0])[:40] for each in FAILURES])
def test_a_failure_is_one_line_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert report(error, verbose=False) == code
    assert capsys.readouterr().err == line


def test_verbose_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(PlanError("no"), verbose=True) == 125
    assert "PlanError" in capsys.readouterr().err


def test_a_message_of_any_length_is_cut() -> None:
    assert len(str(PlanError("x" * 100_000))) <= 2000


def test_fail_ends_a_command_with_its_code() -> None:
    with pytest.raises(CommandFailed) as caught:
        fail("no", "do", code=1)
    assert (str(caught.value), caught.value.code) == ("no; do", 1)


def test_a_command_gives_its_exit_code_by_returning_leaving_or_exiting(shell: Shell) -> None:
    actions = {"one": "return 3", "two": "raise SystemExit(4)", "three": "click.get_current_context().exit(5)"}
    for name, action in actions.items():
        shell.install(name, COMMAND_PLUGIN.format(action=action), group="plasm.commands", target=":command")
    assert [shell.run(name).returncode for name in actions] == [3, 4, 5]


def test_a_reader_that_goes_away_is_no_answer_no(shell: Shell) -> None:
    hooks = COMMAND_PLUGIN.format(action="[print('x' * 1000) for _ in range(1000)]")
    shell.install("flood", hooks, group="plasm.commands", target=":command")
    code = f"import sys; sys.path.insert(0, {str(shell.folder)!r}); from plasm.cli import main; sys.exit(main())"
    flood = subprocess.Popen(
        [sys.executable, "-c", code, "flood"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with flood:
        assert flood.stdout is not None
        assert flood.stderr is not None
        flood.stdout.readline()
        flood.stdout.close()
        assert flood.stderr.read() == ""
    assert flood.returncode == 141


def test_log_lines_are_on_one_line_and_steer_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(verbose=False)
    try:
        logging.getLogger("plasm.test").warning("two\nlines and \x1b[2J")
        logging.getLogger("plasm.test").debug("not shown")
        logging.getLogger("some.library").error("not shown")
    finally:
        logging.getLogger("plasm").setLevel(logging.NOTSET)
        logging.getLogger().setLevel(logging.WARNING)
    error = capsys.readouterr().err
    assert error.endswith("WARNING plasm.test: two\\nlines and \\x1b[2J\n")
    assert "not shown" not in error


# --- commands of plugins --------------------------------------------------------------------------------------------


def test_a_plugins_command_gets_the_options_before_it(shell: Shell) -> None:
    shell.install("plasm-extra", COMMAND_PLUGIN.format(action=""), group="plasm.commands", target=":command")
    done = shell.run("--plugins", "a, b,,c", "--profile", "local", "extra")
    assert (done.returncode, done.stdout) == (0, "called with ('a', 'b', 'c') local\n")


def test_a_broken_command_names_its_distribution_and_stops_no_other(shell: Shell) -> None:
    shell.install("plasm-extra", "raise RuntimeError('at import')", group="plasm.commands", target=":command")
    done = shell.run("extra")
    assert done.returncode == 125
    assert done.stderr.startswith(
        "plasm: the command extra of plasm-extra 1.0 is broken: RuntimeError: at import; install"
    )
    assert done.stderr.count("\n") == 1
    assert "Traceback" in shell.run("-v", "extra").stderr
    assert shell.run("-v", "version").returncode == 0


def test_a_command_that_is_no_command_is_broken(shell: Shell) -> None:
    shell.install("plasm-extra", "command = 3", group="plasm.commands", target=":command")
    assert "it is no click.Command" in shell.run("extra").stderr


def test_a_command_that_two_offer_is_refused_with_both_names(shell: Shell) -> None:
    for name in ("plasm-one", "plasm-two"):
        shell.install(name, COMMAND_PLUGIN.format(action=""), group="plasm.commands", target=":command")
        module = name.replace("-", "_")
        info = shell.folder / f"{module}-1.0.dist-info" / "entry_points.txt"
        info.write_text(f"[plasm.commands]\nsame = {module}:command\n")
    done = shell.run("same")
    assert done.returncode == 125
    assert "plasm-one 1.0" in done.stderr
    assert "plasm-two 1.0" in done.stderr


def test_a_plugin_cannot_take_a_built_in_name(shell: Shell) -> None:
    shell.install("version", COMMAND_PLUGIN.format(action=""), group="plasm.commands", target=":command")
    assert shell.run("-v", "version").stdout == f"plasm {__version__}\n"


# --- the context ----------------------------------------------------------------------------------------------------


def test_home_is_the_option_then_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASM_HOME", str(tmp_path / "environment"))
    assert Context().home == tmp_path / "environment"
    assert Context(home_path=tmp_path / "option").home == tmp_path / "option"


def test_the_context_plans_with_all_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASM_PLUGINS", "missing-from-environment")
    (tmp_path / "config.toml").write_text("profile = 'missing-profile'")
    context = Context(home_path=tmp_path)
    context.__dict__["_registry"] = Registry()
    with pytest.raises(PlanError, match="missing-profile"):
        context.plan({"runtime"})
    context = Context(home_path=tmp_path, profile="internet", config_path=None)
    assert context.settings().profile == "missing-profile"


def test_the_root_command_can_be_used_without_main() -> None:
    assert isinstance(root, click.Group)


# --- init -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twice", [False, True])
def test_init_makes_a_home_that_only_its_owner_can_open_and_keeps_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], twice: bool
) -> None:
    home = tmp_path / "home"
    arguments = ["--profile", "internet", "init", "-p", str(home), "--json"]
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["made"] == {"home": True, "config": True, "identity": True}
    assert parse_peer_id(first["peer_id"]) == first["peer_id"]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "config.toml").stat().st_mode) == 0o600
    if twice:
        (home / "config.toml").write_text("[node]\nslots = 1\n")
        assert main(arguments) == 0
        second = json.loads(capsys.readouterr().out)
        assert second == first | {"made": {"home": False, "config": False, "identity": False}}
        assert (home / "config.toml").read_text() == "[node]\nslots = 1\n"


def test_inits_template_means_the_defaults_and_names_every_setting() -> None:
    from plasm.cli.init import TEMPLATE
    from plasm.config import NodeSettings, read_config

    assert read_config(TEMPLATE).node == NodeSettings()
    for name in NodeSettings.__struct_fields__:
        assert f"\n# {name} = " in TEMPLATE
    uncommented = TEMPLATE.replace("\n# ", "\n").replace("Options of", "# Options of")
    settings = read_config(uncommented).node
    assert settings.max_queue == NodeSettings().max_queue


def test_init_in_a_profile_that_writes_nothing_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--profile", "private", "init", "-p", str(tmp_path / "home")]) == 125
    assert "writes nothing" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_anyio_is_not_needed_to_describe_the_commands(shell: Shell) -> None:
    assert anyio.__name__ not in modules_of(shell, "--help")

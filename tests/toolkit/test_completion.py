"""Completion in a shell: of both programs, and of the names that one would otherwise have to look up."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from plasm.cli import main
from plasm.jobs.book import Book
from tests.jobs.world import page
from tests.toolkit.conftest import Shell

DRIVERS = """
    from plasm.drivers import Driver, ProfileFile
    from plasm.hookspecs import hookimpl

    @hookimpl
    def plasm_stores():
        return (Driver(name="zz-tape", open=print), Driver(name="zz-card", open=print))

    @hookimpl
    def plasm_runtimes():
        return (Driver(name="zz-engine", open=print),)

    @hookimpl
    def plasm_profiles():
        return (ProfileFile("zz-mine", "nowhere", "mine.toml"),)
"""


def complete(shell: Shell, line: str, program: str = "plasm") -> list[str]:
    """What bash is offered at the end of `line`."""
    variable = f"_{program.upper()}_COMPLETE"
    done = shell.run(**{variable: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))})
    assert done.stderr == ""
    return [item.removeprefix("plain,") for item in done.stdout.split()]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_is_for_both_programs(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["completion", name]) == 0
    script = capsys.readouterr().out
    assert "_PLASM_COMPLETE" in script
    assert "_PLASMD_COMPLETE" in script


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_help_has_the_line_to_add_for_each_shell(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["completion", "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    line = f"plasm completion {name} | source" if name == "fish" else f'eval "$(plasm completion {name})"'
    assert line in lines


@pytest.mark.parametrize("program", ["plasm", "plasmd"])
def test_commands_are_completed_for_both_programs(shell: Shell, program: str) -> None:
    assert complete(shell, f"{program} ver", program) == ["verify", "version"]


def test_profiles_and_drivers_are_completed(shell: Shell) -> None:
    shell.install("plasm-zz", DRIVERS)
    assert complete(shell, "plasm --profile zz") == ["zz-mine"]
    assert complete(shell, "plasm --plugins zz-t") == ["zz-tape"]
    assert complete(shell, "plasm --plugins fs,zz-t") == ["fs,zz-tape"]
    assert complete(shell, "plasm --plugins store:zz") == ["store:zz-card", "store:zz-tape"]
    assert complete(shell, "plasm run --runtime zz") == ["zz-engine"]


def test_jobs_of_the_home_are_completed(shell: Shell, tmp_path: Path) -> None:
    for home, name in ((shell.home, "a" * 32), (tmp_path / "other", "ab" * 16)):
        (home / "submissions").mkdir(parents=True)
        anyio.run(Book(home / "submissions").record, page(int(name, 16)))
    assert complete(shell, "plasm result a") == ["a" * 32]
    assert complete(shell, f"plasm --home {tmp_path / 'other'} cancel a") == ["ab" * 16]


def test_a_broken_plugin_or_home_completes_nothing_and_says_nothing(shell: Shell) -> None:
    shell.install("plasm-bad", "raise RuntimeError('at import')")
    shell.home.write_text("no folder")
    assert complete(shell, "plasm result a") == []
    assert complete(shell, "plasm --plugins zz") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_the_line_of_the_help(tmp_path: Path) -> None:
    program = tmp_path / "plasm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m plasm "$@"\n')
    program.chmod(0o755)
    script = (
        f'PATH={tmp_path}:$PATH; eval "$(plasm completion bash)"; complete -p plasm plasmd;'
        'COMP_WORDS=(plasm ver); COMP_CWORD=1; _plasm_completion plasm; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "-F _plasmd_completion plasmd" in done.stdout
    assert done.stdout.splitlines()[-1] == "verify version"

"""The engine is installed once, whole or not at all, and a failure says what would mend it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from plasm_wasmer import environment
from plasm_wasmer.environment import packages

from plasm.drivers import DriverUnavailable
from plasm.testing import make_scope

pytestmark = pytest.mark.anyio

_LOG = make_scope().log
_FAKE = """#!/bin/sh
echo "$*" >> {calls}
case "$*" in
*"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
*"pip install"*) {pip} ;;
esac
"""
_INSTALL = 'next=; for w; do test "$next" && mkdir -p "$w"; next=; test "$w" = --target && next=1; done; :'


class FakeInterpreter:
    """A program that does what an interpreter with `venv` and `pip` would, and notes that it was called."""

    def __init__(self, folder: Path, pip: str) -> None:
        self.calls = folder / "calls"
        self.path = folder / "python3.10"
        self.path.write_text(_FAKE.format(calls=self.calls, pip=pip))
        self.path.chmod(0o755)

    def count(self, what: str) -> int:
        return sum(what in line for line in self.calls.read_text().splitlines()) if self.calls.exists() else 0


async def _install(home: Path | None, python: FakeInterpreter, seconds: float = 30.0) -> Path:
    async with packages(home, str(python.path), seconds, _LOG) as folder:
        assert folder.is_dir()
        return folder


async def test_it_is_made_once(tmp_path: Path) -> None:
    python, home = FakeInterpreter(tmp_path, _INSTALL), tmp_path / "home"
    first = await _install(home, python)
    assert await _install(home, python) == first
    assert python.count("pip install") == 1
    assert "--require-hashes" in python.calls.read_text()


async def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    python, home = FakeInterpreter(tmp_path, f"sleep 0.3; {_INSTALL}"), tmp_path / "home"
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(_install, home, python)
    assert python.count("pip install") == 1


async def test_a_failure_leaves_nothing_and_is_told_in_one_line_with_a_mend(tmp_path: Path) -> None:
    python, home = FakeInterpreter(tmp_path, "printf 'no network\\033[31m\\n' >&2; exit 1"), tmp_path / "home"
    with pytest.raises(DriverUnavailable, match=r"no network\\x1b") as refusal:
        await _install(home, python)
    assert "pip" in refusal.value.mend
    assert [path.name for path in home.iterdir()] == ["installing.lock"]


async def test_an_interrupted_installation_is_swept_away(tmp_path: Path) -> None:
    python, home = FakeInterpreter(tmp_path, _INSTALL), tmp_path / "home"
    (home / "building-left").mkdir(parents=True)
    await _install(home, python)
    assert not list(home.glob("building-*"))


async def test_one_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    python, home = FakeInterpreter(tmp_path, "sleep 60"), tmp_path / "home"
    with pytest.raises(DriverUnavailable, match="within 1 s"):
        await _install(home, python, 1.0)
    assert [path.name for path in home.iterdir()] == ["installing.lock"]


async def test_without_a_home_it_is_in_memory_and_removed(tmp_path: Path) -> None:
    python = FakeInterpreter(tmp_path, _INSTALL)
    async with packages(None, str(python.path), 30.0, _LOG) as folder:
        assert folder.is_relative_to("/dev/shm")
        assert "--no-cache-dir" in python.calls.read_text()
    assert not folder.parent.exists()


async def test_without_a_home_and_without_memory_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_MEMORY", tmp_path / "not-there")
    with pytest.raises(DriverUnavailable, match="writes none") as refusal:
        await _install(None, FakeInterpreter(tmp_path, _INSTALL))
    assert refusal.value.mend

"""An interpreter counts only if it runs and is a CPython 3.10; without one the reason says what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from plasm_wasmer import hooks
from plasm_wasmer.interpreter import VARIABLE, find_interpreter

from plasm.drivers import DriverUnavailable


def _script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return {"PATH": str(folder / "bin"), "HOME": str(folder), **more}


def _says(version: str) -> str:
    return f"echo 'cpython {version} x86_64 /found/python'"


def test_without_one_the_reason_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DriverUnavailable, match=r"needs Python 3\.10") as refusal:
        find_interpreter(_environment(tmp_path))
    assert "uv python install 3.10" in refusal.value.mend
    assert VARIABLE in refusal.value.mend


def test_one_on_the_path_is_found(tmp_path: Path) -> None:
    _script(tmp_path / "bin" / "python3.10", _says("3 10"))
    assert find_interpreter(_environment(tmp_path)) == "/found/python"


def test_a_shim_that_fails_does_not_count_and_pyenvs_own_is_found(tmp_path: Path) -> None:
    _script(tmp_path / "bin" / "python3.10", "exit 127")
    _script(tmp_path / ".pyenv" / "versions" / "3.10.13" / "bin" / "python3.10", _says("3 10"))
    assert find_interpreter(_environment(tmp_path)) == "/found/python"


def test_one_that_uv_knows_is_found_even_where_a_shim_stops_its_search(tmp_path: Path) -> None:
    real = _script(tmp_path / "uv-python", _says("3 10"))
    _script(tmp_path / "bin" / "uv", f'case "$*" in *managed*) echo {real};; *) exit 2;; esac')
    assert find_interpreter(_environment(tmp_path)) == "/found/python"


def test_another_version_does_not_count(tmp_path: Path) -> None:
    _script(tmp_path / "bin" / "python3.10", _says("3 11"))
    with pytest.raises(DriverUnavailable, match="did not run as such"):
        find_interpreter(_environment(tmp_path))


def test_what_the_variable_names_is_taken_or_refused_and_nothing_else_tried(tmp_path: Path) -> None:
    _script(tmp_path / "bin" / "python3.10", _says("3 10"))
    with pytest.raises(DriverUnavailable, match=VARIABLE):
        find_interpreter(_environment(tmp_path, **{VARIABLE: sys.executable}))
    named = _script(tmp_path / "mine", "echo 'cpython 3 10 x86_64 /mine/python'")
    assert find_interpreter(_environment(tmp_path, **{VARIABLE: str(named)})) == "/mine/python"


def test_the_check_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    (driver,) = hooks.plasm_runtimes()
    assert driver.check is not None
    with pytest.raises(DriverUnavailable, match=r"needs Python 3\.10"):
        driver.check()

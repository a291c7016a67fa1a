"""Finds a Python 3.10, which wasmer's last release needs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from plasm.drivers import DriverUnavailable

VARIABLE: Final = "PLASM_WASMER_PYTHON"
MEND: Final = f"uv python install 3.10, or pyenv install 3.10, or set {VARIABLE} to a python3.10"
_SECONDS: Final = 10.0
"""For an interpreter to say what it is; a cold one takes half a second."""
_QUESTION: Final = (
    "import ctypes, ensurepip, platform, sys, venv; "
    "print(sys.implementation.name, *sys.version_info[:2], platform.machine(), sys.executable)"
)
_MACHINES: Final = ("x86_64",)
"""For which there are wheels of wasmer for Linux."""


def find_interpreter(environment: Mapping[str, str] | None = None) -> str:
    """The path of a CPython 3.10 that runs here, with ``venv``. Blocks for seconds at most.

    `environment` is the process's own where not given. Raises :exc:`DriverUnavailable`.
    """
    environment = os.environ if environment is None else environment
    if platform.machine() not in _MACHINES:
        raise DriverUnavailable(f"wasmer has no wheels for {platform.machine()}", "use another runtime")
    told = environment.get(VARIABLE)
    if told:
        found = _ask(told)
        if found is None:
            raise DriverUnavailable(f"{VARIABLE} names no working CPython 3.10 with venv: {told[:200]!r}", MEND)
        return found
    tried = []
    for candidate in _candidates(environment):
        found = _ask(candidate)
        if found is not None:
            return found
        tried.append(candidate)
    seen = f" ({', '.join(map(repr, tried[:3]))} did not run as such)" if tried else ""
    raise DriverUnavailable(f"the engine wasmer needs Python 3.10, and none was found{seen}", MEND)


def _candidates(environment: Mapping[str, str]) -> Iterator[str]:
    """Where one may be, the cheapest to find first; each has yet to show that it runs."""
    path = environment.get("PATH", os.defpath)
    for folder in path.split(os.pathsep):
        candidate = Path(folder or ".") / "python3.10"
        if candidate.is_absolute() and os.access(candidate, os.X_OK):
            yield str(candidate)
    root = environment.get("PYENV_ROOT") or os.path.join(environment.get("HOME", "/"), ".pyenv")
    yield from sorted(map(str, Path(root).glob("versions/3.10*/bin/python3.10")), reverse=True)
    uv = shutil.which("uv", path=path)
    if uv is not None:
        # A shim of pyenv on the path that names no version stops uv's search; only what uv manages is asked for then.
        for preference in ((), ("--managed-python",)):
            answer = _output([uv, "python", "find", "--no-project", "--offline", *preference, "3.10"])
            if answer:
                yield answer


def _ask(candidate: str) -> str | None:
    """The interpreter behind `candidate`, if it runs and is the one that is wanted: a shim can be there and fail."""
    answer = _output([candidate, "-I", "-c", _QUESTION])
    match (answer or "").split(" ", 4):
        case ["cpython", "3", "10", machine, executable] if machine in _MACHINES:
            return executable
    return None


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout[:4096].decode(errors="replace").strip() if done.returncode == 0 else None

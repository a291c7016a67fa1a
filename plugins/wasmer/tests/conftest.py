"""One environment of the engine for all tests, and a reason where none can be had."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import pytest
from plasm_wasmer.environment import packages
from plasm_wasmer.interpreter import find_interpreter

from plasm.drivers import DriverUnavailable
from plasm.testing import make_scope


@pytest.fixture
def anyio_backend() -> str:
    """What holds in the cell holds whatever loop the node runs; tests of the node's side name both back ends."""
    return "trio"


@pytest.fixture(scope="session")
def interpreter() -> str:
    try:
        return find_interpreter()
    except DriverUnavailable as error:
        pytest.skip(f"{error}: {error.mend}")


@pytest.fixture(scope="session")
def installed(interpreter: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the engine is installed."""
    home = tmp_path_factory.mktemp("wasmer")

    async def install() -> None:
        async with packages(home, interpreter, 300.0, make_scope().log):
            pass

    anyio.run(install)
    return home


@pytest.fixture
def home(installed: Path, tmp_path: Path) -> Path:
    """A home of its own for a test, with the engine and nothing else."""
    (folder,) = installed.glob("packages-*")
    (tmp_path / "home").mkdir(mode=0o700)
    shutil.copytree(folder, tmp_path / "home" / folder.name, copy_function=lambda a, b: Path(b).hardlink_to(a))
    return tmp_path / "home"

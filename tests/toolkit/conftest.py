"""Plugins that exist only while a test runs: in this process, or installed in a folder for another one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from plasm.drivers import Driver, ProfileFile, Service
from plasm.hookspecs import hookimpl
from plasm.registry import Registry, load_registry

HOOKS = {
    "signer": "plasm_signers",
    "store": "plasm_stores",
    "transport": "plasm_transports",
    "discovery": "plasm_discoveries",
    "runtime": "plasm_runtimes",
    "service": "plasm_services",
    "profile": "plasm_profiles",
}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class MadeDistribution(metadata.Distribution):
    """An installed distribution that is nowhere on disk."""

    def __init__(self, name: str, version: str, entry_points: Mapping[str, str]) -> None:
        lines = "\n".join(f"{key} = {value}" for key, value in entry_points.items())
        self._texts = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            "entry_points.txt": f"[plasm]\n{lines}\n",
        }

    def read_text(self, filename: str) -> str | None:
        return self._texts.get(filename)

    def locate_file(self, path: Any) -> Path:
        raise NotImplementedError


def driver(name: str, **facts: Any) -> Driver[Any]:
    """A driver that opens as a fresh object."""

    @asynccontextmanager
    async def open_(scope: Any, options: Any) -> Any:
        yield object()

    return Driver(name=name, open=facts.pop("open", open_), **facts)


Offers = Mapping[str, Sequence[Driver[Any] | Service | ProfileFile]]


@dataclass
class Plugins:
    """Makes plugins in this process and the registry of them."""

    monkeypatch: pytest.MonkeyPatch
    made: list[MadeDistribution]

    def add(self, name: str, offers: Offers | None = None, *, version: str = "1.0", **attributes: Any) -> None:
        """A distribution `name` whose hooks module offers `offers` by port and has `attributes` besides."""
        module = ModuleType(f"{name.replace('-', '_')}_hooks")
        for port, things in (offers or {}).items():
            setattr(module, HOOKS[port], hookimpl(_answering(tuple(things), HOOKS[port])))
        for attribute, value in attributes.items():
            setattr(module, attribute, value)
        self.monkeypatch.setitem(sys.modules, module.__name__, module)
        self.made.append(MadeDistribution(name, version, {name.removeprefix("plasm-"): module.__name__}))

    def add_missing(self, name: str, module: str) -> None:
        """A distribution `name` whose module cannot be imported."""
        self.made.append(MadeDistribution(name, "1.0", {name.removeprefix("plasm-"): module}))

    def registry(self) -> Registry:
        return load_registry(self.made)


def _answering(answer: Any, name: str) -> Callable[[], Any]:
    def hook() -> Any:
        return answer

    hook.__name__ = name
    return hook


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    return Plugins(monkeypatch, [])


@dataclass
class Shell:
    """Runs plasm in a process of its own, with the distributions that were installed for it."""

    folder: Path
    home: Path

    def install(self, name: str, hooks: str, *, group: str = "plasm", target: str = "", version: str = "1.0") -> None:
        """Install a distribution `name` with one module of the text `hooks`."""
        module = name.replace("-", "_")
        (self.folder / f"{module}.py").write_text(textwrap.dedent(hooks))
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        short = name.removeprefix("plasm-")
        (info / "entry_points.txt").write_text(f"[{group}]\n{short} = {module}{target}\n")

    def run(self, *arguments: str, code: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """``plasm ARGUMENTS``, after which `code` runs in the same process."""
        program = f"import sys; from plasm.cli import main; code = main(); {code or 'pass'}; sys.exit(code)"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PLASM_")}
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=kept | {"PYTHONPATH": str(self.folder), "PLASM_HOME": str(self.home)} | environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "site"
    folder.mkdir()
    return Shell(folder, tmp_path / "home")

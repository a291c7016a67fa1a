"""Real programs as modules, built or fetched once for this machine, and a home that has them compiled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import ROOT, Cli, RunningNode, running_node

PROGRAMS = ROOT / "examples" / "programs"
COMPILED = Path("cache", "wasmtime", "compiled")
PATIENCE = "[runtime.wasmtime]\ncompile_seconds = 600\n"
"""CPython takes three quarters of a minute of a processor, which a test run shares."""


@pytest.fixture(scope="session")
def module() -> Callable[[str], Path]:
    """A program's module by its name. Skips where a registry cannot be reached, but never in CI."""
    found: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in found:
            command = [sys.executable, str(PROGRAMS), name]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900)
            if done.returncode:
                assert not os.environ.get("CI"), done.stderr
                pytest.skip(f"{name} cannot be had: {done.stderr.strip()}")
            found[name] = Path(done.stdout.strip())
        return found[name]

    return get


@pytest.fixture(scope="session")
def local(module: Callable[[str], Path]) -> Cli:
    """The command line of a home that stays from one test run to the next, for what is compiled there."""
    home = module("quickjs").parents[1] / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "config.toml").write_text(PATIENCE)
    return Cli(home)


@pytest.fixture(scope="session")
def runtimes(local: Cli) -> dict[str, str]:
    """The runtimes that are installed, each with what keeps it from running on this machine."""
    drivers = json.loads(local("plugins", "--check", "--json").stdout)["drivers"]
    return {each["name"]: each["problem"] for each in drivers if each["port"] == "runtime"}


@pytest.fixture(scope="session")
def worker(local: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that finds compiled what the command line has compiled."""
    home = tmp_path_factory.mktemp("worker") / "home"
    for folder in (home, home / COMPILED.parts[0], (home / COMPILED).parent):
        folder.mkdir(mode=0o700)
    (home / "config.toml").write_text(PATIENCE)
    if (local.home / COMPILED).exists():
        shutil.copytree(local.home / COMPILED, home / COMPILED)
        (home / COMPILED).chmod(0o700)
    with running_node(home) as node:
        yield node


@pytest.fixture(scope="session")
def sender(worker: RunningNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with running_node(tmp_path_factory.mktemp("sender") / "home", "--peer", worker.address) as node:
        yield Cli(node.home)

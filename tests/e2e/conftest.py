from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wasmtime

from tests.e2e.processes import ROOT, Cli, RunningNode, running_node


@pytest.fixture(scope="session")
def wasm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A module of tests/modules by its name, or WAT itself, as a file."""
    folder = tmp_path_factory.mktemp("wasm")

    def build(source: str) -> Path:
        named = ROOT / "tests" / "modules" / f"{source}.wat" if len(source) < 64 else None
        text = named.read_text() if named is not None else source
        target = folder / f"{source if named is not None else hash(source)}.wasm"
        if not target.exists():
            target.write_bytes(wasmtime.wat2wasm(text))
        return target

    return build


@pytest.fixture(scope="session")
def hello() -> Path:
    return ROOT / "examples" / "hello.wasm"


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that takes jobs, for all tests that leave it as they found it."""
    with running_node(tmp_path_factory.mktemp("worker") / "home") as node:
        yield node


@pytest.fixture(scope="session")
def sender(tmp_path_factory: pytest.TempPathFactory, worker: RunningNode) -> Iterator[Cli]:
    """The command line of a second node, which joined through the first."""
    with running_node(tmp_path_factory.mktemp("sender") / "home", "--peer", worker.address) as node:
        yield Cli(node.home)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line of a home of its own, on which no node runs."""
    return Cli(tmp_path / "home")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

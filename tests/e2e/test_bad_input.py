"""What bad input gets: the right verdict, one clear line, and a node as healthy as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.processes import Cli, RunningNode

EXPECTED = {
    "no-start": 126,
    "no-memory": 126,
    "missing-import": 126,
    "missing-wasi-function": 126,
    "other-signature": 126,
    "spin": 124,
    "spin-in-start-section": 124,
    "eat-memory": 137,
    "grow-at-once": 137,
    "large-at-the-start": 137,
    "print-megabytes": 153,
    "call-the-host": 124,
    "recurse": 134,
    "trap": 134,
    "sleep": 3,
}
MALFORMED = {
    "not wasm": b"#!/bin/sh\necho no\n",
    "empty": b"",
    "truncated": b"\0asm\x01\0\0\0\x01\x08\x02",
    "a component": b"\0asm\x0d\0\x01\0",
    "deeply nested": b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x96\x9c\x01\x01\x92\x9c\x01\0"
    + b"\x02\x40" * 10000
    + b"\x0b" * 10001,
}


@pytest.fixture(autouse=True)
def healthy(worker: RunningNode, sender: Cli, hello: Path) -> Iterator[None]:
    """The node serves an honest job after each of these, and holds no more processes and descriptors than before."""
    assert sender("submit", "--peer", worker.address, hello).stdout == b"dlroW ,olleH"
    process = psutil.Process(worker.process.pid)
    children, descriptors = len(process.children(recursive=True)), process.num_fds()
    yield
    assert sender("submit", "--peer", worker.address, hello).stdout == b"dlroW ,olleH"
    assert worker.process.poll() is None
    # With its second job a node starts the processes of all of its slots, on two cores two more, each with a spare.
    assert len(process.children(recursive=True)) <= children + 2 * (psutil.cpu_count() or 1)
    assert process.num_fds() <= descriptors + 16


def one_line(stderr: bytes) -> bool:
    lines = [line for line in stderr.decode().splitlines() if line.startswith("plasm: ")]
    return len(lines) == 1 and "Traceback" not in stderr.decode()


@pytest.mark.parametrize(("module", "code"), EXPECTED.items())
def test_a_hostile_module_gets_its_verdict(
    sender: Cli, worker: RunningNode, wasm: Callable[[str], Path], module: str, code: int
):
    done = sender("submit", "--timeout", "2", "--memory", "64", "--peer", worker.address, wasm(module))

    assert done.returncode == code, done.stderr
    assert code < 124 or one_line(done.stderr), done.stderr


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_runnable_module_is_126_and_one_clear_line(
    sender: Cli, worker: RunningNode, tmp_path: Path, kind: str
):
    module = tmp_path / "bad.wasm"
    module.write_bytes(MALFORMED[kind])
    done = sender("submit", "--peer", worker.address, module)

    assert done.returncode == 126, done.stderr
    assert one_line(done.stderr), done.stderr


def test_a_module_over_the_nodes_bound_is_rejected_with_a_reason(sender: Cli, worker: RunningNode, tmp_path: Path):
    module = tmp_path / "huge.wasm"
    with module.open("wb") as file:
        file.write(b"\0asm\x01\0\0\0")
        file.truncate(65 * 2**20)
    done = sender("submit", "--peer", worker.address, module)

    assert done.returncode == 125
    assert b"InsufficientResources" in done.stderr


def test_a_missing_file_is_one_clear_line(sender: Cli):
    done = sender("submit", "/nowhere/hello.wasm")

    assert done.returncode == 125
    assert one_line(done.stderr), done.stderr


@pytest.mark.parametrize("command", ["run", "execute-job", "submit"])
def test_an_option_that_there_is_not_is_no_module(cli: Cli, hello: Path, command: str):
    done = cli(command, "--memry", "64", hello)

    assert done.returncode == 2
    assert b"No such option '--memry'" in done.stderr
    assert b"'--memory'" in done.stderr


@pytest.mark.parametrize("command", ["run", "execute-job", "submit"])
def test_a_digest_that_is_cut_off_is_no_file(cli: Cli, command: str):
    done = cli(command, "sha256:8dd2")

    assert done.returncode == 2
    assert b"invalid digest 'sha256:8dd2': expected sha256: and 64 digits" in done.stderr


def test_what_this_homes_node_does_not_run_says_how_it_would(sender: Cli, hello: Path):
    done = sender("execute-job", "--runtime", "wasm3", hello)

    assert done.returncode == 125
    assert b"plasm --plugins wasm3 start" in done.stderr


def test_a_receipt_of_a_program_that_failed_comes_with_the_reason(cli: Cli, wasm: Callable[[str], Path]):
    done = cli("execute-job", wasm("trap"))

    assert (done.returncode, one_line(done.stderr)) == (134, True)
    assert b"the program trapped" in done.stderr

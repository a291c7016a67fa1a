"""A node inside a program: what ``plasm.embedding`` promises, and the example that stands on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from plasm.embedding import JobResult, PlasmError, embedded_node, jobs_of
from plasm.ports import Verdict
from tests.e2e.processes import ROOT, Cli, RunningNode, clean_environment


def example(folder: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "examples" / "embed_node.py", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=folder,
        env=clean_environment(folder / "home"),
    )


def test_the_example_without_an_argument_says_its_usage(tmp_path: Path):
    done = example(tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


def test_the_example_does_not_take_a_trap_for_a_result(tmp_path: Path, wasm: Callable[[str], Path]):
    done = example(tmp_path, wasm("trap"))

    assert (done.returncode, done.stdout) == (1, "")
    assert "says: trapped" in done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_jobs_go_by_way_of_a_running_node_on_any_loop(
    sender: Cli, worker: RunningNode, hello: Path, tmp_path: Path, backend: str
):
    module = hello.read_bytes()

    async def submit() -> JobResult:
        return await jobs_of(sender.home).submit(module, stdin=b"abc", peers=[worker.address])

    result = anyio.run(submit, backend=backend)

    assert (result.node, result.verdict, result.exit_code) == (worker.peer, Verdict.EXITED, 0)
    assert (result.stdout, result.stderr) == (b"cba", b"")
    assert sender("verify", "-", "--node", worker.address, stdin=result.receipt).returncode == 0


@pytest.mark.parametrize(
    ("module", "limit", "verdict"),
    [
        ("hello", {"output_bytes": 2}, Verdict.OUTPUT_LIMIT),
        ("call-the-host", {"host_calls": 9}, Verdict.HOST_CALL_LIMIT),
    ],
)
def test_a_job_has_the_limits_that_it_is_given(
    sender: Cli,
    worker: RunningNode,
    hello: Path,
    wasm: Callable[[str], Path],
    module: str,
    limit: dict[str, int],
    verdict: Verdict,
):
    content = (hello if module == "hello" else wasm(module)).read_bytes()

    async def submit() -> JobResult:
        return await jobs_of(sender.home).submit(content, stdin=b"abc", peers=[worker.address], **limit)

    assert anyio.run(submit).verdict is verdict


def test_what_cannot_be_a_job_is_refused_before_anything_is_sent(tmp_path: Path):
    for wrong in ({"memory_mb": 0}, {"file_bytes": -1}, {"args": ["a\0b"]}, {"env": {"": "x"}}):
        with pytest.raises(PlasmError, match="this cannot be a job"):
            anyio.run(lambda wrong=wrong: jobs_of(tmp_path).submit(b"", **wrong))


def test_a_loop_that_a_driver_does_not_run_on_is_refused_with_the_one_that_does(tmp_path: Path):
    async def embed() -> None:
        async with embedded_node(tmp_path / "home", profile="internet"):
            pytest.fail("it was opened")

    with pytest.raises(PlasmError, match=r"does not run on asyncio.*backend=\"trio\""):
        anyio.run(embed, backend="asyncio")
    assert not (tmp_path / "home").exists()


def test_a_home_with_a_node_on_it_is_not_taken(sender: Cli):
    async def embed() -> None:
        async with embedded_node(sender.home, profile="internet"):
            pytest.fail("it was opened")

    with pytest.raises(PlasmError, match="is using the home"):
        anyio.run(embed, backend="trio")

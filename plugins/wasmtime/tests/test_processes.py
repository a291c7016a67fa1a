"""Cells are processes of their own that nothing outlives: cancelling, dying, closing, a node that is killed."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from plasm.ports import Invocation, Limits, RuntimeFailed, Verdict
from tests.children import pids_of_a_killed_node

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The conformance suite runs on both back ends; what becomes of processes is the kernel's affair."""
    return "trio"


ISOLATIONS = pytest.mark.parametrize("isolation", ["cell", "reused"])


async def _until(condition: Any, seconds: float = 30.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 (another process's doing)
            await anyio.sleep(0.01)


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _cells(pids: frozenset[int]) -> frozenset[int]:
    """Those that a warm parent forked."""
    found = set()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found |= {pid} if psutil.Process(pid).ppid() in pids else set()
    return frozenset(found)


def _busy(pids: frozenset[int]) -> list[int]:
    """Those that run the guest: it spins, so it is the one that uses the processor."""
    found = []
    for pid in pids:
        try:
            if pid in _cells(pids) and psutil.Process(pid).cpu_times().user > 0.6:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


@ISOLATIONS
async def test_cancelling_a_run_kills_its_process_first(bench: Any, leaves_nothing: Any, isolation: str) -> None:
    with leaves_nothing():
        async with bench.open(isolation=isolation, slots=1, spares=0) as runtime:
            spin = bench.module("spin")
            await runtime.prepare(bench.digest(spin), spin)
            invocation = Invocation(module=bench.digest(spin), limits=Limits(wall_seconds=60))
            running: list[int] = []
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(runtime.run, invocation)
                    await _until(lambda: _busy(runtime.pids))
                    running = _busy(runtime.pids)
                    started = time.perf_counter()
                    scope.cancel()
            assert time.perf_counter() - started < 2
            assert not any(psutil.pid_exists(pid) for pid in running)
            await bench.check_honest(runtime)


@ISOLATIONS
async def test_a_cell_that_is_killed_in_a_job_is_an_outcome_and_is_replaced(
    bench: Any, leaves_nothing: Any, isolation: str
) -> None:
    with leaves_nothing():
        async with bench.open(isolation=isolation, slots=1, spares=0) as runtime:
            outcomes = []

            async def run() -> None:
                outcomes.append(await bench.run(runtime, bench.module("spin"), wall_seconds=60))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await _until(lambda: _busy(runtime.pids))
                os.kill(_busy(runtime.pids)[0], signal.SIGABRT)
            assert outcomes[0].verdict is Verdict.CELL_DIED
            assert "SIGABRT" in outcomes[0].detail
            await bench.check_honest(runtime)


@ISOLATIONS
async def test_idle_cells_that_are_killed_cost_no_job(bench: Any, leaves_nothing: Any, isolation: str) -> None:
    with leaves_nothing():
        async with bench.open(isolation=isolation) as runtime:
            await bench.check_honest(runtime)
            for pid in runtime.pids:
                os.kill(pid, signal.SIGKILL)
                await _until(lambda pid=pid: not psutil.pid_exists(pid) or "State:\tZ" in _status(pid))
            for _ in range(3):
                await bench.check_honest(runtime)


@ISOLATIONS
async def test_closing_with_jobs_running_takes_less_than_two_seconds(
    bench: Any, leaves_nothing: Any, isolation: str
) -> None:
    spin = bench.module("spin")
    with leaves_nothing():
        started = 0.0
        with anyio.CancelScope() as scope:
            async with bench.open(isolation=isolation) as runtime:
                await runtime.prepare(bench.digest(spin), spin)
                async with anyio.create_task_group() as tasks:
                    for _ in range(2):
                        tasks.start_soon(runtime.run, Invocation(module=bench.digest(spin)))
                    await _until(lambda: len(_busy(runtime.pids)) == 2)
                    started = time.perf_counter()
                    scope.cancel()
        assert time.perf_counter() - started < 2


async def test_a_fresh_process_serves_each_job(bench: Any) -> None:
    async with bench.open(slots=1, spares=1) as runtime:
        await bench.check_honest(runtime)
        await _until(lambda: bool(_cells(runtime.pids)))
        first = _cells(runtime.pids)
        await bench.check_honest(runtime)
        await bench.check_honest(runtime)
        assert not first & _cells(runtime.pids)


async def test_processes_started_for_jobs_that_were_cancelled_do_not_stay(bench: Any) -> None:
    async with bench.open(slots=4, spares=1) as runtime:
        spin = bench.module("spin")
        await runtime.prepare(bench.digest(spin), spin)
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(runtime.run, Invocation(module=bench.digest(spin), limits=Limits(wall_seconds=60)))
            await _until(lambda: len(_busy(runtime.pids)) == 4, 30)
            tasks.cancel_scope.cancel()
        # What stays is a spare for each slot, beside the warm parents.
        await _until(lambda: len(_cells(runtime.pids)) == 4 and not _busy(runtime.pids))
        await bench.check_honest(runtime)


async def test_a_reused_process_serves_many_jobs_and_goes_after_a_bad_one(bench: Any) -> None:
    async with bench.open(isolation="reused", slots=1, spares=0) as runtime:
        await bench.check_honest(runtime)
        first = _cells(runtime.pids)
        await bench.check_honest(runtime)
        assert _cells(runtime.pids) == first
        assert (await bench.run(runtime, bench.module("trap"))).verdict is Verdict.TRAPPED
        assert not first & runtime.pids
        await bench.check_honest(runtime)


async def test_a_reused_process_stays_the_same_size(bench: Any) -> None:
    async with bench.open(isolation="reused", slots=1, spares=0) as runtime:
        for _ in range(200):
            await bench.check_honest(runtime)
        (pid,) = _cells(runtime.pids)
        before = psutil.Process(pid).memory_info()
        for _ in range(500):
            await bench.check_honest(runtime)
        after = psutil.Process(pid).memory_info()
        assert after.rss - before.rss < 2 << 20
        assert after.vms - before.vms < 64 << 20


async def test_jobs_at_once_keep_to_the_slots_and_to_themselves(bench: Any) -> None:
    async with bench.open(isolation="reused", slots=2) as runtime:
        await runtime.prepare(bench.digest(bench.hello), bench.hello)

        async def run(number: int) -> None:
            stdin = f"{number}".encode() * 100
            invocation = Invocation(module=bench.digest(bench.hello), stdin=stdin, trusted=bool(number % 2))
            outcome = await runtime.run(invocation)
            assert outcome.stdout == stdin[::-1]
            assert outcome.isolation == ("reused" if number % 2 else "cell")
            assert len(runtime.pids) <= 3 + 2 * 3, "warm parents; for each slot a cell at work, a spare, a kept one"

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(run, number)


async def test_a_cell_has_nothing_of_the_nodes(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASM_SECRET", "1")
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    try:
        async with bench.open(isolation="reused", slots=1, spares=0) as runtime:
            await bench.check_honest(runtime)
            (pid,) = _cells(runtime.pids)
            cell = psutil.Process(pid)
            assert set(cell.environ()) <= {"LC_CTYPE"}
            assert cell.cwd() == "/"
            assert os.getpgid(pid) == pid
            assert os.getsid(pid) != os.getsid(0)
            assert psutil.Process(pid).nice() == min(19, psutil.Process().nice() + 2)
            links = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
            assert not any(link.startswith("pipe:") for link in links)
            assert len([link for link in links if link.startswith("socket:")]) == 1
            status = _status(pid)
            assert "NoNewPrivs:\t1" in status
    finally:
        os.close(reading)
        os.close(writing)


async def test_cells_die_with_a_node_that_is_killed(bench: Any, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        import anyio
        from plasm.testing import make_scope
        from plasm_wasmtime.options import WasmtimeOptions
        from plasm_wasmtime.hooks import open_wasmtime

        async def main():
            async with open_wasmtime(make_scope(), WasmtimeOptions(slots=1)) as runtime:
                while len(runtime.pids) < 2:
                    await anyio.sleep(0.01)
                print(*runtime.pids, flush=True)
                await anyio.sleep_forever()

        anyio.run(main)
    """)
    cells = await pids_of_a_killed_node(program, 20)
    assert cells
    await _until(lambda: not any(psutil.pid_exists(pid) for pid in cells))


async def test_a_capability_that_does_not_exist_is_refused(bench: Any) -> None:
    async with bench.open() as runtime:
        with pytest.raises(RuntimeFailed, match="'teleport'"):
            await bench.run(runtime, bench.hello, capabilities=frozenset({"teleport"}))


async def test_arguments_and_environment_reach_the_program_and_nothing_else_does(bench: Any) -> None:
    async with bench.open() as runtime:
        outcome = await bench.run(runtime, bench.module("arguments"), args=("a", "ü \udcff"), env={"K": "V"})
        assert outcome.stdout == b"module.wasm\0a\0" + "ü ".encode() + b"\xff\0"
        assert outcome.stderr == b"K=V\0"
        huge = ("x" * (5 << 20),)
        with pytest.raises(RuntimeFailed, match="too large"):
            await bench.run(runtime, bench.module("arguments"), args=huge)
        await bench.check_honest(runtime)

"""The tree of processes: what is killed costs a retry at most, and nothing outlives the node."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from plasm.ports import RuntimeFailed, Verdict
from tests.children import pids_of_a_killed_node
from tests.engines.starving import LimitedProcess

pytestmark = pytest.mark.anyio

SPIN = "while True: pass"


@pytest.fixture
def anyio_backend() -> str:
    """The conformance suite runs on both back ends; what becomes of processes is the kernel's affair."""
    return "trio"


async def _until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    with anyio.fail_after(seconds):
        while not (found := condition()):  # noqa: ASYNC110 (another process's doing)
            await anyio.sleep(0.01)
    return found


def _is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _cells(runtime: Any) -> list[int]:
    """Those that a warm parent forked."""
    found = []
    for pid in runtime.pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).ppid() in runtime.pids:
                found.append(pid)
    return found


def _warm(runtime: Any) -> list[int]:
    return sorted(runtime.pids - set(_cells(runtime)))


def _busy(runtime: Any) -> list[int]:
    found = []
    for pid in _cells(runtime):
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).cpu_times().user > 0.3:
                found.append(pid)
    return found


async def test_run_cells_are_forked_and_stand_ready(bench: Any) -> None:
    async with bench.open(slots=1) as runtime:
        (spare,) = await _until(lambda: _cells(runtime))
        (parent,) = _warm(runtime)
        assert psutil.Process(spare).ppid() == parent
        assert psutil.Process(parent).ppid() == os.getpid()
        await bench.check_honest(runtime)
        assert _is_gone(spare), "each job has a cell of its own"


@pytest.mark.parametrize("whom", ["cell", "warm parent"])
async def test_a_kill_in_a_job_is_an_outcome_and_the_next_job_works(bench: Any, leaves_nothing: Any, whom: str) -> None:
    with leaves_nothing():
        async with bench.open(slots=1) as runtime:
            outcomes = []

            async def run() -> None:
                outcomes.append(await bench.run(runtime, SPIN, wall_seconds=60))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                (busy,) = await _until(lambda: _busy(runtime))
                os.kill(busy if whom == "cell" else psutil.Process(busy).ppid(), signal.SIGKILL)
            assert outcomes[0].verdict is Verdict.CELL_DIED
            assert _is_gone(busy)
            await bench.check_honest(runtime)


@pytest.mark.parametrize("whom", [_cells, _warm])
async def test_a_kill_between_jobs_costs_no_job(bench: Any, leaves_nothing: Any, whom: Any) -> None:
    with leaves_nothing():
        async with bench.open(slots=1) as runtime:
            await bench.check_honest(runtime)
            for _ in range(3):
                killed = set(whom(runtime))
                orphans = {pid for pid in _cells(runtime) if psutil.Process(pid).ppid() in killed}
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
                await _until(lambda gone=killed | orphans: all(map(_is_gone, gone)))
                await bench.check_honest(runtime)


async def test_a_compile_cell_that_is_killed_is_replaced(bench: Any, leaves_nothing: Any) -> None:
    with leaves_nothing():
        async with bench.open(slots=1, spares=0) as runtime:
            await bench.check_honest(runtime)
            killed = []

            async def kill_compile_cell() -> None:
                pid = (await _until(lambda: _busy(runtime)))[0]
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

            # The run itself does not spin: what is busy can be the compile cell alone.
            spin = "#compile \nimport time\nwhile 'layer' not in dir() and time.process_time() < 1.0: pass\n"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kill_compile_cell)
                assert (await bench.run(runtime, spin)).verdict is Verdict.EXITED
            assert killed


async def test_an_exception_that_nobody_can_catch_ends_the_cell(bench: Any) -> None:
    source = """
        class Left:
            def __del__(self):
                raise MemoryError
        Left()
        layer.stdout += b"went on"
    """
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, source)
        assert (outcome.verdict, outcome.stdout) == (Verdict.CELL_DIED, b"")
        await bench.check_honest(runtime)


async def test_a_job_whose_limits_the_node_was_not_given_does_not_begin(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plasm_cells.warmparents.subprocess.Popen", LimitedProcess)
    async with bench.open(slots=1, spares=0) as runtime:
        with pytest.raises(RuntimeFailed, match="less memory than the job's limits allow"):
            await bench.run(runtime, "layer.stdout += b'ran'", memory_bytes=512 << 20)
        await bench.check_honest(runtime, memory_bytes=1 << 20, output_bytes=1 << 20, file_bytes=1 << 20)


async def test_reused_cells_are_for_trusted_jobs_only(bench: Any) -> None:
    async with bench.open(isolation="reused", slots=1) as runtime:
        outcome = await bench.run(runtime, "import os; layer.stdout += b'%d' % os.getpid()", trusted=True)
        kept = outcome.stdout
        assert outcome.isolation == "reused"
        for trusted in (False, True, False, True):
            outcome = await bench.run(runtime, "import os; layer.stdout += b'%d' % os.getpid()", trusted=trusted)
            assert outcome.isolation == ("reused" if trusted else "cell")
            assert (outcome.stdout == kept) is trusted


async def test_after_a_bad_end_a_cell_is_not_kept(bench: Any) -> None:
    async with bench.open(isolation="reused", slots=1) as runtime:
        outcome = await bench.run(
            runtime, "layer.stdout += b'%d' % os.getpid(); ending = Ending(trap='unreachable')", trusted=True
        )
        assert (outcome.verdict, outcome.trap) == (Verdict.TRAPPED, "unreachable")
        again = await bench.run(runtime, "layer.stdout += b'%d' % os.getpid()", trusted=True)
        assert again.stdout != outcome.stdout


async def test_a_program_that_asks_for_processor_time_gets_what_wait4_says(bench: Any) -> None:
    async with bench.open(slots=1) as runtime:
        spent = await bench.run(runtime, "while time.process_time() < 0.5: pass")
        idle = await bench.run(runtime, "pass")
        assert 0.4 < spent.usage.cpu_seconds < 2
        assert 0 < idle.usage.cpu_seconds < 0.4


async def test_all_of_them_die_with_a_node_that_is_killed() -> None:
    program = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import anyio
        from pathlib import Path
        from plasm.testing import make_scope
        from plasm_cells.options import CellOptions
        from plasm_cells.runtime import open_runtime
        from plasm_cells.spec import EngineSpec

        async def main():
            spec = EngineSpec(
                name="escaped", version="1", module="escaped", paths=(Path(sys.path[0]) / "engine",), counts_fuel=False
            )
            async with open_runtime(make_scope(), CellOptions(slots=1), spec) as runtime:
                while len(runtime.pids) < 2:
                    await anyio.sleep(0.01)
                print(*runtime.pids, flush=True)
                await anyio.sleep_forever()

        anyio.run(main)
    """)
    cells = await pids_of_a_killed_node(program, 30)
    assert len(cells) == 2
    await _until(lambda: all(map(_is_gone, cells)))


async def test_hundreds_of_jobs_leave_nothing_in_the_node(bench: Any, leaves_nothing: Any) -> None:
    with leaves_nothing():
        async with bench.open(slots=2) as runtime:
            for _ in range(20):
                await bench.check_honest(runtime)
            await _until(lambda: len(runtime.pids) == 5)
            before = len(os.listdir("/proc/self/fd"))

            async def some() -> None:
                for _ in range(100):
                    await bench.check_honest(runtime)

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(some)
            await _until(lambda: len(runtime.pids) == 5)
            assert len(os.listdir("/proc/self/fd")) == before
            for pid in _warm(runtime):
                assert len(os.listdir(f"/proc/{pid}/fd")) < 12
            children = psutil.Process().children(recursive=True)
            assert not [child for child in children if child.status() == psutil.STATUS_ZOMBIE]

"""Compiling has slots, a deadline and blame of its own: what cannot be prepared is said once and blames nobody."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

import anyio
import psutil
import pytest
from plasm_cells.compiler import Compiler
from plasm_cells.unprepared import MODULES, UnpreparedModules

from plasm.ports import Digest, NotPrepared, NotRunnable, Patient, Verdict

pytestmark = pytest.mark.anyio

SPINS = "#compile \nwhile True: pass"
SPINS_FOR_A_WHILE = "#compile \nwhile 'layer' not in dir() and time.process_time() < 1.0: pass"
_compile_once = Compiler._compile_once


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The modules that compile cells were given."""
    given: list[bytes] = []

    async def counted(self: Compiler, module: bytes, *rest: Any, **named: Any) -> Any:
        given.append(module)
        return await _compile_once(self, module, *rest, **named)

    monkeypatch.setattr(Compiler, "_compile_once", counted)
    return given


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        (SPINS, {"compile_seconds": 0.5}, r"more than 0.5 s \(compile_seconds\)"),
        ("#compile \nheld = bytearray(1 << 30)", {"compile_memory_bytes": 64 << 20}, r"64 MiB \(compile_memory_bytes"),
        ("#compile \nos.fork()", {}, "ended by signal SIGSYS"),
        ("#compile \nos.abort()", {}, "ended by signal"),
        ("#compile \nos._exit(0)", {}, "ended by exit code 0"),
        ("#compile \nraise RecursionError('too deep')", {}, "RecursionError: too deep"),
        ("#" + "x" * 200_000, {"artifact_bytes": 100_000}, "artifact_bytes"),
        ("#" + "x" * 200_000, {"module_bytes": 100_000}, "module_bytes"),
    ],
)
async def test_what_compiling_runs_into_is_no_verdict_and_no_failure_of_the_node(
    bench: Any, source: str, options: dict[str, Any], reason: str
) -> None:
    async with bench.open(slots=1, spares=0, **options) as runtime:
        with pytest.raises(NotPrepared, match=reason):
            await runtime.prepare(bench.digest(bench.guest(source)), bench.guest(source))
        await bench.check_honest(runtime)


async def test_it_is_compiled_once_and_answered_from_memory_afterwards(bench: Any, compilations: list[bytes]) -> None:
    module = bench.guest(SPINS)
    async with bench.open(slots=1, spares=0, compile_seconds=0.5) as runtime:
        for _ in range(3):
            with pytest.raises(NotPrepared, match="compile_seconds"):
                await runtime.prepare(bench.digest(module), module)
        assert compilations == [module]


async def test_the_user_of_this_machine_waits_longer_than_a_stranger(bench: Any) -> None:
    module = bench.guest(SPINS_FOR_A_WHILE)
    async with bench.open(slots=1, spares=0, compile_seconds=0.3, own_compile_seconds=60.0) as runtime:
        assert isinstance(runtime, Patient)
        with pytest.raises(NotPrepared):
            await runtime.prepare(bench.digest(module), module)
        await runtime.prepare_own(bench.digest(module), module)
        assert runtime.prepared(bench.digest(module))
        assert (await bench.run(runtime, module)).verdict is Verdict.EXITED


async def test_a_burst_of_kills_from_outside_costs_an_honest_module_nothing(bench: Any) -> None:
    kills = 0

    async def kill(parent: int) -> None:
        nonlocal kills
        while kills < 5:
            await anyio.sleep(0.01)
            for cell in psutil.Process(parent).children():
                with suppress(psutil.NoSuchProcess):
                    if kills < 5 and cell.cpu_times().user > 0.1:
                        os.kill(cell.pid, signal.SIGKILL)
                        kills += 1
                        cell.wait()

    async with bench.open(slots=1, spares=0) as runtime:
        await bench.check_honest(runtime)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill, runtime._compiler._parent.process.pid)
            assert (await bench.run(runtime, SPINS_FOR_A_WHILE)).verdict is Verdict.EXITED
        assert kills == 5


@pytest.mark.parametrize("slots", [1, 2])
async def test_never_more_compile_at_once_than_there_are_slots(
    bench: Any, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    at_once, most, go_on = 0, 0, anyio.Event()

    async def compile_once(_self: Compiler, _module: bytes, _deadline: Any, *, limiting: bool) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await go_on.wait()
        at_once -= 1
        raise NotRunnable("that is all")

    async def prepare(runtime: Any, number: int) -> None:
        module = bench.guest(str(number))
        with pytest.raises(NotRunnable):
            await runtime.prepare(bench.digest(module), module)

    monkeypatch.setattr(Compiler, "_compile_once", compile_once)
    async with bench.open(slots=1, spares=0, compile_slots=slots) as runtime, anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(prepare, runtime, number)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert most == slots


@pytest.mark.parametrize(
    ("runs", "memory_bytes", "slots"),
    [(1, 6 << 30, 2), (2, 1 << 30, 2), (2, 1023 << 20, 1), (2, 100 << 20, 1), (8, 6 << 30, 4), (8, 3 << 30, 3)],
)
async def test_a_module_that_takes_long_leaves_a_slot_for_others_where_there_is_memory_for_two(
    bench: Any, monkeypatch: pytest.MonkeyPatch, runs: int, memory_bytes: int, slots: int
) -> None:
    monkeypatch.setattr("plasm_cells.runtime.preparing_memory", lambda: memory_bytes)
    async with bench.open(slots=runs, spares=0) as runtime:
        assert runtime.compile_slots == slots
    async with bench.open(slots=runs, spares=0, compile_slots=7) as runtime:
        assert runtime.compile_slots == 7


async def test_what_compiles_gives_way_to_what_runs(bench: Any) -> None:
    async with bench.open(slots=1, spares=0) as runtime:
        await bench.check_honest(runtime)
        compiles = runtime._compiler._parent.process.pid
        (runs,) = runtime.pids - {compiles}
        assert psutil.Process(compiles).nice() == psutil.Process(runs).nice() + 8
        assert (os.sched_getscheduler(compiles), os.sched_getscheduler(runs)) == (os.SCHED_BATCH, os.SCHED_OTHER)


async def test_what_is_remembered_has_an_end_and_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("plasm_cells.unprepared.anyio.current_time", lambda: now)
    unprepared = UnpreparedModules(60.0)
    digests = [Digest(f"sha256:{number:064x}") for number in range(MODULES + 1)]
    for digest in digests:
        unprepared.remember(digest, "why")
    unprepared.check(digests[0])
    with pytest.raises(NotPrepared, match="why"):
        unprepared.check(digests[1])
    now += 60.0
    unprepared.check(digests[1])


async def test_what_waits_for_a_processor_has_not_used_its_time(bench: Any) -> None:
    waits = bench.guest("#compile \ntime.sleep(1.0 if 'layer' not in dir() else 0)")
    async with bench.open(slots=1, spares=0, compile_seconds=0.5) as runtime:
        assert (await bench.run(runtime, waits)).verdict is Verdict.EXITED

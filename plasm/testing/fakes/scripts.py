"""What a module of a :class:`~plasm.testing.fakes.runtime.ScriptedRuntime` can do.

A script is an async function that gets the run and returns the exit code. The functions here make the usual ones;
:func:`module_scripts` has one for each of :mod:`plasm.testing.modules`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from plasm.ports import Digest, Invocation, Outcome, RuntimeFailed, Usage, Verdict
from plasm.testing import modules

_PAGE = 65536
_VIRTUAL_NOW = 1_000_000_000_000_000_000


class Ended(Exception):
    """The run ends here, otherwise than by exiting."""

    def __init__(self, verdict: Verdict, detail: str, trap: str | None = None) -> None:
        super().__init__(detail)
        self.trap = trap
        self.verdict = verdict
        self.detail = detail


class ScriptedRun:
    """What a script sees of its run; every method counts against the limits."""

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._files: dict[str, bytes] = {}
        self._memory = 0
        self._fuel = 0
        self._host_calls = 0
        self._reproducible = True

    def write(self, data: bytes, *, to_stderr: bool = False) -> None:
        self.call_host()
        room = self.invocation.limits.output_bytes - len(self._stdout) - len(self._stderr)
        (self._stderr if to_stderr else self._stdout).extend(data[:room])
        if len(data) > room:
            raise Ended(Verdict.OUTPUT_LIMIT, "more output than is allowed")

    def leave(self, path: str, content: bytes) -> None:
        """Leave a file in ``/out``."""
        self.call_host()
        self._files[path] = content

    def grow(self, size: int) -> bool:
        """Whether there are `size` more bytes of memory for the program."""
        if self._memory + size > self.invocation.limits.memory_bytes:
            return False
        self._memory += size
        return True

    def burn(self, fuel: int) -> None:
        self._fuel += fuel
        if self.invocation.limits.fuel is not None and self._fuel > self.invocation.limits.fuel:
            self._fuel = self.invocation.limits.fuel
            raise Ended(Verdict.OUT_OF_FUEL, "the fuel is used up")

    def call_host(self) -> None:
        self._host_calls += 1
        if self._host_calls > self.invocation.limits.host_calls:
            raise Ended(Verdict.HOST_CALL_LIMIT, "more host calls than are allowed")

    def random(self, size: int) -> bytes:
        self.call_host()
        if "random" in self.invocation.capabilities:
            self._reproducible = False
            return os.urandom(size)
        return hashlib.shake_256(self.invocation.seed).digest(size)

    def clock(self) -> int:
        """Nanoseconds since the epoch."""
        self.call_host()
        if "clock" in self.invocation.capabilities:
            self._reproducible = False
            return time.time_ns()
        return _VIRTUAL_NOW

    def outcome(
        self, verdict: Verdict, code: int | None, detail: str, trap: str | None, *, wall_seconds: float
    ) -> Outcome:
        return Outcome(
            verdict=verdict,
            exit_code=code,
            stdout=bytes(self._stdout),
            stderr=bytes(self._stderr),
            files=dict(self._files),
            usage=Usage(fuel=self._fuel, wall_seconds=wall_seconds, peak_memory_bytes=self._memory),
            detail=detail,
            trap=trap,
            reproducible=self._reproducible,
        )


Script = Callable[[ScriptedRun], Awaitable[int]]


def exits(code: int = 0, *, stdout: bytes = b"", stderr: bytes = b"") -> Script:
    """Writes and exits."""

    async def script(run: ScriptedRun) -> int:
        await anyio.lowlevel.checkpoint()
        if stdout:
            run.write(stdout)
        if stderr:
            run.write(stderr, to_stderr=True)
        return code

    return script


def answers(of: Callable[[Invocation], bytes]) -> Script:
    """Writes what `of` makes of the invocation, and exits with 0."""

    async def script(run: ScriptedRun) -> int:
        await anyio.lowlevel.checkpoint()
        run.write(of(run.invocation))
        return 0

    return script


def echoes() -> Script:
    """Writes stdin."""
    return answers(lambda invocation: invocation.stdin)


def reverses() -> Script:
    """Writes stdin back to front."""
    return answers(lambda invocation: invocation.stdin[::-1])


def ends(verdict: Verdict, detail: str = "as the script says", trap: str | None = None) -> Script:
    """Ends with `verdict`: a trap, a cell that died."""

    async def script(run: ScriptedRun) -> int:
        await anyio.lowlevel.checkpoint()
        raise Ended(verdict, detail, trap)

    return script


def traps() -> Script:
    return ends(Verdict.TRAPPED, "unreachable code was reached", "unreachable")


def dies() -> Script:
    return ends(Verdict.CELL_DIED, "the cell died")


def fails(message: str = "the engine is broken") -> Script:
    """The runtime itself fails: :exc:`RuntimeFailed`."""

    async def script(run: ScriptedRun) -> int:
        await anyio.lowlevel.checkpoint()
        raise RuntimeFailed(message)

    return script


def hangs(*, until: anyio.Event | None = None, started: anyio.Event | None = None) -> Script:
    """Sets `started`, waits for `until` or for ever, and exits with 0. Burns no fuel."""

    async def script(run: ScriptedRun) -> int:
        if started is not None:
            started.set()
        await (until.wait() if until is not None else anyio.sleep_forever())
        return 0

    return script


def spins() -> Script:
    """Burns fuel for ever."""

    async def script(run: ScriptedRun) -> int:
        while True:
            run.burn(1000)
            # With fuel to burn it is soon over; without, the loop must leave time for others.
            if run.invocation.limits.fuel is None:
                await anyio.sleep(0.01)

    return script


async def _grow(run: ScriptedRun) -> int:
    pages = 0
    while run.grow(_PAGE):
        pages += 1
    await anyio.lowlevel.checkpoint()
    run.write(pages.to_bytes(4, "little"))
    return 0


async def _hungry(run: ScriptedRun) -> int:
    await anyio.lowlevel.checkpoint()
    if not run.grow(512 * 2**20):
        raise Ended(Verdict.OUT_OF_MEMORY, "the module's memory is larger than the limit")
    return 0


async def _flood(run: ScriptedRun) -> int:
    while True:
        await anyio.lowlevel.checkpoint()
        run.write(bytes(4096))
        run.write(bytes(4096), to_stderr=True)


async def _chatter(run: ScriptedRun) -> int:
    while True:
        for _ in range(1000):
            run.clock()
        await anyio.lowlevel.checkpoint()


async def _random(run: ScriptedRun) -> int:
    await anyio.lowlevel.checkpoint()
    run.write(run.random(32))
    return 0


async def _clock(run: ScriptedRun) -> int:
    await anyio.lowlevel.checkpoint()
    run.write(run.clock().to_bytes(8, "little"))
    return 0


async def _files(run: ScriptedRun) -> int:
    await anyio.lowlevel.checkpoint()
    if "data/in" not in run.invocation.inputs:
        raise Ended(Verdict.TRAPPED, "unreachable code was reached", "unreachable")
    run.leave("copy/of it", run.invocation.inputs["data/in"][:_PAGE])
    return 0


async def _exit(run: ScriptedRun) -> int:
    await anyio.lowlevel.checkpoint()
    return run.invocation.stdin[0] if run.invocation.stdin else 0


def _zero_ended(texts: list[str]) -> bytes:
    return b"".join(text.encode() + b"\0" for text in texts)


def _environment(invocation: Invocation) -> bytes:
    variables = sorted(invocation.env.items(), key=lambda variable: variable[0].encode())
    return _zero_ended([f"{name}={value}" for name, value in variables])


def module_scripts() -> dict[bytes | Digest, Script]:
    """Scripts that do what the modules of :mod:`plasm.testing.modules` do."""
    return {
        modules.RETURNS.wasm: exits(0),
        modules.EXIT.wasm: _exit,
        modules.ECHO.wasm: echoes(),
        **dict.fromkeys(modules.ECHO_VERSIONS, echoes()),
        modules.ARGS.wasm: answers(lambda invocation: _zero_ended(["module.wasm", *invocation.args])),
        modules.ENV.wasm: answers(_environment),
        modules.BOTH.wasm: exits(0, stdout=b"out", stderr=b"err"),
        modules.FILES.wasm: _files,
        modules.TRAP.wasm: traps(),
        modules.RECURSE.wasm: ends(Verdict.TRAPPED, "call stack exhausted", "stack_overflow"),
        modules.SPIN.wasm: spins(),
        modules.SLEEP.wasm: exits(0),
        modules.GROW.wasm: _grow,
        modules.HUNGRY.wasm: _hungry,
        modules.FLOOD.wasm: _flood,
        modules.CHATTER.wasm: _chatter,
        modules.RANDOM.wasm: _random,
        modules.CLOCK.wasm: _clock,
    }

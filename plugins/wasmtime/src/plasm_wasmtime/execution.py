"""One job in one cell, from sending it to its outcome, with the limits that hold from outside."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass

import anyio

from plasm.ports import Invocation, Outcome, RuntimeFailed, Usage, Verdict

from .artifacts import Artifact
from .channel import Begun, CellGone, Ended, Failed, Garbage, one_line
from .children import Child, Children

_LOADED_BYTES = 256 << 20
_LOADED_MODULES = 16
"""What a reused cell keeps loaded."""
_LARGEST = (1 << 63) - 1
_LONGEST = 1e9
_REAL = frozenset({"clock", "random"})
_BY_THE_CELL = frozenset(
    {
        Verdict.EXITED,
        Verdict.TRAPPED,
        Verdict.OUT_OF_FUEL,
        Verdict.OUT_OF_MEMORY,
        Verdict.OUTPUT_LIMIT,
        Verdict.HOST_CALL_LIMIT,
    }
)
"""The other verdicts are the node's to give."""


class NotBegun(Exception):
    """The cell ended before the job began in it."""


class NotLoaded(Exception):
    """The compiled module does not load; the message says why."""


def check(invocation: Invocation) -> None:
    """Raises :exc:`RuntimeFailed` for what this runtime cannot give."""
    for capability in sorted(invocation.capabilities - _REAL):
        raise RuntimeFailed(f"this runtime has no capability '{one_line(capability)}'")


@dataclass(frozen=True)
class Execution:
    """Runs `invocation` in `child`, which holds nobody's job. Where the result is not reusable the child has ended."""

    children: Children
    child: Child
    invocation: Invocation
    artifact: Artifact
    start_seconds: float
    reuse: bool

    async def run(self) -> tuple[Outcome, bool]:
        """The outcome, and whether the cell can take another job.

        Raises :exc:`NotBegun`, :exc:`NotLoaded`, :exc:`RuntimeFailed`, :exc:`ValueError` (arguments too large).
        """
        sent = time.perf_counter()
        await self._begin()
        wall_seconds = self.invocation.limits.wall_seconds
        started = time.perf_counter()
        reply, body, problem = None, b"", ""
        with anyio.move_on_after(wall_seconds) as deadline:
            try:
                reply, body = await self.child.channel.receive(self.invocation.limits.output_bytes)
            except CellGone:
                problem = "gone"
            except Garbage:
                problem = "its process sent what no cell sends"
        wall = time.perf_counter() - started
        if isinstance(reply, Failed):
            await self.children.end(self.child)
            raise RuntimeFailed(f"the process that ran the job failed: {one_line(reply.detail)}")
        if isinstance(reply, Ended) and _is_sound(reply, body):
            # Both frames of a short run may arrive at once: what the cell measured counts as far as it can be true.
            return await self._finish(reply, body, max(wall, min(reply.wall_seconds, time.perf_counter() - sent)))
        death = await self.children.end(self.child)
        usage = Usage(wall_seconds=wall, cpu_seconds=max(0.0, death.cpu_seconds - self.child.cpu_seconds))
        if deadline.cancelled_caught:
            return self._outcome(Verdict.TIMED_OUT, usage, f"it ran longer than {wall_seconds:g} s"), False
        if death.code == -signal.SIGXCPU:
            return self._outcome(Verdict.TIMED_OUT, usage, "it used more CPU time than its wall time"), False
        detail = f"its process ended by {death}" if problem == "gone" else problem or "its process sent nonsense"
        return self._outcome(Verdict.CELL_DIED, usage, detail), False

    async def _begin(self) -> None:
        child, invocation, limits = self.child, self.invocation, self.invocation.limits
        holds = invocation.module in child.loaded
        job = {
            "module": invocation.module,
            "starts": self.artifact.starts,
            "forget": [] if holds else self._room(),
            "args": invocation.args,
            "env": dict(invocation.env),
            "seed": invocation.seed.hex(),
            "capabilities": sorted(invocation.capabilities),
            "memory_bytes": min(limits.memory_bytes, _LARGEST),
            "output_bytes": min(limits.output_bytes, _LARGEST),
            "host_calls": min(limits.host_calls, _LARGEST),
            "fuel": None if limits.fuel is None else min(limits.fuel, _LARGEST),
            "wall_seconds": min(limits.wall_seconds, _LONGEST) if math.isfinite(limits.wall_seconds) else _LONGEST,
        }
        try:
            with anyio.fail_after(self.start_seconds):
                await child.channel.send(job, invocation.stdin, () if holds else (self.artifact.descriptor,))
                if holds:
                    child.loaded.move_to_end(invocation.module)
                    return
                reply, _ = await child.channel.receive()
        except TimeoutError:
            await self.children.end(child)
            raise RuntimeFailed(f"a process did not load the module within {self.start_seconds:g} s") from None
        except (CellGone, Garbage):
            await self.children.end(child)
            raise NotBegun from None
        if isinstance(reply, Begun):
            child.loaded[invocation.module] = self.artifact.size
            return
        await self.children.end(child)
        raise NotLoaded(one_line(reply.detail) if isinstance(reply, Failed) else "the process said something else")

    def _room(self) -> list[str]:
        """The modules that the cell drops, so that what it keeps stays bounded."""
        loaded, dropped = self.child.loaded, []
        while loaded and (len(loaded) >= _LOADED_MODULES or sum(loaded.values()) + self.artifact.size > _LOADED_BYTES):
            dropped.append(str(loaded.popitem(last=False)[0]))
        return dropped

    async def _finish(self, reply: Ended, body: bytes, wall: float) -> tuple[Outcome, bool]:
        # After any other end than the program's own nothing that the guest may have left behind is trusted.
        reusable = self.reuse and reply.verdict is Verdict.EXITED
        cpu_seconds = reply.cpu_seconds
        if not reusable:
            death = await self.children.end(self.child)
            cpu_seconds = max(0.0, death.cpu_seconds - self.child.cpu_seconds)
        self.child.cpu_seconds += cpu_seconds
        usage = Usage(
            fuel=reply.fuel,
            wall_seconds=wall,
            cpu_seconds=cpu_seconds,
            peak_memory_bytes=reply.peak_memory_bytes,
        )
        outcome = Outcome(
            verdict=reply.verdict,
            exit_code=reply.exit_code,
            stdout=body[: reply.stdout_bytes],
            stderr=body[reply.stdout_bytes :],
            usage=usage,
            detail=one_line(reply.detail),
            reproducible=self._reproducible,
        )
        return outcome, reusable

    def _outcome(self, verdict: Verdict, usage: Usage, detail: str) -> Outcome:
        return Outcome(verdict=verdict, usage=usage, detail=detail, reproducible=self._reproducible)

    @property
    def _reproducible(self) -> bool:
        return not self.invocation.capabilities & _REAL


def _is_sound(reply: Ended, body: bytes) -> bool:
    exited = reply.verdict is Verdict.EXITED
    return (
        reply.verdict in _BY_THE_CELL
        and (reply.exit_code is not None) == exited
        and reply.stdout_bytes <= len(body)
        and math.isfinite(reply.cpu_seconds + reply.wall_seconds)
    )

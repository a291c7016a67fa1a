"""One job in one cell, from sending it to its outcome, with the limits that hold from outside."""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import anyio
from anyio import to_thread
from plasm_cell.engine import STARVED, TRAPS
from plasm_cell.wasi.volume import LONGEST_OUT_PATH, MOST_OUT_FILES

from plasm.ports import Digest, Invocation, Outcome, RuntimeFailed, Usage, Verdict

from .artifacts import Artifact, memory_file
from .cells import Cell, Death
from .cgroups import Group, Starved
from .channel import Begun, CellGone, Ended, Failed, Garbage, GaveUp, Unsent, one_line

_IN_THE_FRAME = 64 << 10
"""Bytes of stdin and inputs that travel in a frame; more are mapped by the cell."""
_LOADED_BYTES = 256 << 20
_LOADED_MODULES = 16
"""What a kept cell keeps loaded."""
_GROUP_MARGIN_BYTES = 192 << 20
"""What a cell, a spare and a kept cell have beside the job."""
_SMALL_BYTES = 32 << 20
"""What an ending cell and its group hold may be that little beside the next job's; of more the group is freed first."""
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


def check(invocation: Invocation, *, counts_fuel: bool) -> None:
    """Raises :exc:`RuntimeFailed` for what this runtime cannot give."""
    for capability in sorted(invocation.capabilities - _REAL):
        raise RuntimeFailed(f"this runtime has no capability '{one_line(capability)}'")
    if invocation.limits.fuel is not None and not counts_fuel:
        raise RuntimeFailed("this runtime counts no fuel, and the job limits it")
    for path, content in invocation.inputs.items():
        if not _is_path(path if content else path.removesuffix("/")):
            raise RuntimeFailed(f"no input can be at '{one_line(path)}'")


@dataclass(frozen=True)
class Execution:
    """Runs `invocation` in `cell`, which holds nobody's job. Where the result is not reusable the cell has ended."""

    cell: Cell
    group: Group | None
    invocation: Invocation
    module: Digest
    """The name of `artifact`, under which a cell keeps it."""
    artifact: Artifact
    start_seconds: float
    reuse: bool
    leave: Callable[[], None]
    """Called once the outcome is there of a cell that needs no more than to end: its slot can take the next job."""

    async def run(self) -> tuple[Outcome, bool]:
        """The outcome, and whether the cell can take another job.

        Raises :exc:`NotBegun`, :exc:`NotLoaded`, :exc:`RuntimeFailed`, :exc:`ValueError` (arguments too large).
        """
        self._prepare_group()
        sent = time.perf_counter()
        await self._begin()
        limits = self.invocation.limits
        started = time.perf_counter()
        reply, body, problem = None, b"", ""
        with anyio.move_on_after(limits.wall_seconds) as deadline:
            try:
                reply, body = await self.cell.channel.receive(limits.output_bytes)
            except CellGone:
                problem = "gone"
            except Garbage:
                problem = "its process sent what no cell sends"
        wall = time.perf_counter() - started
        if isinstance(reply, Failed):
            await self.cell.end()
            raise RuntimeFailed(f"the process that ran the job failed: {one_line(reply.detail)}")
        if isinstance(reply, GaveUp):
            problem = f"the engine gave up: {one_line(reply.detail)}"
            reply = None
        if isinstance(reply, Ended):
            files = _files(reply, body)
            if files is not None:
                # Both frames of a short run may arrive at once: what the cell measured counts as far as it can be true.
                wall = max(wall, min(reply.wall_seconds, time.perf_counter() - sent))
                return await self._finish(reply, body, files, wall)
            problem = "its process sent what no cell sends"
        death = await self.cell.end()
        usage = Usage(wall_seconds=wall, cpu_seconds=death.cpu_seconds, peak_process_bytes=self._peak)
        if deadline.cancelled_caught:
            return self._outcome(Verdict.TIMED_OUT, usage, f"it ran longer than {limits.wall_seconds:g} s"), False
        if death.code == -signal.SIGXCPU:
            return self._outcome(Verdict.TIMED_OUT, usage, "it used more CPU time than its wall time"), False
        detail = self._how(death) if problem == "gone" else problem or "its process sent nonsense"
        return self._outcome(Verdict.CELL_DIED, usage, detail), False

    def _how(self, death: Death) -> str:
        """For people: what ended a process from outside says nothing about the job, and is in no verdict of its own."""
        if death.code == STARVED:
            return "this machine gave its process less memory than the job's limits allow"
        if death.code == -signal.SIGKILL and self.group is not None:
            match self.group.starved():
                case Starved.GROUP:
                    return "the kernel killed its process, which took more memory than cell and job may"
                case Starved.MACHINE:
                    return "the kernel killed its process, since this machine had no memory left"
        if death.code == -signal.SIGSYS:
            return "its process made a system call that no cell may make"
        return f"its process ended by {death}"

    def _prepare_group(self) -> None:
        if self.group is None:
            return
        limits = self.invocation.limits
        most = limits.memory_bytes + 2 * (limits.output_bytes + limits.file_bytes) + 2 * self.artifact.size
        self.group.limit(min(most + _LOADED_BYTES * self.reuse + _GROUP_MARGIN_BYTES, _LARGEST >> 12 << 12))
        self.group.reset_peak()

    @property
    def _peak(self) -> int | None:
        return None if self.group is None else self.group.peak

    async def _begin(self) -> None:
        cell, invocation, limits = self.cell, self.invocation, self.invocation.limits
        holds = self.module in cell.loaded
        inputs = [(path, len(content)) for path, content in invocation.inputs.items()]
        given_bytes = len(invocation.stdin) + sum(size for _, size in inputs)
        mapped = given_bytes > _IN_THE_FRAME
        job = {
            "module": self.module,
            "starts": self.artifact.starts,
            "artifact_bytes": 0 if holds else self.artifact.size,
            "forget": [] if holds else self._room(),
            "last": not self.reuse,
            "args": invocation.args,
            "env": dict(invocation.env),
            "stdin_bytes": len(invocation.stdin),
            "inputs": inputs,
            "given_bytes": given_bytes if mapped else 0,
            "seed": invocation.seed.hex(),
            "capabilities": sorted(invocation.capabilities),
            "memory_bytes": min(limits.memory_bytes, _LARGEST),
            "output_bytes": min(limits.output_bytes, _LARGEST),
            "file_bytes": min(limits.file_bytes, _LARGEST),
            "host_calls": min(limits.host_calls, _LARGEST),
            "fuel": None if limits.fuel is None else min(limits.fuel, _LARGEST),
            "wall_seconds": min(limits.wall_seconds, _LONGEST) if math.isfinite(limits.wall_seconds) else _LONGEST,
        }
        body = b"" if mapped else b"".join((invocation.stdin, *invocation.inputs.values()))
        descriptors = [] if holds else [self.artifact.descriptor]
        given, reply = -1, None
        unsent: Unsent = []
        try:
            # A cell that has the module takes a small job at once: then there is nothing to wait for.
            if mapped or (unsent := cell.channel.post(job, body, descriptors)) or not holds:
                with anyio.fail_after(self.start_seconds):
                    if mapped:
                        given = await to_thread.run_sync(_given, invocation)
                        unsent = cell.channel.post(job, body, [*descriptors, given])
                    await cell.channel.flush(unsent)
                    if not holds:
                        reply, _ = await cell.channel.receive()
        except TimeoutError:
            await cell.end()
            raise RuntimeFailed(f"a process did not load the module within {self.start_seconds:g} s") from None
        except (CellGone, Garbage):
            if (await cell.end()).code == STARVED:
                raise RuntimeFailed("this machine gives a process less memory than the job's limits allow") from None
            raise NotBegun from None
        finally:
            if given >= 0:
                os.close(given)
        if holds:
            cell.loaded.move_to_end(self.module)
            return
        if isinstance(reply, Begun):
            cell.loaded[self.module] = self.artifact.size
            return
        await cell.end()
        raise NotLoaded(one_line(reply.detail) if isinstance(reply, Failed) else "the process said something else")

    def _room(self) -> list[str]:
        """The modules that the cell drops, so that what it keeps stays bounded."""
        loaded, dropped = self.cell.loaded, []
        while loaded and (len(loaded) >= _LOADED_MODULES or sum(loaded.values()) + self.artifact.size > _LOADED_BYTES):
            dropped.append(str(loaded.popitem(last=False)[0]))
        return dropped

    async def _finish(self, reply: Ended, body: bytes, files: Mapping[str, bytes], wall: float) -> tuple[Outcome, bool]:
        # After any other end than the program's own nothing that the guest may have left behind is trusted.
        reusable = self.reuse and reply.verdict is Verdict.EXITED
        peak = self._peak
        if reusable:
            # It is not waited for: what it says of itself counts.
            cpu_seconds = reply.cpu_seconds
        else:
            if self.group is None or (peak is not None and peak <= _SMALL_BYTES):
                self.leave()
            cpu_seconds = (await self.cell.end()).cpu_seconds
        usage = Usage(
            fuel=reply.fuel,
            wall_seconds=wall,
            cpu_seconds=cpu_seconds,
            peak_memory_bytes=reply.peak_memory_bytes,
            peak_process_bytes=peak,
        )
        outcome = Outcome(
            verdict=reply.verdict,
            exit_code=reply.exit_code,
            stdout=body[: reply.stdout_bytes],
            stderr=body[reply.stdout_bytes : reply.stdout_bytes + reply.stderr_bytes],
            files=files,
            usage=usage,
            detail=one_line(reply.detail),
            trap=reply.trap,
            isolation=self._isolation,
            reproducible=self._reproducible,
        )
        return outcome, reusable

    def _outcome(self, verdict: Verdict, usage: Usage, detail: str) -> Outcome:
        return Outcome(
            verdict=verdict, usage=usage, detail=detail, isolation=self._isolation, reproducible=self._reproducible
        )

    @property
    def _isolation(self) -> str:
        return "reused" if self.reuse else "cell"

    @property
    def _reproducible(self) -> bool:
        return not self.invocation.capabilities & _REAL


def _given(invocation: Invocation) -> int:
    """Stdin and inputs, one after another, in a sealed memory file."""
    return memory_file("given", b"".join((invocation.stdin, *invocation.inputs.values())))


def _files(reply: Ended, body: bytes) -> Mapping[str, bytes] | None:
    """The files of `reply`; ``None`` where it is not what a cell sends."""
    sizes = [reply.stdout_bytes, reply.stderr_bytes, *(size for _, size in reply.files)]
    sound = (
        reply.verdict in _BY_THE_CELL
        and (reply.exit_code is not None) == (reply.verdict is Verdict.EXITED)
        and (reply.trap in TRAPS if reply.verdict is Verdict.TRAPPED else reply.trap is None)
        and sum(sizes) == len(body)
        and len(reply.files) <= MOST_OUT_FILES
        and len({path for path, _ in reply.files}) == len(reply.files)
        and {path for path, _ in reply.files}.isdisjoint(_folders(path for path, _ in reply.files))
        and all(_is_path(path) and len(path.encode()) <= LONGEST_OUT_PATH for path, _ in reply.files)
        and math.isfinite(reply.cpu_seconds + reply.wall_seconds)
    )
    if not sound:
        return None
    ends = list(itertools.accumulate(sizes))[1:]
    return {path: body[start : start + size] for (path, size), start in zip(reply.files, ends, strict=False)}


def _folders(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield from (path[:end] for end, character in enumerate(path) if character == "/")


def _is_path(path: str) -> bool:
    """Whether it is a relative path of named components, in text that is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))

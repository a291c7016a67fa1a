"""Keeps cells ready, so that a job does not wait for an interpreter to start."""

from __future__ import annotations

import logging
from collections import deque

import anyio
from anyio.abc import TaskGroup

from plasm.ports import Digest, RuntimeFailed

from .children import Child, Children

_LONGEST_PAUSE = 5.0


class Pool:
    """Idle cells. The caller bounds how many are taken at once.

    With `reuse` there are at most `slots` cells, and :meth:`give_back` makes one idle again; without it each is taken
    once and `spares` stand ready. Before the first job only one is started, for commands that run a single job.
    """

    def __init__(
        self,
        children: Children,
        tasks: TaskGroup,
        log: logging.Logger,
        *,
        slots: int,
        spares: int,
        reuse: bool,
        start_seconds: float,
    ) -> None:
        self._children = children
        self._tasks = tasks
        self._log = log
        self._slots = slots
        self._spares = spares
        self._reuse = reuse
        self._start_seconds = start_seconds
        self._idle: list[Child] = []
        self._waiting: deque[_Waiter] = deque()
        self._starting = 0
        self._taken = 0
        self._warm = False
        self._paused = False
        self._failures = 0
        self._fill()

    async def take(self, wanted: Digest) -> Child:
        """An idle cell, one that holds `wanted` where there is one. Raises :exc:`RuntimeFailed`."""
        self._warm = True
        child = self._pick(wanted)
        if child is None:
            return await self._wait()
        self._taken += 1
        self._fill()
        return child

    async def _wait(self) -> Child:
        waiter = _Waiter()
        self._waiting.append(waiter)
        self._fill(demanded=True)
        try:
            with anyio.move_on_after(self._start_seconds + 1):
                await waiter.served.wait()
        except BaseException:
            if waiter.child is not None:
                self.give_back(waiter.child)
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        if waiter.child is None:
            raise RuntimeFailed(waiter.failure or "no process for jobs became ready in time")
        self._fill()
        return waiter.child

    def give_back(self, child: Child) -> None:
        """`child` is ready for another job."""
        self._taken -= 1
        self._offer(child)

    def gone(self) -> None:
        """A cell that was taken has ended."""
        self._taken -= 1
        self._fill()

    def _pick(self, wanted: Digest) -> Child | None:
        while self._idle:
            best = next((child for child in reversed(self._idle) if wanted in child.loaded), self._idle[-1])
            self._idle.remove(best)
            if best.channel.quiet:
                return best
            self._tasks.start_soon(self._bury, best)
        return None

    async def _retire(self, child: Child) -> None:
        try:
            await self._children.end(child)
        except RuntimeFailed as error:
            self._log.warning("%s", error)

    async def _bury(self, child: Child) -> None:
        try:
            death = await self._children.end(child)
        except RuntimeFailed as error:
            self._log.warning("%s", error)
        else:
            self._log.warning("an idle process for jobs had ended: %s", death)

    def _offer(self, child: Child) -> None:
        if self._waiting:
            waiter = self._waiting.popleft()
            waiter.child = child
            self._taken += 1
            waiter.served.set()
        elif self._reuse or len(self._idle) < self._idle_target():
            self._idle.append(child)
        else:
            # It was started for a job that has been cancelled since.
            self._tasks.start_soon(self._retire, child)

    def _missing(self) -> int:
        at_rest = self._idle_target()
        missing = len(self._waiting) + at_rest - len(self._idle) - self._starting
        if self._reuse:
            missing = min(missing, self._slots - self._taken - len(self._idle) - self._starting)
        return missing

    def _idle_target(self) -> int:
        if self._reuse:
            return 0 if self._warm else 1
        return self._spares if self._warm else min(1, self._spares)

    def _fill(self, *, demanded: bool = False) -> None:
        if self._paused and not demanded:
            return
        for _ in range(self._missing()):
            self._starting += 1
            self._tasks.start_soon(self._start)

    async def _start(self) -> None:
        try:
            child = await self._children.start("reused" if self._reuse else "once", self._start_seconds)
        except RuntimeFailed as error:
            self._starting -= 1
            self._log.warning("%s", error)
            waiting, self._waiting = self._waiting, deque()
            for waiter in waiting:
                waiter.failure = str(error)
                waiter.served.set()
            self._failures += 1
            if not self._paused:
                self._paused = True
                await anyio.sleep(min(_LONGEST_PAUSE, 0.1 * 2 ** min(self._failures, 10)))
                self._paused = False
                self._fill()
            return
        self._starting -= 1
        self._failures = 0
        self._offer(child)


class _Waiter:
    def __init__(self) -> None:
        self.served = anyio.Event()
        self.child: Child | None = None
        self.failure = ""

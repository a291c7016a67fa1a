"""A slot: one warm parent, the cells that it forked in advance, perhaps a kept one, and the group that bounds them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import anyio

from plasm.ports import Digest, RuntimeFailed

from .cells import Cell
from .cgroups import Group
from .warmparents import Starter, WarmParent

_LONGEST_PAUSE = 5.0
_ATTEMPTS = 3


class Slot:
    """Used by one run at a time; :meth:`tend` keeps it ready, from when it is started."""

    def __init__(
        self, starter: Starter, make_group: Callable[[], Group | None], spares: int, seconds: float, log: logging.Logger
    ) -> None:
        self.group: Group | None = None
        self.tended = False
        """Whether :meth:`tend` was started."""
        self._make_group = make_group
        self._starter = starter
        self._target = spares
        self._seconds = seconds
        self._log = log
        self._parent: WarmParent | None = None
        self._spares: deque[Cell] = deque()
        self._kept: Cell | None = None
        self._leaving = 0
        self._waiter: _Waiter | None = None
        self._wake = anyio.Event()

    @property
    def ready(self) -> bool:
        return bool(self._spares)

    @property
    def _awaited(self) -> bool:
        return self._waiter is not None and not self._waiter.served.is_set()

    @property
    def _wanted(self) -> bool:
        """Whether to fork a cell now. One that ends still takes the place of the next spare."""
        return self._awaited or len(self._spares) + self._leaving < self._target

    def holds(self, wanted: Digest) -> int:
        """How good a kept cell is for a module: 2 where it is loaded already, 1 where there is one, else 0."""
        return 0 if self._kept is None else 2 if wanted in self._kept.loaded else 1

    async def take(self, *, kept: bool) -> Cell:
        """A cell for one run, the `kept` one if there is one. Raises :exc:`RuntimeFailed`."""
        if kept and self._kept is not None:
            cell, self._kept = self._kept, None
            if cell.channel.quiet:
                return cell
            await self._bury(cell)
        while self._spares:
            cell = self._spares.popleft()
            self._wake.set()
            if cell.channel.quiet:
                return cell
            await self._bury(cell)
        self._waiter = waiter = _Waiter()
        self._wake.set()
        try:
            with anyio.move_on_after(self._seconds + 1):
                await waiter.served.wait()
        except BaseException:
            if waiter.cell is not None:
                self._spares.append(waiter.cell)
            raise
        finally:
            self._waiter = None
        if waiter.cell is None:
            raise RuntimeFailed(waiter.failure or "no process for jobs became ready in time")
        return waiter.cell

    def leave(self) -> bool:
        """Whether a cell whose job is done may end beside the next job; then :meth:`left` is called when it has."""
        if self._leaving:
            return False
        self._leaving += 1
        return True

    def left(self) -> None:
        self._leaving -= 1
        self._wake.set()

    async def keep(self, cell: Cell) -> None:
        """`cell` is ready for another trusted job."""
        old, self._kept = self._kept, cell
        if old is not None:
            await old.end()

    async def tend(self) -> None:
        """Until cancelled: a warm parent, and as many spares as there should be."""
        self.group = self._make_group()
        failures = 0
        while True:
            if self._parent is not None and self._parent.lost:
                self._parent = None
                await self._clear()
            if self._parent is not None and not self._wanted:
                await self._wake.wait()
                self._wake = anyio.Event()
                continue
            try:
                if self._parent is None:
                    self._parent = await self._starter.start("run", self._seconds, self.group, self._lost)
                if self._wanted:
                    self._offer(await self._parent.fork(0, self._seconds))
                failures = 0
            except RuntimeFailed as error:
                self._log.warning("%s", error)
                failures += 1
                # One that was killed from outside costs a job no more than the wait for the next.
                if self._waiter is not None and failures >= _ATTEMPTS:
                    self._waiter.fail(str(error))
                self._wake = anyio.Event()
                with anyio.move_on_after(min(_LONGEST_PAUSE, 0.1 * 2 ** min(failures, 10))):
                    await self._wake.wait()

    async def close(self) -> None:
        """End what stands ready."""
        self._kept, kept = None, self._kept
        for cell in [*self._spares, *([kept] if kept is not None else [])]:
            cell.kill()
        if kept is not None:
            await self._end(kept)
        await self._clear()

    def _offer(self, cell: Cell) -> None:
        if self._awaited and self._waiter is not None:
            self._waiter.cell = cell
            self._waiter.served.set()
        else:
            self._spares.append(cell)

    def _lost(self) -> None:
        self._wake.set()

    async def _clear(self) -> None:
        while self._spares:
            await self._end(self._spares.popleft())

    async def _end(self, cell: Cell) -> None:
        try:
            await cell.end()
        except RuntimeFailed as error:
            self._log.warning("%s", error)

    async def _bury(self, cell: Cell) -> None:
        try:
            death = await cell.end()
        except RuntimeFailed as error:
            self._log.warning("%s", error)
        else:
            self._log.warning("an idle process for jobs had ended: %s", death)


class _Waiter:
    def __init__(self) -> None:
        self.served = anyio.Event()
        self.cell: Cell | None = None
        self.failure = ""

    def fail(self, reason: str) -> None:
        self.failure = reason
        self.served.set()

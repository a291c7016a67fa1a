"""Cells as the node holds them: a process that a warm parent forked, a descriptor to kill it by, a channel."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import OrderedDict
from dataclasses import dataclass, field

import anyio

from plasm.ports import Digest, RuntimeFailed

from .channel import Channel

REAP_SECONDS = 5.0
"""SIGKILL cannot be refused; what takes longer is a kernel that writes back or frees gigabytes."""


@dataclass(frozen=True)
class Death:
    """How a process ended: exit code, negative for a signal, and the CPU seconds of its whole life."""

    code: int
    cpu_seconds: float

    def __str__(self) -> str:
        if self.code >= 0:
            return f"exit code {self.code}"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-self.code).name}"
        return f"signal {-self.code}"


UNKNOWN_DEATH = Death(-int(signal.SIGKILL), 0.0)
"""Of a cell whose warm parent ended first: the death signal killed it, and nobody was told what it used."""


@dataclass(eq=False)
class Cell:
    """One cell's process. Its warm parent reports its death by :meth:`reported`."""

    pid: int
    pidfd: int
    channel: Channel
    loaded: OrderedDict[Digest, int] = field(default_factory=OrderedDict)
    """The modules that it holds and their sizes in bytes, least recently used first."""
    death: Death | None = None
    killed: bool = False
    """Whether the node killed it."""
    _report: anyio.Event = field(default_factory=anyio.Event)
    _ending: anyio.Lock = field(default_factory=anyio.Lock)
    _orphaned: bool = False
    _closed: bool = False

    def reported(self, death: Death | None) -> None:
        """Its warm parent reaped it, or is gone (``None``)."""
        self._orphaned = death is None
        self.death = self.death or death or UNKNOWN_DEATH
        self._report.set()

    def kill(self) -> None:
        self.killed = True
        if not self._closed:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def end(self) -> Death:
        """Kill it; done and reaped when this returns, also under cancellation. Idempotent.

        Raises :exc:`RuntimeFailed` where the kernel does not let go of the process in time.
        """
        self.channel.close()
        self.kill()
        with anyio.CancelScope(shield=True), anyio.move_on_after(REAP_SECONDS):
            await self._report.wait()
            async with self._ending:
                if self._orphaned and not self._closed:
                    await anyio.wait_readable(self.pidfd)
        if not self._report.is_set() or self.death is None:
            raise RuntimeFailed("a process for jobs does not end")
        self.close()
        return self.death

    def close(self) -> None:
        """Let go of its descriptors."""
        self.channel.close()
        if not self._closed:
            self._closed = True
            os.close(self.pidfd)

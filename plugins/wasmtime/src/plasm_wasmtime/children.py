"""Starts cells as child processes, kills them and reaps them; knows every one that is alive."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import signal
import socket
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio

from plasm.ports import Digest, RuntimeFailed

from .channel import CellGone, Channel, Failed, Garbage, Ready, one_line

Role = Literal["compile", "once", "reused"]
_REAP_SECONDS = 5.0
"""SIGKILL cannot be refused; what takes longer is a kernel that writes back or frees gigabytes."""


@dataclass(frozen=True)
class Death:
    """How a cell ended: exit code, negative for a signal, and the CPU seconds of its whole life."""

    code: int
    cpu_seconds: float

    def __str__(self) -> str:
        if self.code >= 0:
            return f"exit code {self.code}"
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-self.code).name}"
        return f"signal {-self.code}"


@dataclass(eq=False)
class Child:
    """One cell's process."""

    process: subprocess.Popen[bytes]
    pidfd: int
    channel: Channel
    cpu_seconds: float = 0.0
    """Used before the first job, as it said when it had seen nobody's code."""
    loaded: OrderedDict[Digest, int] = field(default_factory=OrderedDict)
    """The modules that it holds and their sizes in bytes, least recently used first."""
    death: Death | None = None


class Children:
    """All cells of one runtime."""

    def __init__(self) -> None:
        self._alive: set[Child] = set()
        engine = importlib.util.find_spec("wasmtime")
        if engine is None or engine.origin is None:
            raise RuntimeFailed("the engine wasmtime is not installed")
        homes = [Path(__file__).parent.parent, Path(engine.origin).parent.parent]
        # Without `site` an interpreter starts in half the time, and nothing but these two is found.
        self._interpreter = [sys.executable, "-S", "-s", "-P"]
        if sys.dont_write_bytecode:
            self._interpreter.append("-B")
        if sys.pycache_prefix is not None:
            self._interpreter += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
        self._environment = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(map(str, homes)))}

    @property
    def pids(self) -> frozenset[int]:
        return frozenset(child.process.pid for child in self._alive)

    async def start(self, role: Role, seconds: float) -> Child:
        """A cell that said it is ready. Raises :exc:`RuntimeFailed`."""
        child = self._spawn(role)
        try:
            with anyio.fail_after(seconds):
                reply, _ = await child.channel.receive()
        except TimeoutError:
            await self.end(child)
            raise RuntimeFailed(f"a process for jobs was not ready within {seconds:g} s") from None
        except CellGone:
            raise RuntimeFailed(f"a process for jobs ended while it started: {await self.end(child)}") from None
        except Garbage as error:
            await self.end(child)
            raise RuntimeFailed(f"a process for jobs sent {error} while it started") from None
        except OSError as error:
            await self.end(child)
            raise RuntimeFailed(f"a process for jobs could not be waited for: {error.strerror}") from None
        except BaseException:
            await self.end(child)
            raise
        match reply:
            case Ready(cpu_seconds=cpu_seconds):
                child.cpu_seconds = cpu_seconds
                return child
            case Failed(detail=detail):
                await self.end(child)
                raise RuntimeFailed(f"a process for jobs could not start: {one_line(detail)}")
            case _:
                await self.end(child)
                raise RuntimeFailed("a process for jobs did not say that it is ready")

    def _spawn(self, role: Role) -> Child:
        # Called on the event loop's thread: a child's death signal comes when the thread that started it ends.
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise RuntimeFailed(f"no process for jobs could be reached: {error.strerror}") from None
        channel = Channel(ours)
        try:
            process = subprocess.Popen(
                [*self._interpreter, "-m", "plasm_wasmtime.cell", str(theirs.fileno()), str(os.getpid()), role],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=self._environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            channel.close()
            raise RuntimeFailed(f"no process for jobs could be started: {error.strerror}") from None
        finally:
            theirs.close()
        try:
            pidfd = os.pidfd_open(process.pid)
        except OSError as error:
            process.kill()
            process.wait()
            channel.close()
            raise RuntimeFailed(f"no process for jobs could be watched: {error.strerror}") from None
        child = Child(process, pidfd, channel)
        self._alive.add(child)
        return child

    async def end(self, child: Child) -> Death:
        """Kill and reap `child`; done when this returns, also under cancellation. Idempotent.

        Raises :exc:`RuntimeFailed` where the kernel does not let go of the process in time.
        """
        if child.death is not None:
            return child.death
        child.channel.close()
        self._kill(child)
        with anyio.CancelScope(shield=True), anyio.move_on_after(_REAP_SECONDS):
            await anyio.wait_readable(child.pidfd)
        if child.death is not None:
            return child.death
        child.death = self._reap(child)
        return child.death

    async def end_all(self) -> None:
        """Kill every cell, then reap them; bounded by the kernel's time to free them."""
        children = list(self._alive)
        for child in children:
            self._kill(child)
        for child in children:
            if child in self._alive:
                with contextlib.suppress(RuntimeFailed):
                    await self.end(child)

    def _kill(self, child: Child) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)

    def _reap(self, child: Child) -> Death:
        try:
            pid, status, usage = os.wait4(child.process.pid, os.WNOHANG)
        except ChildProcessError:
            # A program that embeds a node and ignores SIGCHLD has the kernel reap its children.
            pid, status, usage = child.process.pid, signal.SIGKILL, resource.struct_rusage([0] * 16)
        if not pid:
            raise RuntimeFailed("a process for jobs does not end")
        os.close(child.pidfd)
        code = os.waitstatus_to_exitcode(status)
        # Popen would otherwise look for the process again when it is collected.
        child.process.returncode = code
        self._alive.discard(child)
        return Death(code, usage.ru_utime + usage.ru_stime)

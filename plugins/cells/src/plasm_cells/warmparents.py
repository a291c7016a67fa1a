"""Starts warm parents, has them fork cells, and knows what becomes of both."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import anyio
import msgspec
import plasm_cell
from anyio import to_thread
from anyio.abc import TaskGroup
from plasm_cell.frames import MAX_MESSAGE
from plasm_cell.lockdown import Walls

from plasm.ports import RuntimeFailed

from .cells import REAP_SECONDS, Cell, Death
from .cgroups import Group
from .channel import CellGone, Channel, Failed, Garbage, Ready, one_line
from .spec import EngineSpec

Role = Literal["run", "compile"]
_START = "import sys; sys.path[:0] = sys.argv[6:]; from plasm_cell.warm import main; main(*sys.argv[1:6])"
_MOST_CALLS = 64
_ENDED = "ended while it started"


class Loaded(msgspec.Struct, tag_field="kind", tag="loaded", forbid_unknown_fields=True):
    system_calls: Annotated[list[Annotated[str, msgspec.Meta(max_length=40)]], msgspec.Meta(max_length=_MOST_CALLS)]


class Warm(msgspec.Struct, tag_field="kind", tag="ready", forbid_unknown_fields=True):
    pass


class Forked(msgspec.Struct, tag_field="kind", tag="forked", forbid_unknown_fields=True):
    pid: int


class NotForked(msgspec.Struct, tag_field="kind", tag="not_forked", forbid_unknown_fields=True):
    detail: str


class Ended(msgspec.Struct, tag_field="kind", tag="ended", forbid_unknown_fields=True):
    pid: int
    status: int
    cpu_seconds: float


class Broken(msgspec.Struct, tag_field="kind", tag="failed", forbid_unknown_fields=True):
    detail: str


_decode = msgspec.json.Decoder(Loaded | Warm | Forked | NotForked | Ended | Broken).decode
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(eq=False)
class _Request:
    channel: Channel
    answered: anyio.Event = field(default_factory=anyio.Event)
    cell: Cell | None = None
    failure: str = ""
    abandoned: bool = False


class WarmParent:
    """One warm parent and its cells; :meth:`listen` runs for as long as it lives. Made by :func:`spawn`."""

    def __init__(self, process: subprocess.Popen[bytes], pidfd: int, control: socket.socket) -> None:
        self.process = process
        self.lost = False
        """Whether it ended, or is no longer believed: it forks nothing more."""
        self._pidfd = pidfd
        self._control = control
        self._cells: dict[int, Cell] = {}
        self._requests: deque[_Request] = deque()
        self._sending = anyio.Lock(fast_acquire=True)
        self._listening = False
        self._ending = anyio.Lock()
        self._death: Death | None = None

    @property
    def pids(self) -> frozenset[int]:
        """Of the processes that are alive, as far as was reported."""
        return frozenset(self._cells) | (frozenset({self.process.pid}) if self._death is None else frozenset())

    async def start(self, make_walls: Callable[[tuple[str, ...]], Walls], seconds: float) -> None:
        """Until it is ready to fork. Raises :exc:`RuntimeFailed`; the caller then ends it."""
        try:
            with anyio.fail_after(seconds):
                loaded, _ = await self._receive()
                if not isinstance(loaded, Loaded):
                    raise _unexpected(loaded)
                walls = await to_thread.run_sync(make_walls, tuple(loaded.system_calls))
                await self._send(walls.encode())
                ready, _ = await self._receive()
                if not isinstance(ready, Warm):
                    raise _unexpected(ready)
        except TimeoutError:
            raise RuntimeFailed(f"a process for jobs was not ready within {seconds:g} s") from None
        except CellGone:
            raise RuntimeFailed(f"a process for jobs ended while it started: {await self.end()}") from None
        except OSError as error:
            raise RuntimeFailed(f"a process for jobs could not be waited for: {error.strerror}") from None
        except (Garbage, ValueError) as error:
            raise RuntimeFailed(f"a process for jobs could not start: {one_line(str(error))}") from None

    async def listen(self) -> None:
        """Take its reports until it is gone."""
        self._listening = True
        try:
            while True:
                self._take(*await self._receive())
        except (CellGone, Garbage, OSError):
            pass
        finally:
            self._listening = False
            self._lose()

    async def fork(self, file_bytes: int, seconds: float) -> Cell:
        """A cell that said that its walls stand; the caller ends it. Raises :exc:`RuntimeFailed`."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise RuntimeFailed(f"no process for jobs could be reached: {error.strerror}") from None
        request = _Request(Channel(ours))
        problem = ""
        try:
            with anyio.fail_after(seconds):
                try:
                    await self._send({"file_bytes": file_bytes}, theirs, request)
                finally:
                    theirs.close()
                await request.answered.wait()
                if request.cell is None:
                    raise CellGone
                reply, _ = await request.channel.receive()
            match reply:
                case Ready():
                    return request.cell
                case Failed(detail=detail):
                    problem = f"could not start: {one_line(detail)}"
                case _:
                    problem = "did not say that it is ready"
        except TimeoutError:
            problem = f"was not ready within {seconds:g} s"
        except CellGone:
            problem = f"could not be started: {one_line(request.failure)}" if request.failure else _ENDED
        except Garbage as error:
            problem = f"sent {error} while it started"
        except OSError as error:
            problem = f"could not be started: {error.strerror}"
        finally:
            if request.cell is None:
                request.abandoned = True
                request.channel.close()
            elif problem or sys.exc_info()[0] is not None:
                death = await request.cell.end()
                problem = f"{problem} by {death}" if problem == _ENDED else problem
        raise RuntimeFailed(f"a process for jobs {problem}")

    async def end(self) -> Death:
        """Kill it, and with it its cells, for whose end their holders wait. Idempotent, also under cancellation.

        Raises :exc:`RuntimeFailed` where the kernel does not let go of the process in time.
        """
        for cell in self._cells.values():
            cell.kill()
        if self._death is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                async with self._ending:
                    self._lose()
                    if self._death is None:
                        with anyio.move_on_after(REAP_SECONDS):
                            await anyio.wait_readable(self._pidfd)
                        self._death = self._reap()
        assert self._death is not None
        return self._death

    def _reap(self) -> Death:
        try:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        except ChildProcessError:
            # A program that embeds a node and ignores SIGCHLD has the kernel reap its children.
            pid, status, usage = self.process.pid, int(signal.SIGKILL), resource.struct_rusage([0] * 16)
        if not pid:
            raise RuntimeFailed("a process for jobs does not end")
        os.close(self._pidfd)
        # Popen would otherwise look for the process again when it is collected.
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return Death(self.process.returncode, usage.ru_utime + usage.ru_stime)

    def _lose(self) -> None:
        self.lost = True
        if self._listening:
            # Not closed under the task that waits for it: another socket could get its number.
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
        else:
            self._control.close()
        while self._requests:
            self._answer(None, "the process that starts them ended")
        while self._cells:
            self._cells.popitem()[1].reported(None)

    def _take(self, message: object, descriptors: list[int]) -> None:
        match message, descriptors:
            case Forked(pid=pid), [pidfd] if self._requests:
                cell = self._cells[pid] = Cell(pid, pidfd, self._requests[0].channel)
                self._answer(cell, "")
            case NotForked(detail=detail), [] if self._requests:
                self._answer(None, detail)
            case Ended(pid=pid, status=status, cpu_seconds=cpu_seconds), [] if pid in self._cells:
                self._cells.pop(pid).reported(Death(os.waitstatus_to_exitcode(status), cpu_seconds))
            case _:
                for descriptor in descriptors:
                    os.close(descriptor)
                raise Garbage("an unexpected message")

    def _answer(self, cell: Cell | None, failure: str) -> None:
        request = self._requests.popleft()
        request.cell, request.failure = cell, failure
        if cell is not None and request.abandoned:
            cell.kill()
            cell.close()
        request.answered.set()

    async def _send(
        self, message: object, connection: socket.socket | None = None, request: _Request | None = None
    ) -> None:
        """Raises :exc:`CellGone`. `request` is answered in its turn."""
        encoded = _encode(message).encode()
        descriptors = [] if connection is None else [connection.fileno()]
        async with self._sending:
            while not self.lost:
                try:
                    socket.send_fds(self._control, [encoded], descriptors)
                except BlockingIOError:
                    await anyio.wait_writable(self._control)
                except OSError:
                    break
                else:
                    if request is not None:
                        self._requests.append(request)
                    return
        raise CellGone

    async def _receive(self) -> tuple[object, list[int]]:
        """A message with its descriptors. Raises :exc:`CellGone`, :exc:`Garbage`, :exc:`OSError`."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 1)
            except BlockingIOError:
                await anyio.wait_readable(self._control)
                continue
            except OSError:
                raise CellGone from None
            if not data:
                raise CellGone
            try:
                return _decode(data), descriptors
            except (msgspec.MsgspecError, RecursionError):
                for descriptor in descriptors:
                    os.close(descriptor)
                raise Garbage("a malformed message") from None


class Starter:
    """How warm parents of one engine are started; knows those that live."""

    def __init__(
        self, engine: EngineSpec, make_walls: Callable[[Role, tuple[str, ...]], Walls], tasks: TaskGroup
    ) -> None:
        self._engine = engine
        self._make_walls = make_walls
        self._tasks = tasks
        self._alive: set[WarmParent] = set()

    @property
    def pids(self) -> frozenset[int]:
        return frozenset().union(*(parent.pids for parent in self._alive))

    async def start(self, role: Role, seconds: float, group: Group | None, on_loss: Callable[[], None]) -> WarmParent:
        """One that is ready to fork, in `group`; `on_loss` is called when it has ended. Raises :exc:`RuntimeFailed`."""
        parent = spawn(self._engine, role)
        self._alive.add(parent)
        try:
            await parent.start(partial(self._make_walls, role), seconds)
            if group is not None:
                await to_thread.run_sync(group.adopt, parent.process.pid)
        except BaseException:
            await self.end(parent)
            raise
        self._tasks.start_soon(self._listen, parent, on_loss)
        return parent

    async def end(self, parent: WarmParent) -> None:
        try:
            await parent.end()
        finally:
            self._alive.discard(parent)

    async def end_all(self) -> None:
        """Kill all of them; bounded by the kernel's time to free them."""
        for parent in list(self._alive):
            with contextlib.suppress(RuntimeFailed):
                await self.end(parent)

    async def _listen(self, parent: WarmParent, on_loss: Callable[[], None]) -> None:
        await parent.listen()
        with contextlib.suppress(RuntimeFailed):
            await self.end(parent)
        on_loss()


def spawn(engine: EngineSpec, role: Role) -> WarmParent:
    """Start the process. Raises :exc:`RuntimeFailed`.

    To be called on the event loop's thread: a child's death signal comes when the thread that started it ends.
    """
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise RuntimeFailed(f"no process for jobs could be reached: {error.strerror}") from None
    ours.setblocking(False)
    # Isolated and without `site` an interpreter starts in half the time, and finds nothing but what it is told.
    command = [engine.interpreter, "-I", "-S"]
    if sys.dont_write_bytecode:
        command.append("-B")
    if sys.pycache_prefix is not None:
        command += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    compiler = engine.compiler if role == "compile" else ""
    home = Path(plasm_cell.__file__).parent.parent
    paths = list(dict.fromkeys(map(str, (*engine.paths, home))))
    command += ["-c", _START, str(theirs.fileno()), str(os.getpid()), role, engine.module, compiler, *paths]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env={},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        raise RuntimeFailed(f"no process for jobs could be started: {error.strerror}") from None
    finally:
        theirs.close()
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError as error:
        process.kill()
        process.wait()
        ours.close()
        raise RuntimeFailed(f"no process for jobs could be watched: {error.strerror}") from None
    return WarmParent(process, pidfd, ours)


def _unexpected(message: object) -> RuntimeFailed:
    detail = message.detail if isinstance(message, Broken) else "it said something else"
    return RuntimeFailed(f"a process for jobs could not start: {one_line(detail)}")

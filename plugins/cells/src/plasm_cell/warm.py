"""A warm parent: a process that has an engine imported and forks a cell for each socket that the node sends.

Started by the node alone, as ``main(SOCKET, PARENT, ROLE, ENGINE, COMPILER)``; `ROLE` is ``run`` or ``compile``,
`ENGINE` the name of a module that implements :class:`plasm_cell.engine.Engine`, `COMPILER` that of one that it imports
to compile, or nothing. Over the socket (``SOCK_SEQPACKET``) go messages of one JSON object each:

- to the node ``{"kind": "loaded", "system_calls": [...]}`` once the engine is imported;
- to the warm parent the encoded :class:`.lockdown.Walls`;
- to the node ``{"kind": "ready"}``, with which this process has no privileges left;
- to the warm parent ``{"file_bytes": …}`` with one descriptor: fork a cell, whose end of a socket that is and which may
  write files in memory of that size;
- to the node ``{"kind": "forked", "pid": …}`` with a pidfd, or ``{"kind": "not_forked", "detail": …}``, in the order of
  the requests;
- to the node ``{"kind": "ended", "pid": …, "status": …, "cpu_seconds": …}`` for each cell that ended;
- to the node ``{"kind": "failed", "detail": …}``, the last message.
"""

from __future__ import annotations

import _socket
import gc
import importlib
import json
import os
import select
import signal
import sys
from typing import Any

from . import cell, lockdown
from .engine import starve
from .frames import MAX_MESSAGE, CellSocket, descriptors_of, encode_json, one_line, send_with_descriptors
from .heap import fill_gaps
from .lockdown import CELL_SOCKET, Walls
from .rehearsal import copy_when_forked, rehearse


def main(descriptor: str, parent: str, role: str, engine_name: str, compiler: str) -> None:
    """Serve until the node closes the socket or ends."""
    lockdown.prepare(int(parent))
    if role == "compile":
        lockdown.give_way(lockdown.COMPILE_NICENESS)
        lockdown.take_long_turns()
    else:
        lockdown.give_way(lockdown.RUN_NICENESS)
    if int(descriptor) != CELL_SOCKET:
        # Where a cell has its own: what reads from there is made once, here.
        os.dup2(int(descriptor), CELL_SOCKET)
        os.close(int(descriptor))
    control = Control(CELL_SOCKET)
    try:
        if compiler:
            # Now: in a cell, where the engine would import it, no file can be opened.
            importlib.import_module(compiler)
        _serve(control, int(parent), role, engine_name)
    except (BrokenPipeError, ConnectionResetError):
        pass
    except Exception as error:
        control.send({"kind": "failed", "detail": one_line(f"{type(error).__name__}: {error}")})
    os._exit(1)


def _serve(control: Control, parent: int, role: str, engine_name: str) -> None:
    engine = importlib.import_module(engine_name)
    machine = engine.machine() if role == "run" else None
    rehearsed = rehearse(engine, machine, parent) if machine is not None else None
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError(f"the engine {engine_name} starts threads, which no fork survives")
    control.send({"kind": "loaded", "system_calls": list(engine.system_calls())})
    message, _ = control.receive()
    if not message:
        return
    walls = Walls.decode(message)
    door = lockdown.Door(walls)
    node = CellSocket(CELL_SOCKET)
    first = ((gc.enable, ()), (node.send, ({"kind": "ready"},)))
    # What is alive now lives as long as this process: no collection touches its pages, so that forks share them.
    gc.collect()
    fill_gaps()
    gc.freeze()
    gc.disable()
    if machine is not None and rehearsed is not None:
        copy_when_forked(machine, rehearsed)
    data_bytes = lockdown.data_bytes()
    lockdown.enter_warm(walls, parent)
    control.send({"kind": "ready"})
    here = os.getpid()
    nursery = Nursery(control)
    # What is raised where nobody can catch it, such as for want of memory before a host function is entered, would be
    # printed and forgotten, and the guest would go on.
    sys.unraisablehook = lambda _: starve()
    while True:
        if not nursery.wait():
            continue
        message, descriptors = control.receive()
        if not message:
            return
        (connection,) = descriptors
        steps = [*door.steps(here, connection, message["file_bytes"]), *first]
        try:
            pid = os.fork()
        except OSError as error:
            os.close(connection)
            control.send({"kind": "not_forked", "detail": one_line(str(error))})
            continue
        if not pid:
            try:
                cell.main(steps, node, engine, machine, data_bytes)
            finally:
                os._exit(1)
        os.close(connection)
        nursery.add(pid)


class Control:
    """This side's end of the node's socket."""

    def __init__(self, descriptor: int) -> None:
        self.socket = _socket.socket(fileno=descriptor)
        self.socket.setblocking(True)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """A message and its descriptors; an empty one where the node has closed its end."""
        data, ancillary, _, _ = self.socket.recvmsg(MAX_MESSAGE, _socket.CMSG_SPACE(4))
        return (json.loads(data) if data else {}), descriptors_of(ancillary)

    def send(self, message: dict[str, Any], *descriptors: int) -> None:
        encoded = encode_json(message).encode()
        if descriptors:
            send_with_descriptors(self.socket, encoded, *descriptors)
        else:
            self.socket.send(encoded)


class Nursery:
    """The cells of this process: reaped as they end, each reported once."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._pids: dict[int, int] = {}
        self._poll = select.poll()
        self._poll.register(control.socket, select.POLLIN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def add(self, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._control.send({"kind": "not_forked", "detail": one_line(str(error))})
            return
        self._pids[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        self._control.send({"kind": "forked", "pid": pid}, pidfd)

    def wait(self) -> bool:
        """Whether the node sent something."""
        heard = False
        for descriptor, _ in self._poll.poll():
            pid = self._pids.pop(descriptor, None)
            if pid is None:
                heard = True
                continue
            self._poll.unregister(descriptor)
            os.close(descriptor)
            _, status, usage = os.wait4(pid, 0)
            cpu_seconds = usage.ru_utime + usage.ru_stime
            self._control.send({"kind": "ended", "pid": pid, "status": status, "cpu_seconds": cpu_seconds})
        return heard

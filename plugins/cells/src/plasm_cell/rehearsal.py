"""A small run in the warm parent, before any fork, so that cells find what a run makes only once.

Types, caches and code that the interpreter rewrites as it runs: in each cell they would cost milliseconds, most of it
for copies of the pages that they stand on.
"""

from __future__ import annotations

import _socket
import contextlib
import json
import os
import resource

from . import lockdown
from .cell import serve
from .engine import Engine, Machine, Refused
from .frames import PREFIX, CellSocket, Closed, encode, send_with_descriptors, write_all

_REFUSED = 3
_TIMES = 12
"""The interpreter rewrites code that ran some eight times."""

_MODULE = bytes.fromhex(
    "0061736d0100000001100360047f7f7f7f017f60017f0060000002670316776173695f736e617073686f745f707265766965"
    "77310766645f72656164000016776173695f736e617073686f745f70726576696577310866645f7772697465000016776173"
    "695f736e617073686f745f70726576696577310970726f635f657869740001030201020503010001071302066d656d6f7279"
    "0200065f737461727400030a1e011c00410041004101412010001a410141004101412010011a410010020b0b0e010041000b"
    "0810000000080000000011046e616d65010a03000172010177020165"
)
"""Reads eight bytes of stdin to address 16, writes what stands there to stdout, and exits with 0."""
_JOB = {
    "starts": False,
    "last": False,
    "given_bytes": 0,
    "seed": "00" * 32,
    "capabilities": [],
    "args": ["a"],
    "env": {"a": "b"},
    "fuel": None,
    "memory_bytes": 1 << 20,
    "output_bytes": 4096,
    "file_bytes": 4096,
    "host_calls": 100,
    "wall_seconds": 1000.0,
    "stdin_bytes": 8,
    "inputs": [],
}


def rehearse(engine: Engine, machine: Machine, parent: int) -> None:
    """An engine that takes no WebAssembly, as in tests, is spared that. Raises what a run raises."""
    artifact = _compiled(engine)
    if artifact is None:
        return
    for _ in range(_TIMES):
        lockdown.rehearse(parent)
    limits = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)}
    ours, theirs = _socket.socketpair()
    node = CellSocket(theirs.detach())
    try:
        for number in range(_TIMES):
            _ask(ours, number, artifact)
        ours.shutdown(_socket.SHUT_WR)
        with contextlib.suppress(Closed):
            serve(node, machine, lockdown.data_bytes())
        _check(ours)
    finally:
        ours.close()
        node.close()
        for kind, limit in limits.items():
            resource.setrlimit(kind, limit)


def _ask(connection: _socket.socket, number: int, artifact: bytes) -> None:
    """Send a job with its module, as the node does; each frame is read by itself, since it brings a descriptor."""
    forget = [str(number - 1)] if number else []
    job = {**_JOB, "module": str(number), "artifact_bytes": len(artifact), "forget": forget}
    encoded = json.dumps(job).encode()
    descriptor = os.memfd_create("rehearsal")
    try:
        write_all(descriptor, artifact)
        send_with_descriptors(connection, encode(encoded, 8) + b"rehearse", descriptor)
    finally:
        os.close(descriptor)


def _check(connection: _socket.socket) -> None:
    """Look at what was answered. Raises :exc:`RuntimeError`."""
    answers = connection.recv(1 << 20)
    for _ in range(_TIMES):
        for kind in ("begun", "outcome"):
            header_length, body_length = PREFIX.unpack_from(answers)
            begin = PREFIX.size + header_length
            reply = json.loads(answers[PREFIX.size : begin])
            body, answers = answers[begin : begin + body_length], answers[begin + body_length :]
            if reply["kind"] != kind or (kind == "outcome" and body != b"rehearse"):
                raise RuntimeError(f"the engine does not run a small program: {reply}")


def _compiled(engine: Engine) -> bytes | None:
    """The artifact of the small program, made in another process: some compilers leave threads behind."""
    descriptor = os.memfd_create("rehearsal")
    pid = os.fork()
    if not pid:
        status = 1
        try:
            write_all(descriptor, engine.compile_module(_MODULE).artifact)
            status = 0
        except Refused:
            status = _REFUSED
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with open(descriptor, "rb") as file:
        artifact = file.read()
    if status not in (0, _REFUSED):
        raise RuntimeError(f"the engine does not compile a small program: {status}")
    return None if status else artifact

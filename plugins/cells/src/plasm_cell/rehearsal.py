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

from . import lockdown, pages
from .cell import serve
from .engine import Engine, Machine, Refused
from .frames import PREFIX, CellSocket, Closed, encode, encode_json, send_with_descriptors, write_all

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


def rehearse(engine: Engine, machine: Machine, parent: int) -> bytes | None:
    """Run a small program some times: its artifact. Raises what a run raises.

    An engine that takes no WebAssembly, as in tests, is spared that.
    """
    artifact = _compiled(engine)
    if artifact is None:
        return None
    limits = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)}
    for _ in range(_TIMES):
        lockdown.rehearse(parent)
    with _Asked(artifact, _TIMES) as asked:
        try:
            asked.answer(machine)
        finally:
            for kind, limit in limits.items():
                resource.setrlimit(kind, limit)
        asked.check()
    return artifact


def copy_when_forked(machine: Machine, artifact: bytes) -> None:
    """From now on each fork copies what a cell writes to while it runs such a program."""
    here = os.getpid()
    with _Asked(artifact, 1) as asked:

        def run() -> None:
            lockdown.rehearse(here)
            asked.answer(machine)

        pages.copy_when_forked(run)


class _Asked:
    """Jobs of the small program on a socket, from which nobody has taken them yet."""

    def __init__(self, artifact: bytes, jobs: int) -> None:
        self._jobs = jobs
        self._ours, theirs = _socket.socketpair()
        self._node = CellSocket(theirs.detach())
        for number in range(jobs):
            self._ask(number, artifact)
        self._ours.shutdown(_socket.SHUT_WR)

    def __enter__(self) -> _Asked:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._node.close()

    def _ask(self, number: int, artifact: bytes) -> None:
        """As the node does. Each frame is read by itself, since it brings a descriptor."""
        forget = [str(number - 1)] if number else []
        job = {**_JOB, "module": str(number), "artifact_bytes": len(artifact), "forget": forget}
        descriptor = os.memfd_create("rehearsal")
        try:
            write_all(descriptor, artifact)
            send_with_descriptors(self._ours, encode(encode_json(job).encode(), 8) + b"rehearse", descriptor)
        finally:
            os.close(descriptor)

    def answer(self, machine: Machine) -> None:
        with contextlib.suppress(Closed):
            serve(self._node, machine, lockdown.data_bytes())

    def check(self) -> None:
        """Look at what was answered. Raises :exc:`RuntimeError`."""
        answers = self._ours.recv(1 << 20)
        for _ in range(self._jobs):
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

"""What code in a cell may say to the node over the cell's own socket."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from plasm_cell.frames import PREFIX
from plasm_cell.lockdown import CELL_SOCKET

from .kernel import Attempt, Kernel, Order

OUTCOME: dict[str, Any] = {
    "kind": "outcome",
    "verdict": "exited",
    "exit_code": 0,
    "fuel": None,
    "peak_memory_bytes": None,
    "stdout_bytes": 0,
    "stderr_bytes": 0,
    "files": [],
    "wall_seconds": 0.0,
    "cpu_seconds": 0.0,
}


def frame(
    header: object, body: bytes = b"", *, header_bytes: int | None = None, body_bytes: int | None = None
) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    lengths = (
        len(encoded) if header_bytes is None else header_bytes,
        len(body) if body_bytes is None else body_bytes,
    )
    return PREFIX.pack(*lengths) + encoded + body


def outcome(body: bytes = b"", **changed: Any) -> bytes:
    return frame({**OUTCOME, **changed}, body)


def without(name: str) -> bytes:
    return frame({key: value for key, value in OUTCOME.items() if key != name})


FORGED: Mapping[str, bytes] = {
    "noise": bytes(range(256)) * 64,
    "a header of 4 GiB": frame(b"{}", header_bytes=0xFFFFFFFF),
    "a body of 2^64 bytes": frame(OUTCOME, body_bytes=(1 << 64) - 1),
    "a body beyond the limit": frame({**OUTCOME, "stdout_bytes": 1 << 40}, body_bytes=1 << 40),
    "no JSON": frame(b"\xff\xfe{"),
    "an empty header": frame(b""),
    "another kind": frame({"kind": "ready"}),
    "begun twice": frame({"kind": "begun"}),
    "compiled": frame({"kind": "compiled", "starts": False}),
    "an unknown kind": frame({"kind": "promoted"}),
    "an unknown member": outcome(isolation="none"),
    "no verdict": without("verdict"),
    "an unknown verdict": outcome(verdict="perfect"),
    "timed out, which the node says": outcome(verdict="timed_out", exit_code=None),
    "cell died, which the node says": outcome(verdict="cell_died", exit_code=None),
    "not runnable, which compiling says": outcome(verdict="not_runnable", exit_code=None),
    "exited without a code": outcome(exit_code=None),
    "exited with 256": outcome(exit_code=256),
    "exited and trapped": outcome(trap="unreachable"),
    "trapped by nothing": outcome(verdict="trapped", exit_code=None),
    "an unknown trap": outcome(verdict="trapped", exit_code=None, trap="hit_by_a_meteorite"),
    "a trap and an exit code": outcome(verdict="trapped", trap="unreachable"),
    "sizes that are not the body's": outcome(b"four", stdout_bytes=5),
    "sizes below zero": outcome(b"four", stdout_bytes=5, stderr_bytes=-1),
    "sizes beyond numbers": outcome(stdout_bytes=1 << 70),
    "fuel below zero": outcome(fuel=-1),
    "time before it began": outcome(cpu_seconds=-1.0),
    "time that is no number": frame(json.dumps({**OUTCOME, "wall_seconds": float("nan")}).encode()),
    "time without end": frame(json.dumps({**OUTCOME, "cpu_seconds": 0}).replace(": 0}", ": 1e999}").encode()),
    "a file above": outcome(b"x", files=[("../planted", 1)]),
    "a file at the root": outcome(b"x", files=[("/etc/planted", 1)]),
    "a file without a name": outcome(b"x", files=[("", 1)]),
    "a file with a nul": outcome(b"x", files=[("a\0b", 1)]),
    "a file that is no text": outcome(b"x", files=[("a\ud800", 1)]),
    "a file here": outcome(b"x", files=[("a/./b", 1)]),
    "a file twice": outcome(b"xy", files=[("a", 1), ("a", 1)]),
    "a file of a long name": outcome(b"x", files=[("n" * 201, 1)]),
    "too many files": outcome(files=[(f"f{number}", 0) for number in range(257)]),
    "a file in a file": outcome(b"xy", files=[("a", 1), ("a/b", 1)]),
    "deep nesting": frame(b"[" * 100_000),
    "a number without end": frame(b'{"kind":"outcome","fuel":' + b"9" * 100_000 + b"}"),
}
"""Said in place of an outcome: the node must take none of them for one."""


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(CELL_SOCKET, rest) :]


def _wait() -> NoReturn:
    while True:
        time.sleep(1e6)


def _forged(name: str) -> Attempt:
    def attempt(kernel: Kernel, order: Order) -> NoReturn:
        _write(FORGED[name])
        _wait()

    return attempt


def _half(kernel: Kernel, order: Order) -> NoReturn:
    _write(outcome()[:-3])
    _wait()


def _drip(kernel: Kernel, order: Order) -> NoReturn:
    _write(PREFIX.pack(1 << 16, 0))
    while True:
        _write(b" ")
        time.sleep(0.1)


def _flood(kernel: Kernel, order: Order) -> NoReturn:
    # In one write: what came later might find the next job, which then dies with its cell and runs again.
    _write(outcome() + bytes(1 << 10))
    while True:
        _write(bytes(1 << 20))


def _descriptors(kernel: Kernel, order: Order) -> NoReturn:
    """Descriptors that the node did not ask for, on a frame that is fine otherwise."""
    data = outcome()
    descriptors = struct.pack("=4i", 0, 1, 2, CELL_SOCKET)
    control = struct.pack("=Qii", 16 + len(descriptors), socket.SOL_SOCKET, socket.SCM_RIGHTS) + descriptors
    buffers = [ctypes.create_string_buffer(each, len(each)) for each in (data, control)]
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(buffers[0]), len(data)), 16)
    message = struct.pack("=QQQQQQQ", 0, 0, ctypes.addressof(vector), 1, ctypes.addressof(buffers[1]), len(control), 0)
    kernel("sendmsg", CELL_SOCKET, message, 0)
    _wait()


def _hang_up(kernel: Kernel, order: Order) -> NoReturn:
    os.close(CELL_SOCKET)
    _wait()


ATTEMPTS: Mapping[str, Attempt] = {
    **{name: _forged(name) for name in FORGED},
    "half a frame": _half,
    "a byte at a time": _drip,
    "more after the outcome": _flood,
    "descriptors for the node": _descriptors,
    "hang up and stay": _hang_up,
}

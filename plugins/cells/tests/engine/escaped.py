"""An engine for tests: its modules are Python source behind the preamble of a WebAssembly module, and it runs them.

So a test's guest is code that has escaped any engine already: it runs in a cell, behind its walls, with the interpreter
at hand. It finds `layer` and `limits`, and may set `ending`.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import time
from typing import Any

from plasm_cell import wasi
from plasm_cell.engine import Compiled, Ending, Refused
from plasm_cell.wasi import Exit

PREAMBLE = b"\0asm\1\0\0\0"
_FOUND = (ctypes, errno, json, mmap, os, resource, signal, socket, time)


class Layer(wasi.Wasi):
    """Keeps what the cell gave it, for guests to look at."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.given = given


wasi.Wasi = Layer  # type: ignore[misc]


def compile_module(module: bytes) -> Compiled:
    try:
        source = module[len(PREAMBLE) :].decode()
        compile(source, "guest", "exec")
    except (SyntaxError, ValueError) as error:
        raise Refused(f"not Python: {error}") from None
    if source.startswith("#compile "):
        exec(source, _names())
    return Compiled(module, False)


def machine() -> Machine:
    return Machine()


def system_calls() -> tuple[str, ...]:
    return ()


class Machine:
    def load(self, artifact: memoryview, starts: bool) -> Any:
        return compile(bytes(artifact)[len(PREAMBLE) :].decode(), "guest", "exec")

    def run(self, program: Any, layer: Any, limits: Any) -> Ending:
        names = {**_names(), "layer": layer, "limits": limits, "ending": Ending()}
        try:
            exec(program, names)
        except Exit as stop:
            layer.stop = stop
        ending: Ending = names["ending"]
        return ending


def _names() -> dict[str, Any]:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return {**{module.__name__: module for module in _FOUND}, "libc": libc, "Ending": Ending, "Exit": Exit}

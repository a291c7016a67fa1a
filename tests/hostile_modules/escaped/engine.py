"""An engine that was broken out of: its "modules" name what to attempt by raw system calls, where a guest's code runs.

It exists for these tests alone. Production code imports it in compile cells and warm parents because an
:class:`plasm_cells.spec.EngineSpec` names it, as it does any engine, and knows nothing else of it.
"""

from __future__ import annotations

import json

from plasm_cell.engine import Compiled, Ending, Limits, Refused
from plasm_cell.wasi import Wasi

from . import attempts, frames
from .kernel import Denied, Kernel, Order

PREAMBLE = b"\0asm\1\0\0\0"
ATTEMPTS = {**attempts.ATTEMPTS, **frames.ATTEMPTS}


def system_calls() -> tuple[str, ...]:
    return ()


def compile_module(module: bytes) -> Compiled:
    try:
        order = json.loads(module[len(PREAMBLE) :])
    except ValueError:
        raise Refused("it is WebAssembly") from None
    if order["where"] == "compile":
        raise Refused(attempt(order))
    return Compiled(module[len(PREAMBLE) :], starts=False)


def machine() -> Escaped:
    return Escaped()


class Escaped:
    def load(self, artifact: memoryview, starts: bool) -> Order:
        order: Order = json.loads(bytes(artifact))
        return order

    def run(self, program: Order, layer: Wasi, limits: Limits) -> Ending:
        layer.stdout += attempt(program).encode()
        return Ending()


def attempt(order: Order) -> str:
    """What became of it, unless the kernel ends the process."""
    try:
        return f"done: {ATTEMPTS[order['attempt']](Kernel(order['calls']), order)}"
    except Denied as denied:
        return f"denied: {denied}"

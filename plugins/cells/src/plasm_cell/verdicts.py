"""From what an engine and the WASI layer saw to the verdict that the node gets; the same for every engine."""

from __future__ import annotations

from typing import Any

from .engine import TRAPS, Ending, GaveUp
from .wasi import Exit, HostCallsSpent, OutputFull, Wasi

_WANT_OF_MEMORY = ("unreachable", "memory_out_of_bounds", "allocation_too_large")
"""How programs end that do not cope with a refused growth: by abort, or through the null pointer."""
_OUTPUT_LIMIT = {"verdict": "output_limit", "detail": "it wrote more than its output limit"}
_NO_ROOM_FOR_FILES = "it had no room left for its files"
"""As in ``plasm.ports``, which nothing in a cell imports."""


def verdict(ending: Ending, layer: Wasi, output_bytes: int) -> dict[str, Any]:
    """``verdict``, and as they apply ``exit_code``, ``trap`` and ``detail``.

    Raises :exc:`GaveUp` for an end that is none of these: ``specs/verdicts.md`` says what may lead to each.
    """
    return dict(_OUTPUT_LIMIT) if layer.output_size > output_bytes else _verdict(ending, layer)


def _verdict(ending: Ending, layer: Wasi) -> dict[str, Any]:
    stop = layer.stop
    if isinstance(stop, Exit):
        lacked = {"detail": _NO_ROOM_FOR_FILES} if stop.code and layer.lacked_file_bytes else {}
        return {"verdict": "exited", "exit_code": stop.code, **lacked}
    if isinstance(stop, OutputFull):
        return dict(_OUTPUT_LIMIT)
    if isinstance(stop, HostCallsSpent):
        return {"verdict": "host_call_limit", "detail": "it made more host calls than its limit"}
    if ending.out_of_fuel:
        return {"verdict": "out_of_fuel", "detail": "it used all of its fuel"}
    if ending.refused_memory and (ending.trap in _WANT_OF_MEMORY or not ending.instantiated):
        return {"verdict": "out_of_memory", "detail": "it needed more memory than its limit"}
    if ending.trap is not None:
        if ending.trap not in TRAPS:
            raise GaveUp(ending.error or ending.trap)
        return {"verdict": "trapped", "trap": ending.trap, "detail": ending.error or TRAPS[ending.trap]}
    if ending.error is not None and not ending.instantiated:
        return {"verdict": "out_of_memory", "detail": f"it could not be started: {ending.error}"}
    if ending.error is not None:
        raise GaveUp(ending.error)
    return {"verdict": "exited", "exit_code": 0}

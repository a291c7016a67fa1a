"""wasm3's C functions, as its ``wasm3.h`` declares them.

The functions of the Python module are not used: they free nothing, and cost 80 bytes for each look at a memory.
"""

from __future__ import annotations

import ctypes
import importlib.util
from typing import Any, Final

POINTER: Final = ctypes.c_void_p
HOST_FUNCTION: Final = ctypes.CFUNCTYPE(POINTER, POINTER, POINTER, POINTER, POINTER)
"""``M3RawCall``: runtime, import context, values, memory; gives a trap or null."""

_RESULT: Final = ctypes.c_char_p
_FUNCTIONS: Final[dict[str, tuple[Any, ...]]] = {
    "m3_NewEnvironment": (POINTER,),
    "m3_FreeEnvironment": (None, POINTER),
    "m3_NewRuntime": (POINTER, POINTER, ctypes.c_uint32, POINTER),
    "m3_FreeRuntime": (None, POINTER),
    "m3_ParseModule": (_RESULT, POINTER, ctypes.POINTER(POINTER), ctypes.c_char_p, ctypes.c_uint32),
    "m3_FreeModule": (None, POINTER),
    "m3_LoadModule": (_RESULT, POINTER, POINTER),
    "m3_CompileModule": (_RESULT, POINTER),
    "m3_LinkRawFunction": (_RESULT, POINTER, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, HOST_FUNCTION),
    "m3_FindFunction": (_RESULT, ctypes.POINTER(POINTER), POINTER, ctypes.c_char_p),
    "m3_Call": (_RESULT, POINTER, ctypes.c_uint32, POINTER),
    "m3_GetMemory": (POINTER, POINTER, ctypes.POINTER(ctypes.c_uint32), ctypes.c_uint32),
    "m3_FindGlobal": (POINTER, POINTER, ctypes.c_char_p),
    "m3_GetGlobal": (_RESULT, POINTER, POINTER),
    "m3_SetGlobal": (_RESULT, POINTER, POINTER),
}


class Tagged(ctypes.Structure):
    """``M3TaggedValue`` of an integer."""

    _fields_ = (("kind", ctypes.c_int), ("value", ctypes.c_uint64))


I32: Final = 1
I64: Final = 2


def load() -> Any:
    """The library with its functions declared. Raises :exc:`ImportError`, :exc:`OSError`, :exc:`AttributeError`."""
    spec = importlib.util.find_spec("wasm3")
    if spec is None or spec.origin is None:
        raise ImportError("wasm3 is not installed")
    library = ctypes.CDLL(spec.origin)
    for name, (result, *parameters) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = parameters
    return library

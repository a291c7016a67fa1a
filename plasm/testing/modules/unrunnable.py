"""What no runtime takes."""

from __future__ import annotations

import base64

from plasm.testing.modules.answers import ECHO
from plasm.testing.modules.module import Module

NO_START = Module(
    name="no_start",
    meaning="Exports a function, but no ``_start``.",
    wat="""
(module
  (memory (export "memory") 1)
  (func (export "main")))
""",
    wasm=base64.b64decode("AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEQIGbWVtb3J5AgAEbWFpbgAACgQBAgAL"),
)

MISSING_IMPORT = Module(
    name="missing_import",
    meaning="Imports a function that WASI preview 1 does not have.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "fd_teleport" (func $teleport))
  (memory (export "memory") 1)
  (func (export "_start") (call $teleport)))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABBAFgAAACJgEWd2FzaV9zbmFwc2hvdF9wcmV2aWV3MQtmZF90ZWxlcG9ydAAAAwIBAAUDAQABBxMCBm1lbW9yeQIA"
        "Bl9zdGFydAABCgYBBAAQAAsAEgRuYW1lAQsBAAh0ZWxlcG9ydA=="
    ),
)

UNRUNNABLE: dict[str, bytes] = {
    "empty": b"",
    "not WebAssembly": b"#!/bin/sh\nexit 0\n",
    "only a header's beginning": ECHO.wasm[:6],
    "truncated": ECHO.wasm[: len(ECHO.wasm) // 2],
    "of a version that does not exist": b"\0asm" + (9).to_bytes(4, "little") + ECHO.wasm[8:],
    "a component": b"\0asm\x0d\0\x01\0",
    "without _start": NO_START.wasm,
    "with an import that nobody provides": MISSING_IMPORT.wasm,
}
"""What :exc:`plasm.ports.NotRunnable` is for, by what is wrong with it."""

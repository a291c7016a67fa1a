"""Modules that run into a trap."""

from __future__ import annotations

import base64

from plasm.testing.modules.module import Module

TRAP = Module(
    name="trap",
    meaning="Runs into ``unreachable``.",
    wat="""
(module
  (memory (export "memory") 1)
  (func (export "_start") unreachable))
""",
    wasm=base64.b64decode("AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKBQEDAAAL"),
)

RECURSE = Module(
    name="recurse",
    meaning="Calls itself until the stack is used up.",
    wat="""
(module
  (memory (export "memory") 1)
  (func $deeper (export "_start") (call $deeper) (call $deeper)))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKCAEGABAAEAALABAEbmFtZQEJAQAGZGVlcGVy"
    ),
)

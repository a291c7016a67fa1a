"""Modules that write down what is not theirs to know: random bytes and the time."""

from __future__ import annotations

import base64

from plasm.testing.modules.module import Module

RANDOM = Module(
    name="random",
    meaning="Writes 32 random bytes.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $random (i32.const 64) (i32.const 32)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 32))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABEgNgAn9/AX9gBH9/f38Bf2AAAAJHAhZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCnJhbmRvbV9nZXQAABZ3YXNpX3Nu"
        "YXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAEDAgECBQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAIKJgEkAEHAAEEgEAAaQQBBwAA2"
        "AgBBBEEgNgIAQQFBAEEBQQgQARoLABcEbmFtZQEQAgAGcmFuZG9tAQV3cml0ZQ=="
    ),
)

CLOCK = Module(
    name="clock",
    meaning="Writes the real-time clock's nanoseconds, 8 bytes little-endian.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 64)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABEwNgA39+fwF/YAR/f39/AX9gAAACSwIWd2FzaV9zbmFwc2hvdF9wcmV2aWV3MQ5jbG9ja190aW1lX2dldAAAFndh"
        "c2lfc25hcHNob3RfcHJldmlldzEIZmRfd3JpdGUAAQMCAQIFAwEAAQcTAgZtZW1vcnkCAAZfc3RhcnQAAgooASYAQQBCAUHAABAA"
        "GkEAQcAANgIAQQRBCDYCAEEBQQBBAUEIEAEaCwAWBG5hbWUBDwIABWNsb2NrAQV3cml0ZQ=="
    ),
)

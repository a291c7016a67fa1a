"""Modules that take what they get of time, memory, output or host calls."""

from __future__ import annotations

import base64

from plasm.testing.modules.module import Module

SPIN = Module(
    name="spin",
    meaning="Loops for ever without a host call.",
    wat="""
(module
  (memory (export "memory") 1)
  (func (export "_start") (loop $again (br $again))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKCQEHAANADAALCwARBG5hbWUDCgEAAQAFYWdhaW4="
    ),
)

SLEEP = Module(
    name="sleep",
    meaning="Asks to sleep for an hour by the monotonic clock, then returns.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAImARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxC3BvbGxfb25lb2ZmAAADAgEBBQMBAAEHEwIG"
        "bWVtb3J5AgAGX3N0YXJ0AAEKJQEjAEEQQQE2AgBBGEKAwOKF4+gANwMAQQBBwABBAUGAARAAGgsADgRuYW1lAQcBAARwb2xs"
    ),
)

GROW = Module(
    name="grow",
    meaning="Grows its memory by a page at a time, writes to each, until refused; then writes the "
    "number of pages, 4 bytes little-endian.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (block $refused
      (loop $again
        (br_if $refused (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1))
        (br_if $again (i32.lt_u (memory.size) (i32.const 32768)))))
    (i32.store (i32.const 16) (memory.size))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 4))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAIjARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVt"
        "b3J5AgAGX3N0YXJ0AAEKSwFJAAJAA0BBAUAAQX9GDQE/AEGAgARsQQRrQQE2AgA/AEGAgAJJDQALC0EQPwA2AgBBAEEQNgIAQQRB"
        "BDYCAEEBQQBBAUEIEAAaCwAkBG5hbWUBCAEABXdyaXRlAxMBAQIAB3JlZnVzZWQBBWFnYWlu"
    ),
)

HUNGRY = Module(
    name="hungry",
    meaning="Declares a memory of 512 MiB, writes to its last page and returns.",
    wat="""
(module
  (memory (export "memory") 8192)
  (func (export "_start")
    (i32.store (i32.const 536870908) (i32.const 1))))
""",
    wasm=base64.b64decode("AGFzbQEAAAABBAFgAAADAgEABQQBAIBABxMCBm1lbW9yeQIABl9zdGFydAAACg8BDQBB/P///wFBATYCAAs="),
)

FLOOD = Module(
    name="flood",
    meaning="Writes 4 KiB of zeros to stdout and to stderr, for ever.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 4096))
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $again))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAIjARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVt"
        "b3J5AgAGX3N0YXJ0AAEKLwEtAEEAQYAINgIAQQRBgCA2AgADQEEBQQBBAUEIEAAaQQJBAEEBQQgQABoMAAsLABsEbmFtZQEIAQAF"
        "d3JpdGUDCgEBAQAFYWdhaW4="
    ),
)

CHATTER = Module(
    name="chatter",
    meaning="Asks for the time, for ever.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 0)))
      (br $again))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABCwJgA39+fwF/YAAAAikBFndhc2lfc25hcHNob3RfcHJldmlldzEOY2xvY2tfdGltZV9nZXQAAAMCAQEFAwEAAQcT"
        "AgZtZW1vcnkCAAZfc3RhcnQAAQoSARAAA0BBAEIBQQAQABoMAAsLABsEbmFtZQEIAQAFY2xvY2sDCgEBAQAFYWdhaW4="
    ),
)

"""Tiny modules for ``wasi_snapshot_preview1`` that runtimes are tried with, each as WebAssembly text and in binary.

The binary is what the text assembles to; carrying both spares an assembler to whoever runs the suite.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from plasm.ports import Digest


@dataclass(frozen=True)
class Module:
    """A module that does one thing, which `meaning` says in a sentence."""

    name: str
    meaning: str
    wat: str = field(repr=False)
    wasm: bytes = field(repr=False)

    @property
    def digest(self) -> Digest:
        return digest_of(self.wasm)


def digest_of(content: bytes) -> Digest:
    """The digest that `content` goes by."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def distinct(wasm: bytes, number: int) -> bytes:
    """A module that does the same as `wasm` and has another digest, by a custom section (core specification 5.5.3)."""
    payload = b"\x01n" + number.to_bytes(4, "big")
    return wasm + b"\x00" + bytes([len(payload)]) + payload


RETURNS = Module(
    name="returns",
    meaning="Returns from ``_start`` at once.",
    wat="""
(module
  (memory (export "memory") 1)
  (func (export "_start")))
""",
    wasm=base64.b64decode("AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKBAECAAs="),
)

EXIT = Module(
    name="exit",
    meaning="Exits with the first byte of stdin as its code; with 0 where there is none.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 1))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.load8_u (i32.const 16)))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABEANgBH9/f38Bf2ABfwBgAAACRQIWd2FzaV9zbmFwc2hvdF9wcmV2aWV3MQdmZF9yZWFkAAAWd2FzaV9zbmFwc2hv"
        "dF9wcmV2aWV3MQlwcm9jX2V4aXQAAQMCAQIFAwEAAQcTAgZtZW1vcnkCAAZfc3RhcnQAAgokASIAQQBBEDYCAEEEQQE2AgBBAEEA"
        "QQFBCBAAGkEQLQAAEAELABQEbmFtZQENAgAEcmVhZAEEZXhpdA=="
    ),
)

ECHO = Module(
    name="echo",
    meaning="Copies stdin to stdout, in pieces of up to 4 KiB.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 4096))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (if (i32.eqz (i32.load (i32.const 8))) (then return))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (loop $rest
        (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)) (then unreachable))
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 12))))
        (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 12))))
        (br_if $rest (i32.load (i32.const 4))))
      (br $again))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAJEAhZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxB2ZkX3JlYWQAABZ3YXNpX3NuYXBzaG90X3By"
        "ZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAIKcwFxAANAQQBBgAg2AgBBBEGAIDYCAEEAQQBB"
        "AUEIEAAEQAALQQgoAgBFBEAPC0EEQQgoAgA2AgADQEEBQQBBAUEMEAEEQAALQQBBACgCAEEMKAIAajYCAEEEQQQoAgBBDCgCAGs2"
        "AgBBBCgCAA0ACwwACwsAJwRuYW1lAQ4CAARyZWFkAQV3cml0ZQMQAQICAAVhZ2FpbgMEcmVzdA=="
    ),
)

ARGS = Module(
    name="args",
    meaning="Writes its arguments, each followed by NUL.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 1024) (i32.const 65536)))
    (i32.store (i32.const 8) (i32.const 65536))
    (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABEgNgAn9/AX9gBH9/f38Bf2AAAAJtAxZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxDmFyZ3Nfc2l6ZXNfZ2V0AAAWd2Fz"
        "aV9zbmFwc2hvdF9wcmV2aWV3MQhhcmdzX2dldAAAFndhc2lfc25hcHNob3RfcHJldmlldzEIZmRfd3JpdGUAAQMCAQIFAwEABAcT"
        "AgZtZW1vcnkCAAZfc3RhcnQAAwozATEAQQBBBBAAGkGACEGAgAQQARpBCEGAgAQ2AgBBDEEEKAIANgIAQQFBCEEBQRAQAhoLABsE"
        "bmFtZQEUAwAFc2l6ZXMBA2dldAIFd3JpdGU="
    ),
)

ENV = Module(
    name="env",
    meaning="Writes its environment as NAME=VALUE, each followed by NUL.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 1024) (i32.const 65536)))
    (i32.store (i32.const 8) (i32.const 65536))
    (i32.store (i32.const 12) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABEgNgAn9/AX9gBH9/f38Bf2AAAAJzAxZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxEWVudmlyb25fc2l6ZXNfZ2V0AAAW"
        "d2FzaV9zbmFwc2hvdF9wcmV2aWV3MQtlbnZpcm9uX2dldAAAFndhc2lfc25hcHNob3RfcHJldmlldzEIZmRfd3JpdGUAAQMCAQIF"
        "AwEABAcTAgZtZW1vcnkCAAZfc3RhcnQAAwozATEAQQBBBBAAGkGACEGAgAQQARpBCEGAgAQ2AgBBDEEEKAIANgIAQQFBCEEBQRAQ"
        "AhoLABsEbmFtZQEUAwAFc2l6ZXMBA2dldAIFd3JpdGU="
    ),
)

BOTH = Module(
    name="both",
    meaning="Writes ``out`` to stdout, ``err`` to stderr, and returns.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "outerr")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 3))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 0) (i32.const 67))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAIjARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVt"
        "b3J5AgAGX3N0YXJ0AAEKMQEvAEEAQcAANgIAQQRBAzYCAEEBQQBBAUEIEAAaQQBBwwA2AgBBAkEAQQFBCBAAGgsLDQEAQcAACwZv"
        "dXRlcnIADwRuYW1lAQgBAAV3cml0ZQ=="
    ),
)

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

RUNNABLE = (
    RETURNS,
    EXIT,
    ECHO,
    ARGS,
    ENV,
    BOTH,
    TRAP,
    RECURSE,
    SPIN,
    SLEEP,
    GROW,
    HUNGRY,
    FLOOD,
    CHATTER,
    RANDOM,
    CLOCK,
)
"""Every module here that a runtime must take."""

ECHO_VERSIONS = tuple(distinct(ECHO.wasm, number) for number in range(4))
"""Modules that all do what `ECHO` does, each with a digest of its own."""

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

"""Modules that end by themselves with an answer, which follows from what they are given."""

from __future__ import annotations

import base64

from plasm.testing.modules.module import Module

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

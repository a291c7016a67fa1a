"""A module that finds files and leaves some."""

from __future__ import annotations

import base64

from plasm.testing.modules.module import Module

FILES = Module(
    name="files",
    meaning="Copies up to 64 KiB of ``/data/in`` to ``/out/copy/of it``; traps where that cannot be done.",
    wat="""
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "data/in")
  (data (i32.const 96) "out/copy")
  (data (i32.const 128) "out/copy/of it")
  (func $must (param i32) (if (local.get 0) (then unreachable)))
  (func (export "_start")
    (call $must (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 7) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 65536))
    (call $must (call $read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $must (call $mkdir (i32.const 3) (i32.const 96) (i32.const 8)))
    (call $must (call $open (i32.const 3) (i32.const 0) (i32.const 128) (i32.const 14) (i32.const 1)
      (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 20)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (call $must (call $write (i32.load (i32.const 20)) (i32.const 0) (i32.const 1) (i32.const 12)))
    (call $must (call $close (i32.load (i32.const 20))))))
""",
    wasm=base64.b64decode(
        "AGFzbQEAAAABKQZgCX9/f39/fn5/fwF/YAN/f38Bf2AEf39/fwF/YAF/AX9gAX8AYAAAArgBBRZ3YXNpX3NuYXBzaG90X3ByZXZpZX"
        "cxCXBhdGhfb3BlbgAAFndhc2lfc25hcHNob3RfcHJldmlldzEVcGF0aF9jcmVhdGVfZGlyZWN0b3J5AAEWd2FzaV9zbmFwc2hvdF9w"
        "cmV2aWV3MQdmZF9yZWFkAAIWd2FzaV9zbmFwc2hvdF9wcmV2aWV3MQhmZF93cml0ZQACFndhc2lfc25hcHNob3RfcHJldmlldzEIZm"
        "RfY2xvc2UAAwMDAgQFBQMBAAIHEwIGbWVtb3J5AgAGX3N0YXJ0AAYKiQECCAAgAARAAAsLfgBBA0EAQcAAQQdBAEICQgBBAEEQEAAQ"
        "BUEAQYAINgIAQQRBgIAENgIAQRAoAgBBAEEBQQgQAhAFQQNB4ABBCBABEAVBA0EAQYABQQ5BAULAAEIAQQBBFBAAEAVBBEEIKAIANg"
        "IAQRQoAgBBAEEBQQwQAxAFQRQoAgAQBBAFCwswAwBBwAALB2RhdGEvaW4AQeAACwhvdXQvY29weQBBgAELDm91dC9jb3B5L29mIGl0"
        "AC8EbmFtZQEoBgAEb3BlbgEFbWtkaXICBHJlYWQDBXdyaXRlBAVjbG9zZQUEbXVzdA=="
    ),
)

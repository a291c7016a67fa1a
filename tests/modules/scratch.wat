;; Writes into a file at the root, which it made, moves it to /out, and does the same with what is at data/in, if that is
;; there. Exit code: the first error number.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "made" "out/made" "data/in" "out/in" "!")
  (func $check (param $error i32) (if (local.get $error) (then (call $exit (local.get $error)))))
  (func $open_at (param $name i32) (param $length i32) (param $how i32) (result i32)
    (call $open (i32.const 3) (i32.const 1) (local.get $name) (local.get $length) (local.get $how)
      (i64.const 0x66) (i64.const 0) (i32.const 0) (i32.const 8)))
  (func $mark
    (i32.store (i32.const 0) (i32.const 41))
    (i32.store (i32.const 4) (i32.const 1))
    (call $check (call $write (i32.load (i32.const 8)) (i32.const 0) (i32.const 1) (i32.const 12))))
  (func (export "_start")
    (call $check (call $open_at (i32.const 16) (i32.const 4) (i32.const 1)))
    (call $mark)
    (call $check (call $rename (i32.const 3) (i32.const 16) (i32.const 4) (i32.const 3) (i32.const 20) (i32.const 8)))
    (if (call $open_at (i32.const 28) (i32.const 7) (i32.const 0)) (then return))
    (call $mark)
    (call $check (call $rename (i32.const 3) (i32.const 28) (i32.const 7) (i32.const 3) (i32.const 35) (i32.const 6)))))

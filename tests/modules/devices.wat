;; Opens /dev/null, /dev/zero and /dev/urandom by name, writes to each, and copies what it reads of 32 bytes to
;; standard output. Exit code: the first error number.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "dev/null" "dev/zero" "dev/urandom")
  (func $check (param $error i32) (if (local.get $error) (then (call $exit (local.get $error)))))
  (func $copy (param $name i32) (param $length i32)
    ;; fd_read, fd_seek, fd_tell and fd_write
    (call $check (call $open (i32.const 3) (i32.const 1) (local.get $name) (local.get $length) (i32.const 0)
      (i64.const 0x66) (i64.const 0) (i32.const 0) (i32.const 8)))
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 32))
    (call $check (call $write (i32.load (i32.const 8)) (i32.const 0) (i32.const 1) (i32.const 12)))
    (call $check (call $read (i32.load (i32.const 8)) (i32.const 0) (i32.const 1) (i32.const 4)))
    (call $check (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))))
  (func (export "_start")
    (call $copy (i32.const 16) (i32.const 8))
    (call $copy (i32.const 24) (i32.const 8))
    (call $copy (i32.const 32) (i32.const 11))))

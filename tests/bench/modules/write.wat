;; Writes one byte to stdout as often as the decimal number on stdin says.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "\80\00\00\00\20\00\00\00") ;; the vector that is read into
  (data (i32.const 72) "\50\00\00\00\01\00\00\00.") ;; the one that is written
  (func (export "_start") (local $left i32) (local $at i32)
    (drop (call $read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 16)))
    (local.set $at (i32.const 128))
    (block $parsed
      (loop $digit
        (br_if $parsed (i32.lt_u (i32.load8_u (local.get $at)) (i32.const 48)))
        (local.set $left
          (i32.add
            (i32.mul (local.get $left) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $digit)))
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $left)))
        (if (call $write (i32.const 1) (i32.const 72) (i32.const 1) (i32.const 16)) (then unreachable))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $again)))))

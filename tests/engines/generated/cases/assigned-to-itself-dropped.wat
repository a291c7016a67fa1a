;; `local.get x; local.get x; local.set x` before a value that is dropped: wasm3 took the
;; wrong operand. Kind: a local written while its value is an operand.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
  (memory (export "memory") 1 1)
  (global (mut f32) (f32.const -0x1.851f1c0000000p+69))
  (global (mut i64) (i64.const 65))
  (func (;2;) (param i64) (result i32)
    local.get 0
    local.get 0
    local.set 0
    global.get 0
    drop
    global.set 1
    i32.const 0)
  (func (;3;)
    i32.const 32816
    global.get 1
    i64.store offset=0 align=8
    i32.const 32768
    i32.const 32784
    i32.store offset=0 align=4
    i32.const 32772
    i32.const 512
    i32.store offset=0 align=4
    i32.const 1
    i32.const 32768
    i32.const 1
    i32.const 0
    call 0
    drop)
  (func (;4;) (export "_start")
    (local i32)
    i64.const 0
    call 2
    local.set 0
    call 3))

;; `local.get x; local.get x; local.set x`: wasm3 moved x aside twice, and the copy on the
;; operand stack came out as whatever had been in its slot. Kind: a local written while its value is an operand.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
  (memory (export "memory") 1)
  (global (mut f64) (f64.const -0x1.0000000200000p+31))
  (func (;2;) (param i32 i64 f64 i64 i32) (result i32)
    i32.const 0
    i32.load8_s offset=8 align=1
    local.get 2
    local.get 2
    local.set 2
    f32.const 0x0.0p+0
    i32.reinterpret_f32
    local.set 0
    global.set 0)
  (func (;3;)
    i32.const 32824
    global.get 0
    f64.store offset=0 align=8
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
    i32.const 0
    i64.const 0
    f64.const 0x1.0000000000000p+31
    i64.const 0
    i32.const 0
    call 2
    local.set 0
    call 3))

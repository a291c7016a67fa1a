;; `local.get x; local.get x; local.set x` before two unrelated values: wasm3 gave global 1
;; what stood in a stale slot. Kind: a local written while its value is an operand.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
  (memory (export "memory") 3 40)
  (global (mut f64) (f64.const 0x1.7a41b730bed9cp+664))
  (global (mut i64) (i64.const 65535))
  (func (;2;) (param i64) (result i64 f64 i64)
    local.get 0
    local.get 0
    local.set 0
    f32.const 0x0.0p+0
    i64.trunc_f32_u
    f64.const 0x0.0p+0
    i32.trunc_sat_f64_u
    drop
    drop
    global.set 1
    i64.const 0
    global.get 0
    i64.const 0)
  (func (;3;)
    i32.const 32832
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
    (local i64 f64)
    i64.const 4663682251608709792
    call 2
    local.set 0
    local.set 1
    local.set 0
    call 3))

;; `memory.grow` of 4294901760 pages, refused: the counter of the module charged for all of
;; them, and the engine for none. Kind: an operand charged for and not what was granted.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
  (memory (export "memory") 1 65536)
  (global (mut i64) (i64.const -1))
  (func (;2;) (result i64 f32)
    i32.const -65536
    memory.grow
    drop
    global.get 0
    f32.const 0x0.0p+0)
  (func (;3;) (export "_start")
    (local i64 f32)
    call 2
    local.set 1
    local.set 0))

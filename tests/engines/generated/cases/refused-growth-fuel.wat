;; `memory.grow` of 2^32-1 pages, refused: the counter of the module charged for all of them,
;; and the engine for none. Kind: an operand charged for and not what was granted.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
  (memory (export "memory") 1 2)
  (global (mut f32) (f32.const nan:0x412345))
  (global (mut i32) (i32.const 232))
  (func (;2;) (param i32) (result f32 i32)
    (local i32 i64)
    i64.const 0
    block (param i64) (result i64)
      block (result i64 i32 i32)
        i32.const -1
        memory.grow
        f32.const 0x0.0p+0
        i32.const 0
        i32.const 0
        br_table 2 2
      end
      global.set 1
      local.set 1
      local.set 2
    end
    drop
    global.get 0
    i32.const 0)
  (func (;3;) (export "_start")
    (local i32 f32)
    i32.const 0
    call 2
    local.set 0
    local.set 1))

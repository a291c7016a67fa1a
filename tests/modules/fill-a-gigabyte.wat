(module (memory (export "memory") 16384)
  (func (export "_start")
    (loop $again
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x3fffffff))
      (br $again))))

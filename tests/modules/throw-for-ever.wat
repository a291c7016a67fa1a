(module
  (tag $thrown (param i64 i64 i64 i64))
  (table $kept (export "kept") 100000 exnref)
  (memory (export "memory") 1)
  (func (export "_start") (local $i i32)
    (loop $again
      (table.set $kept (i32.rem_u (local.get $i) (i32.const 100000))
        (block $caught (result exnref)
          (try_table (catch_all_ref $caught)
            (throw $thrown (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)))
          unreachable))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $again))))

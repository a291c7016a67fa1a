(module (memory (export "memory") 1)
  (func $forever (loop $again (br $again)))
  (func (export "_start"))
  (start $forever))

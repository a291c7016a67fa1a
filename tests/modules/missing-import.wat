(module (import "env" "launch\n\1b[31m" (func)) (memory (export "memory") 1) (func (export "_start")))

;; What Go's os.Root.Create does: opens a directory without the right path_filestat_set_size, then a file in it with
;; creat and trunc. Exit code: the error number.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "tmp" "f")
  (func (export "_start")
    ;; base: path_open, path_create_file; inheriting: fd_read, fd_seek, fd_write
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 2)
        (i64.const 0x2400) (i64.const 0x46) (i32.const 0) (i32.const 16))
      (then (call $exit (i32.const 99))))
    (call $exit (call $open (i32.load (i32.const 16)) (i32.const 0) (i32.const 3) (i32.const 1) (i32.const 9)
      (i64.const 0x46) (i64.const 0) (i32.const 0) (i32.const 20)))))

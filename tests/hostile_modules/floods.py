"""Modules that lay hands on the host functions without end: WebAssembly text around one host call each.

A flood `for ever` ignores every error, one `until refused` exits with the first error number.
"""

from __future__ import annotations

WASI = "wasi_snapshot_preview1"
_IMPORTS = """
(module
  (import "{wasi}" "proc_exit" (func $exit (param i32)))
  (import "{wasi}" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "{wasi}" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "{wasi}" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "{wasi}" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "{wasi}" "fd_allocate" (func $fd_allocate (param i32 i64 i64) (result i32)))
  (import "{wasi}" "fd_filestat_set_size" (func $fd_filestat_set_size (param i32 i64) (result i32)))
  (import "{wasi}" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "{wasi}" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "{wasi}" "path_create_directory" (func $path_create_directory (param i32 i32 i32) (result i32)))
  (import "{wasi}" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "{wasi}" "path_link" (func $path_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "{wasi}" "path_rename" (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "{wasi}" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "{wasi}" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "{wasi}" "args_get" (func $args_get (param i32 i32) (result i32)))
  (memory (export "memory") 32)
  (data (i32.const 1024) "tmp/00000000")
  (data (i32.const 1040) "out/00000000")
  (data (i32.const 1056) "tmp/a")
  (data (i32.const 1064) "tmp/b")
  (data (i32.const 1072) "a")
  (data (i32.const 1080) "b")
  (data (i32.const 1088) "tmp")
  (global $n (mut i32) (i32.const 0))
  (global $fd (mut i32) (i32.const 3))

  ;; The next eight digits, at 1028 and at 1044.
  (func $next (local $i i32) (local $rest i32) (local $digit i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (local.set $rest (global.get $n))
    (local.set $i (i32.const 7))
    (loop $more
      (local.set $digit (i32.add (i32.const 97) (i32.and (local.get $rest) (i32.const 15))))
      (i32.store8 offset=1028 (local.get $i) (local.get $digit))
      (i32.store8 offset=1044 (local.get $i) (local.get $digit))
      (local.set $rest (i32.shr_u (local.get $rest) (i32.const 4)))
      (local.set $i (i32.sub (local.get $i) (i32.const 1)))
      (br_if $more (i32.ge_s (local.get $i) (i32.const 0)))))

  ;; Opens (and makes) `length` bytes of path at `path`; the descriptor is at 0 then.
  (func $make (param $path i32) (param $length i32) (result i32)
    (call $path_open (i32.const 3) (i32.const 0) (local.get $path) (local.get $length)
      (i32.const 1) (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 0)))

  ;; `count` vectors at 65536, each of them `size` bytes at 0.
  (func $vectors (param $count i32) (param $size i32)
    (loop $more
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (i32.store offset=65540 (i32.shl (local.get $count) (i32.const 3)) (local.get $size))
      (br_if $more (local.get $count))))
"""


def flood(call: str, *, first: str = "", until_refused: bool = False) -> str:
    """`call` leaves an error number on the stack; `first` runs before, once."""
    refused = "(if (local.get $error) (then (call $exit (local.get $error))))" if until_refused else ""
    return f"""{_IMPORTS.replace("{wasi}", WASI)}
  (func (export "_start") (local $error i32)
    {first}
    (loop $again
      (local.set $error {call})
      {refused}
      (br $again))))
"""


_MAKE_FILE = "(drop (call $make (i32.const 1056) (i32.const 5))) (global.set $fd (i32.load (i32.const 0)))"
_NEXT_FILE = "(block (result i32) (call $next) (call $make (i32.const {path}) (i32.const 12)))"
_CLOSE = "(drop (call $fd_close (i32.load (i32.const 0))))"
_CLOSED_FILE = f"(block (result i32) (call $next) (call $make (i32.const {{path}}) (i32.const 12)) {_CLOSE})"
_DEEPER = """(block $made (result i32)
  (br_if $made (local.tee $error (call $path_create_directory (global.get $fd) (i32.const 1072) (i32.const 1)))
    (local.get $error))
  (drop)
  (br_if $made (local.tee $error
    (call $path_open (global.get $fd) (i32.const 0) (i32.const 1072) (i32.const 1) (i32.const 2)
      (i64.const 0x1fbffebf) (i64.const 0x1fffffff) (i32.const 0) (i32.const 0))) (local.get $error))
  (drop)
  (if (i32.ne (global.get $fd) (i32.const 3)) (then (drop (call $fd_close (global.get $fd)))))
  (global.set $fd (i32.load (i32.const 0)))
  (i32.const 0))"""
_TMP = """(drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1088) (i32.const 3) (i32.const 2)
  (i64.const 0x1fbffebf) (i64.const 0x1fffffff) (i32.const 0) (i32.const 0)))
(global.set $fd (i32.load (i32.const 0)))"""
_CIRCLE = """
(drop (call $path_symlink (i32.const 1072) (i32.const 1) (i32.const 3) (i32.const 1064) (i32.const 5)))
(drop (call $path_symlink (i32.const 1080) (i32.const 1) (i32.const 3) (i32.const 1056) (i32.const 5)))"""
_THROUGH_THE_CIRCLE = """(call $path_open (i32.const 3) (i32.const 1) (i32.const 1056) (i32.const 5)
  (i32.const 0) (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 0))"""
_MANY_FILES = f"""(loop $files
  (drop {_CLOSED_FILE.format(path=1024)})
  (br_if $files (i32.lt_u (global.get $n) (i32.const 1000))))"""

BADF, FAULT, FBIG, INVAL, LOOP, MFILE, NOSPC = 8, 21, 22, 28, 32, 33, 51

UNTIL_REFUSED: dict[str, tuple[str, set[int]]] = {
    "files without end": (flood(_CLOSED_FILE.format(path=1024), until_refused=True), {NOSPC}),
    "files in /out without end": (flood(_CLOSED_FILE.format(path=1040), until_refused=True), {NOSPC}),
    "open files without end": (flood(_NEXT_FILE.format(path=1024), until_refused=True), {MFILE, NOSPC}),
    "directories without end": (
        flood(
            "(block (result i32) (call $next) "
            "(call $path_create_directory (i32.const 3) (i32.const 1024) (i32.const 12)))",
            until_refused=True,
        ),
        {NOSPC},
    ),
    "directories in directories": (flood(_DEEPER, first=_TMP, until_refused=True), {NOSPC}),
    "names of one file": (
        flood(
            "(block (result i32) (call $next) (call $path_link (i32.const 3) (i32.const 0) (i32.const 1056) "
            "(i32.const 5) (i32.const 3) (i32.const 1024) (i32.const 12)))",
            first=_MAKE_FILE,
            until_refused=True,
        ),
        {NOSPC},
    ),
    "symbolic links without end": (
        flood(
            "(block (result i32) (call $next) (call $path_symlink (i32.const 0) (i32.const 1000) (i32.const 3) "
            "(i32.const 1024) (i32.const 12)))",
            first="(memory.fill (i32.const 0) (i32.const 97) (i32.const 1000))",
            until_refused=True,
        ),
        {NOSPC},
    ),
    "a circle of links": (flood(_THROUGH_THE_CIRCLE, first=_CIRCLE, until_refused=True), {LOOP}),
    "a file that grows": (
        flood(
            "(call $fd_write (global.get $fd) (i32.const 65536) (i32.const 16) (i32.const 8))",
            first=f"{_MAKE_FILE} (call $vectors (i32.const 16) (i32.const 65536))",
            until_refused=True,
        ),
        {NOSPC},
    ),
    "a file of 8 EiB": (
        flood(
            "(call $fd_filestat_set_size (global.get $fd) (i64.const 0x7fffffffffffffff))",
            first=_MAKE_FILE,
            until_refused=True,
        ),
        {NOSPC, FBIG},
    ),
    "room for 8 EiB": (
        flood(
            "(call $fd_allocate (global.get $fd) (i64.const 0) (i64.const 0x7fffffffffffffff))",
            first=_MAKE_FILE,
            until_refused=True,
        ),
        {NOSPC, FBIG},
    ),
    "a byte far away": (
        flood(
            "(call $fd_pwrite (global.get $fd) (i32.const 65536) (i32.const 1) (i64.const 0x7ffffffffffffff0) "
            "(i32.const 8))",
            first=f"{_MAKE_FILE} (call $vectors (i32.const 1) (i32.const 1))",
            until_refused=True,
        ),
        {NOSPC, FBIG},
    ),
    "vectors beyond the memory": (
        flood(
            "(call $fd_write (i32.const 1) (i32.const 65536) (i32.const 0xffffffff) (i32.const 8))", until_refused=True
        ),
        {FAULT, INVAL},
    ),
    "four billion bytes in a vector": (
        flood(
            "(call $fd_write (i32.const 1) (i32.const 65536) (i32.const 1) (i32.const 8))",
            first="(call $vectors (i32.const 1) (i32.const 0xffffffff))",
            until_refused=True,
        ),
        {FAULT, INVAL},
    ),
    "four billion random bytes": (
        flood("(call $random_get (i32.const 0) (i32.const -1))", until_refused=True),
        {FAULT},
    ),
    "four billion subscriptions": (
        flood("(call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 8))", until_refused=True),
        {FAULT, INVAL},
    ),
}
"""With the error numbers that may be its exit code."""

FOR_EVER: dict[str, str] = {
    "a folder read for ever": flood(
        "(call $fd_readdir (global.get $fd) (i32.const 131072) (i32.const 4096) (i64.const 0) (i32.const 8))",
        first=f"{_MANY_FILES} {_TMP}",
    ),
    "files made for ever": flood(_NEXT_FILE.format(path=1024)),
    "a circle followed for ever": flood(_THROUGH_THE_CIRCLE, first=_CIRCLE),
    "a file moved for ever": flood(
        "(block (result i32) (drop (call $path_rename (i32.const 3) (i32.const 1056) (i32.const 5) (i32.const 3) "
        "(i32.const 1064) (i32.const 5))) "
        "(call $path_rename (i32.const 3) (i32.const 1064) (i32.const 5) (i32.const 3) "
        "(i32.const 1056) (i32.const 5)))",
        first=_MAKE_FILE,
    ),
    "arguments fetched for ever": flood("(call $args_get (i32.const 0) (i32.const 65536))"),
    "a file cut and filled for ever": flood(
        "(block (result i32) (drop (call $fd_filestat_set_size (global.get $fd) (i64.const 0))) "
        "(call $fd_filestat_set_size (global.get $fd) (i64.const 1048576)))",
        first=_MAKE_FILE,
    ),
    "many vectors read for ever": flood(
        "(call $fd_read (i32.const 0) (i32.const 65536) (i32.const 65536) (i32.const 8))",
    ),
}

OUTPUT_BY_VECTORS = flood(
    "(call $fd_write (i32.const 1) (i32.const 65536) (i32.const 1024) (i32.const 8))",
    first="(call $vectors (i32.const 1024) (i32.const 1048576))",
)
"""1 GiB in one call."""

"""SQLite for WASI: its amalgamation out of npm's ``better-sqlite3``, compiled with ``main.c`` by PyPI's ``ziglang``."""

from __future__ import annotations

import platform
from pathlib import Path

from packages import Unreachable, call, from_npm, from_pypi, kept

AMALGAMATION = "better-sqlite3@12.11.1"
"""SQLite 3.53.2."""
AMALGAMATION_SHA256 = "ebf0ed75a7a59dbcb3b24bbd014ef49d9f15bc328e4adcbf516f2a8fadfa2835"
COMPILER = "ziglang==0.17.1"
COMPILER_SHA256 = {
    "x86_64": "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54",
    "aarch64": "b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e",
}
FLAGS = (
    "-target",
    "wasm32-wasi",
    "-O2",
    "-s",
    "-DSQLITE_THREADSAFE=0",
    "-DSQLITE_OMIT_LOAD_EXTENSION",
    "-DSQLITE_OMIT_WAL",
)
MAIN = Path(__file__).with_name("main.c")


def module() -> Path:
    """``sqlite.wasm``, 1.1 MB; half a minute of CPU time at first, from the cache later."""
    made_of = (AMALGAMATION_SHA256, *COMPILER_SHA256.values(), *FLAGS, MAIN.read_text())
    return kept("sqlite.wasm", made_of, _build)


def _build(folder: Path) -> bytes:
    pinned = COMPILER_SHA256.get(platform.machine())
    if pinned is None:
        raise Unreachable(f"no compiler is pinned for {platform.machine()}")
    sources, compiler, built = folder / "sources", folder / "compiler", folder / "sqlite.wasm"
    sources.mkdir()
    from_npm(AMALGAMATION, AMALGAMATION_SHA256, ("deps/sqlite3/sqlite3.c", "deps/sqlite3/sqlite3.h"), sources)
    from_pypi(COMPILER, [pinned], compiler)
    (sources / "main.c").write_bytes(MAIN.read_bytes())
    call(
        [str(compiler / "ziglang" / "zig"), "cc", *FLAGS, "main.c", "sqlite3.c", "-o", str(built)],
        sources,
        {"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig-local")},
    )
    return built.read_bytes()

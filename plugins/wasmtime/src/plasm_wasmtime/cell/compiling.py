"""What a compile cell does: check a module, compile it, write the result. One module, then the process ends."""

from __future__ import annotations

from typing import Any

import wasmtime

from . import wasi
from .frames import read_all, write_all
from .settings import ENGINE_SETTINGS

_TYPES = {"i": "i32", "I": "i64"}
_START_SECTION = 8
MAGIC = b"\0asm\1\0\0\0"


class Refused(Exception):
    """The module is not one that can run; the message is for people and may hold the module's own names."""


def configure() -> wasmtime.Config:
    """The engine's configuration as :data:`.settings.ENGINE_SETTINGS` states it."""
    config = wasmtime.Config()
    for name, value in ENGINE_SETTINGS.items():
        setattr(config, name, value)
    return config


def compile_module(module: int, artifact: int) -> dict[str, Any]:
    """Compile what is in the descriptor `module` into `artifact`. Raises :exc:`Refused`."""
    content = read_all(module)
    if not content.startswith(MAGIC):
        raise Refused("not a WebAssembly module")
    try:
        compiled = wasmtime.Module(wasmtime.Engine(configure()), content)
    except wasmtime.WasmtimeError as error:
        raise Refused(f"not a valid WebAssembly module: {_reason(error)}") from None
    _check_imports(compiled)
    _check_exports(compiled)
    write_all(artifact, compiled.serialize())
    return {"starts": _has_start_section(content)}


def _reason(error: wasmtime.WasmtimeError) -> str:
    """The causes of an engine's error in one line, the innermost last."""
    lines = [line.strip() for line in str(error).splitlines()]
    causes = [line.partition(": ")[2] if line[:1].isdigit() else line for line in lines if line]
    return ": ".join(cause for cause in causes if cause not in ("", "Caused by:"))


def _quoted(name: str | None) -> str:
    return repr((name or "")[:80])


def _check_imports(module: wasmtime.Module) -> None:
    for wanted in module.imports:
        if wanted.module != wasi.MODULE:
            raise Refused(
                f"it imports {_quoted(wanted.name)} from {_quoted(wanted.module)}; only {wasi.MODULE} is provided"
            )
        parameters = wasi.FUNCTIONS.get(wanted.name or "")
        if parameters is None or not isinstance(wanted.type, wasmtime.FuncType):
            raise Refused(f"it imports {_quoted(wanted.name)} from {wasi.MODULE}, which has no such function")
        expected = [_TYPES[kind] for kind in parameters], [] if wanted.name == "proc_exit" else ["i32"]
        if ([str(kind) for kind in wanted.type.params], [str(kind) for kind in wanted.type.results]) != expected:
            raise Refused(f"it imports {_quoted(wanted.name)} from {wasi.MODULE} with another signature")


def _check_exports(module: wasmtime.Module) -> None:
    exports = {export.name: export.type for export in module.exports}
    start = exports.get("_start")
    if not isinstance(start, wasmtime.FuncType):
        raise Refused("it exports no function _start: only WASI commands run, neither libraries nor reactors")
    if start.params or start.results:
        raise Refused("its function _start has parameters or results")
    if not isinstance(exports.get("memory"), wasmtime.MemoryType):
        raise Refused("it exports no memory named 'memory', as a WASI command must")


def _has_start_section(content: bytes) -> bool:
    """Whether instantiating runs code. `content` is known to be a valid module."""
    position = len(MAGIC)
    while position < len(content):
        kind = content[position]
        if kind == _START_SECTION:
            return True
        position += 1
        size = shift = 0
        while True:
            byte = content[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        position += size
    return False

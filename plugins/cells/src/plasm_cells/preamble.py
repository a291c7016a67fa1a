"""The first look at a module, before any process is used for it."""

from __future__ import annotations

from plasm.ports import NotPrepared, NotRunnable

_MAGIC = b"\0asm"
_CORE = b"\1\0\0\0"
_COMPONENT_LAYER = b"\1\0"


def check_preamble(module: bytes, most_bytes: int) -> None:
    """Raises :exc:`NotRunnable` for what does not begin like a core module.

    Raises :exc:`NotPrepared` for what is larger than `most_bytes`, which is a bound of this node's alone.

    Source: the WebAssembly core specification, 5.5.16 (modules), and the component model's binary format (preamble).
    """
    if not module:
        raise NotRunnable("not a WebAssembly module: it is empty")
    if not module.startswith(_MAGIC[: len(module)]):
        hint = "; it looks like WebAssembly text, which must be converted first" if _is_text(module) else ""
        raise NotRunnable(f"not a WebAssembly module: it does not begin with \\0asm{hint}")
    if len(module) < 8:
        raise NotRunnable("not a valid WebAssembly module: it is truncated")
    if module[4:8] == _CORE and len(module) > most_bytes:
        raise NotPrepared(f"the module has {len(module)} bytes; module_bytes of this node's runtime is {most_bytes}")
    if module[4:8] == _CORE:
        return
    if module[6:8] == _COMPONENT_LAYER:
        raise NotRunnable("it is a WebAssembly component; only core modules (WASI preview 1 commands) run here")
    raise NotRunnable(f"not a WebAssembly module of version 1: its version is {module[4:8].hex()}")


def _is_text(module: bytes) -> bool:
    return module[:4096].lstrip().startswith((b"(module", b"(component", b";;", b"(;"))

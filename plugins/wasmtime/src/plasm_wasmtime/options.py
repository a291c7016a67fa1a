"""The options of the runtime ``wasmtime``, as they stand under ``[runtime.wasmtime]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from plasm.drivers import Options

Bytes = Annotated[int, Meta(ge=1)]


class WasmtimeOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes are bytes, times are seconds."""

    isolation: Literal["process", "reused"] = "process"
    """A fresh process per job, or processes that go on to the next job: for peers whom the operator trusts."""
    slots: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Runs at once; 0 for as many as there are processors."""
    spares: Annotated[int, Meta(ge=0, le=1024)] | None = None
    """With ``process``: processes that stand ready before they are needed; as many as slots where not given."""
    start_seconds: Annotated[float, Meta(gt=0)] = 30.0
    """Deadline for a process to be ready, and for it to load a module."""
    module_bytes: Bytes = 128 << 20
    """Larger modules are not compiled."""
    compile_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """Wall time and CPU time of compiling one module."""
    compile_memory_bytes: Bytes = 2 << 30
    artifact_bytes: Bytes = 1 << 30
    """Largest compiled module."""
    held_bytes: Bytes = 256 << 20
    """Compiled modules kept in memory, at most 128; the one used last is always kept."""
    cache_bytes: Bytes = 1 << 30
    """Compiled modules kept on disk, where the node has a home."""

"""The options that every runtime of cells has, as they stand under ``[runtime.NAME]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from plasm.drivers import Options

Bytes = Annotated[int, Meta(ge=1)]


class CellOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes are bytes, times are seconds."""

    isolation: Literal["cell", "reused"] = "cell"
    """A fresh fork for each job, or, for jobs of peers whom the operator trusts, cells that go on to the next job."""
    slots: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Runs at once; 0 for one more than there are processors: a node runs a short job beside those that fill them."""
    spares: Annotated[int, Meta(ge=0, le=16)] = 1
    """Cells of each slot that stand forked and locked down before they are needed."""
    user: str = "nobody"
    """Whom cells become where the node is root."""
    allow_weaker: bool = False
    """Run also where the kernel lacks one of the walls; receipts name those that are there."""
    start_seconds: Annotated[float, Meta(gt=0)] = 30.0
    """Deadline for a process to be ready, and for it to load a module."""
    module_bytes: Bytes = 128 << 20
    """Larger modules are not compiled."""
    compile_slots: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Modules compiled at once; 0 for one for each two runs and GiB of memory for it, two where it has one GiB."""
    compile_seconds: Annotated[float, Meta(gt=0)] = 20.0
    """CPU time of compiling one module, which may take three times that by the clock."""
    own_compile_seconds: Annotated[float, Meta(gt=0)] = 300.0
    """The same for modules of this machine's own user, where it is more."""
    compile_memory_bytes: Bytes = 2 << 30
    """Of compiling one module; less where a quarter of the memory that this node may have is less for each slot."""
    unprepared_seconds: Annotated[float, Meta(ge=0)] = 300.0
    """How long a module that could not be prepared is not tried again."""
    artifact_bytes: Bytes = 1 << 30
    """Largest compiled module."""
    held_bytes: Bytes = 256 << 20
    """Compiled modules kept in memory, at most 128; the one used last is always kept."""
    cache_bytes: Bytes = 1 << 30
    """Compiled modules kept on disk, where the node has a home."""

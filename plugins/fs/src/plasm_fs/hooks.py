"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from plasm.drivers import Driver, Options, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Store

PLASM_API = 1


class FsOptions(Options, frozen=True, kw_only=True):
    """Options of the store ``fs``."""

    max_bytes: int = 2 * 2**30
    """Of all content together; what was used longest ago goes first."""
    max_item_bytes: int = 256 * 2**20
    max_items: int = 100_000


class MemoryOptions(Options, frozen=True, kw_only=True):
    """Options of the store ``memory``."""

    max_bytes: int = 256 * 2**20
    """Of all content together; what was used longest ago goes first."""
    max_items: int = 100_000


def open_fs(scope: Scope, options: FsOptions) -> AbstractAsyncContextManager[Store]:
    """Content in the driver's folder. Raises as :func:`plasm_fs.disk.disk_store`."""
    from plasm_fs.disk import disk_store

    return disk_store(scope, options)


def open_memory(scope: Scope, options: MemoryOptions) -> AbstractAsyncContextManager[Store]:
    """Content in this process, gone when the store is closed."""
    from plasm_fs.memory import memory_store

    return memory_store(options)


@hookimpl
def plasm_stores() -> Sequence[Driver[Store]]:
    return (
        Driver(
            name="fs",
            open=open_fs,
            offers=frozenset({"writes-disk"}),
            options=FsOptions,
            summary="content in a folder, verified on each read",
        ),
        Driver(name="memory", open=open_memory, options=MemoryOptions, summary="content in memory, gone at exit"),
    )

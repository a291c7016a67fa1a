"""A database of one sqlite file, touched from worker threads one at a time.

Writes that arrive together share one transaction; each caller goes on when its own has been committed. With write-ahead
logging and ``synchronous=NORMAL`` a commit survives the death of the process; a power cut may take back the last
moments, never an older part.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from plasm.errors import PlasmError, ungrouped

T = TypeVar("T")

_PENDING_WRITES = 1024
_CLOSE_SECONDS = 10
"""A commit of what is pending takes milliseconds; a disk that hangs for longer than this must not hold the node."""


@dataclass(frozen=True)
class Shape:
    """What a database holds: its tables, and how it is spoken of when it cannot be used."""

    name: str
    schema: str
    """SQL that makes what is not there yet."""
    version: int
    unusable: type[PlasmError]


class Database:
    """Use :func:`open_database`. Its methods raise what its shape says."""

    def __init__(self, connection: sqlite3.Connection, shape: Shape) -> None:
        self._connection = connection
        self._shape = shape
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._send, self._receive = anyio.create_memory_object_stream[
            tuple[Callable[[sqlite3.Connection], Any], _Waiter]
        ](_PENDING_WRITES)
        self._commits = anyio.CancelScope(shield=True)

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """What `change` returns, once what it changed is committed."""
        waiter = _Waiter()
        try:
            await self._send.send((change, waiter))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise self._shape.unusable(f"{self._shape.name} is closed") from None
        await waiter.done.wait()
        if waiter.error is not None:
            raise self._shape.unusable(f"{self._shape.name} cannot be written: {waiter.error}") from waiter.error
        result: T = waiter.result
        return result

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns."""
        try:
            return await anyio.to_thread.run_sync(query, self._connection, limiter=self._one_at_a_time)
        except sqlite3.Error as error:
            raise self._shape.unusable(f"{self._shape.name} cannot be read: {error}") from error

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Commit what comes until :meth:`close`."""
        # Shielded: whoever records an ending while the node is being cancelled still gets it committed.
        with self._commits, self._receive:
            task_status.started()
            async for first in self._receive:
                batch = [first]
                with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream):
                    while len(batch) < _PENDING_WRITES:
                        batch.append(self._receive.receive_nowait())
                await anyio.to_thread.run_sync(
                    functools.partial(_commit, self._connection, batch), limiter=self._one_at_a_time
                )
                for _, waiter in batch:
                    waiter.done.set()

    def close(self) -> None:
        """Take nothing more; what is pending is still committed, if the disk takes it in time."""
        self._send.close()
        self._commits.deadline = anyio.current_time() + _CLOSE_SECONDS


class _Waiter:
    def __init__(self) -> None:
        self.done = anyio.Event()
        self.result: Any = None
        self.error: Exception | None = None


def _commit(database: sqlite3.Connection, batch: list[tuple[Callable[[sqlite3.Connection], Any], _Waiter]]) -> None:
    try:
        with database:
            database.execute("BEGIN IMMEDIATE")
            for change, waiter in batch:
                database.execute("SAVEPOINT one")
                try:
                    waiter.result = change(database)
                    database.execute("RELEASE one")
                except (sqlite3.IntegrityError, ValueError, OverflowError) as error:
                    waiter.error = error
                    database.execute("ROLLBACK TO one")
    except sqlite3.Error as error:
        for _, waiter in batch:
            waiter.error = waiter.error or error


def _make_private(path: Path, shape: Shape) -> None:
    # Its mode from the first moment on, and that of the files that sqlite puts beside it.
    descriptor = os.open(path, os.O_CREAT | os.O_NOFOLLOW | os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise shape.unusable(f"{path} is not a file", "move it away")
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _connect(path: Path | None, shape: Shape) -> sqlite3.Connection:
    if path is not None:
        _make_private(path, shape)
    database = sqlite3.connect(
        path if path is not None else ":memory:", check_same_thread=False, isolation_level=None, timeout=5
    )
    try:
        _prepare(database, path, shape)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path | None, shape: Shape) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > shape.version:
        raise shape.unusable(
            f"{path} was written by a newer Plasm (format {version})", "upgrade, or use another --home"
        )
    # Not before: a database of a newer form is left as it is.
    if path is not None:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA temp_store = MEMORY")
    database.executescript(f"{shape.schema}\nPRAGMA user_version = {shape.version};")


@contextlib.asynccontextmanager
async def open_database(path: Path | None, shape: Shape) -> AsyncIterator[Database]:
    """The database at `path`, made where there is none; in memory for ``None``. Raises what `shape` says."""
    try:
        connection = await anyio.to_thread.run_sync(_connect, path, shape)
    except (sqlite3.Error, OSError) as error:
        raise shape.unusable(f"{path} cannot be opened: {error}", "move it away") from error
    database = Database(connection, shape)
    try:
        with ungrouped():
            async with anyio.create_task_group() as tasks:
                await tasks.start(database.run)
                try:
                    yield database
                finally:
                    database.close()
    finally:
        connection.close()

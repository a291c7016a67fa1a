"""A database of one sqlite file, touched by one thread of its own.

Writes that arrive together share one transaction; each caller goes on when its own has been committed. With write-ahead
logging and ``synchronous=NORMAL`` a commit survives the death of the process; a power cut may take back the last
moments, never an older part.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import queue
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import trio
from anyio.abc import TaskStatus

from plasm import diskspace
from plasm.errors import PlasmError, ungrouped

T = TypeVar("T")

_PENDING = 1024
"""What is asked and not answered at once; more wait."""
_LOG_BYTES = 4 * 2**20
"""The write-ahead log keeps no more than this once what is in it stands in the database."""
_FREE_PAGES = 2048
"""Of 4 KiB each: as many stay in the file for what is written next, and as many are given back at once."""
_INCREMENTAL = 2
"""As ``PRAGMA auto_vacuum`` answers."""
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
    mend: str
    """What helps where it cannot be opened or read, and costs nothing of what is in it."""
    migrations: Mapping[int, str] = field(default_factory=dict)
    """By the version that they start from: SQL that makes the next one of it."""
    shrinks: bool = False
    """Whether :meth:`Database.shrink` gives room back to the disk."""


class Database:
    """Use :func:`open_database`. Its methods raise what its shape says."""

    def __init__(self, connection: sqlite3.Connection, shape: Shape, path: Path | None) -> None:
        self._connection = connection
        self._shape = shape
        self._path = path
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._room = anyio.Semaphore(_PENDING, fast_acquire=True)
        self._closed = False
        self._serving = anyio.CancelScope(shield=True)

    async def write(self, change: Callable[[sqlite3.Connection], T], *, statement: bool = False) -> T:
        """What `change` returns, once what it changed is committed.

        With `statement` the first thing that it executes is all that it changes: alone, it takes no transaction around
        it, which is a third of what it costs.
        """
        result: T = await self._ask(_Asked(change, writes=True, statement=statement), "written")
        return result

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns."""
        result: T = await self._ask(_Asked(query, writes=False), "read")
        return result

    async def shrink(self) -> None:
        """Give the disk back what is free in the file, but for a little, in steps between which others write."""

        def step(database: sqlite3.Connection) -> bool:
            free: int = database.execute("PRAGMA freelist_count").fetchone()[0]
            if free <= _FREE_PAGES:
                return False
            # One row for each page that moved.
            database.execute(f"PRAGMA incremental_vacuum({min(_FREE_PAGES, free - _FREE_PAGES)})").fetchall()
            left: int = database.execute("PRAGMA freelist_count").fetchone()[0]
            return _FREE_PAGES < left < free

        while await self.write(step, statement=True):
            pass

    async def _ask(self, asked: _Asked, done: str) -> Any:
        async with self._room:
            if self._closed:
                raise self._shape.unusable(f"{self._shape.name} is closed")
            self._asked.put(asked)
            await asked.answered.wait()
        if isinstance(asked.error, PlasmError):
            raise asked.error
        if asked.error is not None:
            said = f"{self._shape.name} cannot be {done}: "
            if self._path is not None and diskspace.is_full(asked.error, self._path.parent):
                raise self._shape.unusable(said + diskspace.full(self._path.parent), diskspace.MEND) from asked.error
            raise self._shape.unusable(f"{said}{asked.error}") from asked.error
        return asked.result

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Answer what is asked until :meth:`close`, in a thread of its own."""
        # Shielded: whoever records an ending while the node is being cancelled still gets it committed.
        with self._serving:
            task_status.started()
            await anyio.to_thread.run_sync(
                self._serve, _caller_in_this_loop(), abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )
            # Not where the disk hangs: the thread still has it.
            self._connection.close()

    def close(self) -> None:
        """Take nothing more; what is pending is still committed, if the disk takes it in time."""
        self._closed = True
        self._asked.put(None)
        self._serving.deadline = anyio.current_time() + _CLOSE_SECONDS

    def _serve(self, call_soon: Callable[[Callable[[], object]], object]) -> None:
        while (first := self._asked.get()) is not None:
            batch: list[_Asked] = [first]
            last = False
            # Nobody else takes from the queue: what is there stays there.
            while not self._asked.empty() and len(batch) < _PENDING and not last:
                if (following := self._asked.get()) is None:
                    last = True
                else:
                    batch.append(following)
            for writes, part in itertools.groupby(batch, key=lambda asked: asked.writes):
                changes = list(part)
                alone = len(changes) == 1 and changes[0].statement
                (_commit if writes and not alone else _query)(self._connection, changes)
            call_soon(functools.partial(_wake, batch))
            if last:
                return


class _Asked:
    """Something to be done with the connection, and what came of it."""

    def __init__(self, action: Callable[[sqlite3.Connection], Any], *, writes: bool, statement: bool = False) -> None:
        self.action = action
        self.writes = writes
        self.statement = statement
        self.answered = anyio.Event()
        self.result: Any = None
        self.error: Exception | None = None


def _wake(batch: list[_Asked]) -> None:
    for asked in batch:
        asked.answered.set()


def _caller_in_this_loop() -> Callable[[Callable[[], object]], object]:
    """What another thread calls to have something called in the event loop that runs here.

    anyio has no way that does not wait for the answer, and to hand each batch to a thread anew costs three times this.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return trio.lowlevel.current_trio_token().run_sync_soon
    return loop.call_soon_threadsafe


def _commit(database: sqlite3.Connection, batch: list[_Asked]) -> None:
    try:
        with database:
            database.execute("BEGIN IMMEDIATE")
            for asked in batch:
                database.execute("SAVEPOINT one")
                try:
                    asked.result = asked.action(database)
                    database.execute("RELEASE one")
                except (sqlite3.IntegrityError, ValueError, OverflowError, PlasmError) as error:
                    asked.error = error
                    database.execute("ROLLBACK TO one")
    except Exception as error:
        for asked in batch:
            asked.error = asked.error or error


def _query(database: sqlite3.Connection, batch: list[_Asked]) -> None:
    for asked in batch:
        try:
            asked.result = asked.action(database)
        except Exception as error:
            asked.error = error


def _make_private(path: Path, shape: Shape) -> None:
    # Its mode from the first moment on, and that of the files that sqlite puts beside it.
    descriptor = os.open(path, os.O_CREAT | os.O_NOFOLLOW | os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise shape.unusable(f"{path} is not a file", f"{shape.name} needs that name: choose another --home")
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
    if shape.shrinks:
        # Before anything is written: later it takes a vacuum.
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if path is not None:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    if shape.shrinks and database.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
        # Where there is no room for a second copy now there may be at the next start.
        with contextlib.suppress(sqlite3.OperationalError):
            database.execute("VACUUM")
    database.execute("PRAGMA temp_store = MEMORY")
    steps = [shape.migrations[step] for step in range(version, shape.version) if step in shape.migrations and version]
    script = "\n".join((*steps, shape.schema, f"PRAGMA user_version = {shape.version};"))
    try:
        database.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")
    except BaseException:
        if database.in_transaction:
            database.rollback()
        raise


@contextlib.asynccontextmanager
async def open_database(path: Path | None, shape: Shape) -> AsyncIterator[Database]:
    """The database at `path`, made where there is none; in memory for ``None``. Raises what `shape` says."""
    try:
        connection = await anyio.to_thread.run_sync(_connect, path, shape)
    except (sqlite3.Error, OSError) as error:
        if path is not None and diskspace.is_full(error, path.parent):
            raise shape.unusable(diskspace.full(path.parent), diskspace.MEND) from error
        raise shape.unusable(f"{path} cannot be opened: {error}", shape.mend) from error
    database = Database(connection, shape, path)
    with ungrouped():
        async with anyio.create_task_group() as tasks:
            await tasks.start(database.run)
            try:
                yield database
            finally:
                database.close()

"""The journal: what a node accepted and how it ended, so that a restart loses nothing."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from plasm.jobs.database import Database, open_database
from plasm.jobs.elapsed import ElapsedTime, Mark
from plasm.jobs.jobfiles import JobFiles
from plasm.jobs.kept import Kept, KeptEndings
from plasm.jobs.outputs import in_order
from plasm.jobs.records import QUEUED, RUNNING, TRANSFERRING, Accepted, Ending, JournalUnusable, Listed
from plasm.jobs.rows import (
    ENDED,
    INSERT,
    IS_UNFINISHED,
    LOST,
    MEND,
    NO_OUTPUTS,
    NOT_ENDED,
    OUTPUT_FILE,
    SELECT,
    SHAPE,
    EndingRow,
    accepted_of_row,
    ended_columns,
    ending_row,
    origin_of_row,
)
from plasm.ports import PeerId
from plasm.shares import Origin

T = TypeVar("T")

_ANY_SIZE = 2**62
ENDED_JOBS = 100_000
"""Of jobs that have ended, however small what is kept of them is, no more than this are remembered."""
_DELETED_ROWS = 256
_DELETED_BYTES = 8 * 2**20
"""In one transaction: jobs that are accepted meanwhile wait for it, and what it frees is held in memory until then."""


class Journal:
    """Use :func:`open_journal`. What it reads or writes raises :exc:`~plasm.jobs.records.JournalUnusable`."""

    def __init__(self, database: Database, files: JobFiles, kept: KeptEndings) -> None:
        self._database = database
        self._files = files
        self._kept = kept
        self._time = ElapsedTime()
        self._unfinished: dict[bytes, Origin] = {}
        self._coming_bytes = self._coming = 0
        """Of endings that are being written: what they hold, and how many they are.

        They come on top of the bounds where more is written at once than is kept."""

    async def read_kept(self) -> None:
        """Go on from what an earlier life wrote."""

        await self._settle_files()

        def query(database: sqlite3.Connection) -> tuple[list[tuple[Any, ...]], tuple[Any, ...] | None]:
            rows = database.execute(
                "SELECT id, client, network, address, held, stamp, finished IS NULL FROM jobs ORDER BY stamp, finished"
            ).fetchall()
            return rows, database.execute("SELECT elapsed, boot, uptime FROM passed").fetchone()

        rows, mark = await self._database.read(query)
        self._time = ElapsedTime(Mark(*mark) if mark is not None else None)
        try:
            for identity, client, network, address, held, stamp, unfinished in rows:
                origin = origin_of_row(client, network, address)
                if unfinished:
                    self._unfinished[bytes.fromhex(identity)] = origin
                else:
                    self._kept.add(bytes.fromhex(identity), origin, Kept(held, stamp))
        except (ValueError, TypeError):
            raise JournalUnusable("the journal holds a job whose id cannot be read", MEND) from None

    async def _settle_files(self) -> None:
        """Remove files that no row names. Jobs whose file a power cut took have failed, and may be offered again."""
        rows = await self._database.read(
            lambda d: d.execute(
                "SELECT id, finished IS NULL, IIF(finished IS NULL, input_file, output_file) AS file,"
                " IIF(finished IS NULL, input_size, held - length(receipt)) FROM jobs WHERE file IS NOT NULL"
            ).fetchall()
        )
        lost = await self._files.settle({name: size for _, _, name, size in rows})
        for job_id, unfinished, name, _ in rows:
            if name in lost:
                detail = f"its {'input' if unfinished else 'output'} was lost, as in a power cut: have it run again"
                values = (time.time(), NO_OUTPUTS, detail, self._time.now(), job_id)
                await self._database.write(lambda d, values=values: d.execute(LOST, values))  # type: ignore[misc]

    def knows(self, job_id: str) -> bool:
        """Whether something is recorded under that id: what was asked for before is not run again."""
        identity = bytes.fromhex(job_id)
        return identity in self._unfinished or identity in self._kept

    @property
    def held_bytes(self) -> int:
        """Of all results that are kept."""
        return self._kept.held_bytes

    async def accept(self, accepted: Accepted, data: bytes | None, most_output: int | None = None) -> Ending | None:
        """Record an accepted job, with its input as `data` where that came along; accepted once this returns ``None``.

        One that was accepted before and ended otherwise than ``failed`` stays as it is: its ending is returned, without
        output above `most_output` bytes.
        """
        identity = bytes.fromhex(accepted.id)
        fresh = not self.knows(accepted.id)
        if fresh:
            # Before it is written, so that nobody runs meanwhile what is about to be known.
            self._unfinished[identity] = accepted.origin
        job = msgspec.msgpack.encode(accepted.job)
        try:
            ending = await self._insert(
                accepted, (job, data, accepted.state, accepted.attempts, *NOT_ENDED), most_output
            )
        except JournalUnusable:
            if fresh:
                self._unfinished.pop(identity, None)
            raise
        if ending is None:
            if identity in self._kept:
                self._kept.remove(identity)
            self._unfinished[identity] = accepted.origin
        return ending

    async def completed(self, accepted: Accepted, ending: Ending, most_output: int | None = None) -> Ending | None:
        """Record at once that a job was accepted and how it ended; else as :meth:`accept`. Room is made first."""
        identity = bytes.fromhex(accepted.id)
        fresh = not self.knows(accepted.id)
        if fresh:
            self._unfinished[identity] = accepted.origin

        async def write(columns: tuple[Any, ...]) -> tuple[Ending | None, str | None]:
            earlier = await self._insert(accepted, (b"", None, ending.state, accepted.attempts, *columns), most_output)
            file: str | None = columns[OUTPUT_FILE]
            return earlier, None if earlier is None else file

        try:
            earlier, kept = await self._write_ending(accepted.id, ending, write)
        except JournalUnusable:
            if fresh:
                self._unfinished.pop(identity, None)
            raise
        if earlier is None:
            self._kept.add(identity, accepted.origin, kept)
        self._unfinished.pop(identity, None)
        return earlier

    async def _write_ending(
        self, job_id: str, ending: Ending, write: Callable[[tuple[Any, ...]], Awaitable[tuple[T, str | None]]]
    ) -> tuple[T, Kept]:
        """Make room for an ending and write it: a bound that is held later is none.

        `write` gets the columns of the row; it returns its own result, and a file that no row needs any longer.
        """
        held = ending.output_bytes + len(ending.receipt)
        self._coming_bytes += held
        self._coming += 1
        outputs, file = None, None
        try:
            if self._above() is not None:
                await self._forget(self._above)
            parts = [content for _, content in in_order(ending.outputs)]
            if self._files.takes(ending.output_bytes):
                file = await self._files.write(job_id, parts)
            else:
                outputs = b"".join(parts)
            stamp = self._time.now()
            try:
                result, needless = await write(ended_columns(ending, outputs, file, held, stamp))
            except JournalUnusable:
                await self._files.remove([file])
                raise
            if needless is not None:
                await self._files.remove([needless])
        finally:
            self._coming_bytes -= held
            self._coming -= 1
        return result, Kept(held, stamp)

    async def _insert(self, accepted: Accepted, how: tuple[Any, ...], most_output: int | None) -> Ending | None:
        row = (
            accepted.id,
            accepted.client,
            accepted.origin.network,
            accepted.origin.address,
            accepted.nonce,
            accepted.digest,
            accepted.job.manifest.module_hash,
            accepted.module_size,
            accepted.input_size,
            accepted.runtime,
            accepted.accepted,
            *how,
        )

        most = most_output if most_output is not None else _ANY_SIZE

        def insert(database: sqlite3.Connection) -> EndingRow | None:
            taken = database.execute(INSERT, row).fetchall()
            return None if taken else ending_row(database, accepted.id, most)

        found = await self._database.write(insert, statement=True)
        return None if found is None else await self._ending_of(accepted.id, found, most)

    async def supplied(self, job_id: str, data: bytes | None) -> None:
        """Everything that the job needs has arrived, its input as `data` where that was missing: it is queued."""
        file = None
        if data is not None and self._files.takes(len(data)):
            file, data = await self._files.write(job_id, [data]), None
        try:
            queued = await self._database.write(
                lambda database: database.execute(
                    "UPDATE jobs SET state = ?, input = COALESCE(?, input), input_file = ? WHERE id = ? AND state = ?"
                    " RETURNING id",
                    (QUEUED, data, file, job_id, TRANSFERRING),
                ).fetchall()
            )
        except JournalUnusable:
            await self._files.remove([file])
            raise
        if not queued:
            await self._files.remove([file])

    async def started(self, job_id: str) -> int:
        """The job is about to run; how many times it has been, this one included."""

        def update(database: sqlite3.Connection) -> int:
            rows = database.execute(
                "UPDATE jobs SET state = ?, attempts = attempts + 1 WHERE id = ? RETURNING attempts", (RUNNING, job_id)
            ).fetchall()
            return int(rows[0][0]) if rows else 0

        return await self._database.write(update, statement=True)

    async def interrupted(self, job_id: str) -> None:
        """The job was running when the node was told to stop: it waits for the next start, and that was no attempt."""
        await self._database.write(
            lambda database: database.execute(
                "UPDATE jobs SET state = ?, attempts = MAX(attempts - 1, 0) WHERE id = ? AND state = ?",
                (QUEUED, job_id, RUNNING),
            )
        )

    async def ended(self, job_id: str, ending: Ending) -> None:
        """Record how the job ended and drop what is needed no more. A job that has ended keeps its first ending.

        Room is made for it first.
        """
        identity = bytes.fromhex(job_id)

        async def write(columns: tuple[Any, ...]) -> tuple[bool, str | None]:
            rows = await self._database.write(
                lambda database: database.execute(ENDED, (ending.state, *columns, job_id)).fetchall(), statement=True
            )
            # The input is needed no more, or the outputs of an ending that came second never were.
            file: str | None = rows[0][0] if rows else columns[OUTPUT_FILE]
            return bool(rows), file

        written, kept = await self._write_ending(job_id, ending, write)
        origin = self._unfinished.pop(identity, None)
        if written and origin is not None:
            self._kept.add(identity, origin, kept)

    async def input(self, job_id: str) -> bytes:
        """The input of a job that is to run."""
        row = await self._database.read(
            lambda d: d.execute("SELECT input, input_file, input_size FROM jobs WHERE id = ?", (job_id,)).fetchone()
        )
        if row is None or row[1] is None:
            return bytes(row[0]) if row and row[0] is not None else b""
        data = await self._files.read(row[1])
        if data is None or len(data) != row[2]:
            raise JournalUnusable("the journal holds an input whose file is not as it was written", MEND)
        return data

    async def client(self, job_id: str) -> PeerId | None:
        """Who sent the job; ``None`` where it is not known."""
        row = await self._database.read(
            lambda d: d.execute("SELECT client FROM jobs WHERE id = ?", (job_id,)).fetchone()
        )
        return PeerId(row[0]) if row else None

    async def ending(self, job_id: str, most_output: int | None = None) -> Ending | None:
        """How a job ended; ``None`` where it has not, or is not known. Output above `most_output` bytes is left out."""
        most = most_output if most_output is not None else _ANY_SIZE
        row = await self._database.read(lambda d: ending_row(d, job_id, most))
        return None if row is None else await self._ending_of(job_id, row, most)

    async def _ending_of(self, job_id: str, row: EndingRow, most: int) -> Ending | None:
        if row.output_file is None or (row.output_bytes or 0) > most:
            return row.ending(row.outputs)
        data = await self._files.read(row.output_file)
        if data is not None:
            return row.ending(data)
        if await self.client(job_id) is None:
            # Forgotten between the two.
            return None
        raise JournalUnusable("the journal holds outputs whose file is missing", MEND)

    async def unfinished(self) -> list[Accepted]:
        """Jobs that were accepted and have not ended, oldest first."""
        rows = await self._database.read(
            lambda d: d.execute(f"{SELECT} WHERE {IS_UNFINISHED} ORDER BY accepted, id").fetchall()
        )
        return [accepted_of_row(row) for row in rows]

    async def listed(self, most: int = 1000) -> list[Listed]:
        """The newest `most` jobs, newest first."""
        rows = await self._database.read(
            lambda d: d.execute(
                "SELECT id, client, digest, runtime, state, verdict, exit_code, accepted, finished FROM jobs"
                " ORDER BY accepted DESC LIMIT ?",
                (most,),
            ).fetchall()
        )
        names = ("id", "client", "digest", "runtime", "state", "verdict", "exit_code", "accepted", "finished")
        return [Listed(**dict(zip(names, row, strict=True))) for row in rows]

    async def sweep(self, keep_seconds: float) -> list[str]:
        """Forget the jobs that ended longer ago than that; their ids. What the file no longer needs the disk has again.

        By the time that has passed, and not by the clock, which may be set.
        """
        mark = self._time.mark()
        await self._database.write(
            lambda d: d.execute(
                "INSERT INTO passed VALUES (0, ?, ?, ?) ON CONFLICT (only_one)"
                " DO UPDATE SET elapsed = excluded.elapsed, boot = excluded.boot, uptime = excluded.uptime",
                mark,
            )
        )
        gone = await self._forget(lambda: self._kept.before(mark.elapsed - keep_seconds))
        await self._database.shrink()
        return gone

    def _above(self) -> bytes | None:
        return self._kept.above(self._coming_bytes, self._coming)

    async def _forget(self, first: Callable[[], bytes | None]) -> list[str]:
        """Forget one ending after another, which `first` names, until it names none; the ids that went."""
        gone: list[str] = []
        while (identity := first()) is not None:
            part: dict[bytes, tuple[Origin, Kept]] = {}
            size = 0
            while identity is not None and len(part) < _DELETED_ROWS and size < _DELETED_BYTES:
                # At once, so that nobody else counts on the same room.
                part[identity] = self._kept.remove(identity)
                size += part[identity][1].held
                identity = first()
            ids = [identity.hex() for identity in part]
            marks = ", ".join("?" * len(ids))
            statement = f"DELETE FROM jobs WHERE id IN ({marks}) AND finished IS NOT NULL RETURNING id, output_file"  # noqa: S608
            try:
                deleted = await self._database.write(
                    lambda d, statement=statement, ids=ids: d.execute(statement, ids).fetchall(),  # type: ignore[misc]
                    statement=True,
                )
            except JournalUnusable:
                for each, (origin, kept) in part.items():
                    self._kept.add(each, origin, kept)
                raise
            await self._files.remove(row[1] for row in deleted)
            gone += [row[0] for row in deleted]
        return gone


@contextlib.asynccontextmanager
async def open_journal(
    path: Path | None, *, max_kept_bytes: int = _ANY_SIZE, max_ended: int = ENDED_JOBS
) -> AsyncIterator[Journal]:
    """The journal at `path`, made where there is none; in memory for ``None``. Raises :exc:`JournalUnusable`.

    What is too large for it stands in a folder ``job-files`` beside it. Of jobs that have ended it keeps no more than
    these bounds say, each time that one more ends.
    """
    async with open_database(path, SHAPE) as database:
        files = JobFiles(path.with_name("job-files") if path is not None else None)
        journal = Journal(database, files, KeptEndings(max_kept_bytes, max_ended))
        await journal.read_kept()
        yield journal

"""The rows of the journal: its tables, the statements on them, and how a row is read."""

from __future__ import annotations

import sqlite3
import time
from typing import Any, NamedTuple

import msgspec

from plasm.jobs.database import Shape
from plasm.jobs.manifest import Job
from plasm.jobs.outputs import Output, cut, table_of
from plasm.jobs.records import OWN, UNFINISHED, Accepted, Ending, JournalUnusable
from plasm.shares import Origin, origin_of

MEND = "bring a copy of it back, or use another --home: it holds accepted jobs and results"
SHAPE = Shape(
    name="the journal",
    # What is looked at often stands before what is large: a row is read from its start.
    schema="""
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, network TEXT, address TEXT, stamp REAL NOT NULL DEFAULT 0,
    state TEXT NOT NULL, held INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, accepted REAL NOT NULL,
    finished REAL, verdict TEXT, exit_code INTEGER, reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    nonce BLOB NOT NULL, digest TEXT NOT NULL, module TEXT NOT NULL, module_size INTEGER NOT NULL,
    input_size INTEGER NOT NULL, runtime TEXT NOT NULL, input_file TEXT, output_file TEXT, receipt BLOB,
    output_table BLOB, job BLOB NOT NULL, input BLOB, outputs BLOB
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, accepted);
CREATE TABLE IF NOT EXISTS passed (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 0), elapsed REAL NOT NULL, boot TEXT NOT NULL, uptime REAL NOT NULL
);
""",
    version=3,
    unusable=JournalUnusable,
    mend=MEND,
    migrations={
        # All that ended before is as old as this moment: when it was is known by the wall clock alone.
        1: """
ALTER TABLE jobs ADD COLUMN network TEXT;
ALTER TABLE jobs ADD COLUMN address TEXT;
ALTER TABLE jobs ADD COLUMN stamp REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN reason TEXT NOT NULL DEFAULT '';
""",
        # What stands in rows stays there until it is forgotten.
        2: """
ALTER TABLE jobs ADD COLUMN input_file TEXT;
ALTER TABLE jobs ADD COLUMN output_file TEXT;
""",
    },
    shrinks=True,
)
IS_UNFINISHED = "state IN ('transferring', 'queued', 'running')"
INSERT = """
INSERT INTO jobs (id, client, network, address, nonce, digest, module, module_size, input_size, runtime, accepted, job,
    input, state, attempts, finished, verdict, exit_code, outputs, output_file, output_table, receipt, detail, reason,
    held, stamp)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET network = excluded.network, address = excluded.address, runtime = excluded.runtime,
    accepted = excluded.accepted, job = excluded.job, input = excluded.input, input_file = NULL, state = excluded.state,
    attempts = excluded.attempts, finished = excluded.finished, verdict = excluded.verdict,
    exit_code = excluded.exit_code, outputs = excluded.outputs, output_file = excluded.output_file,
    output_table = excluded.output_table, receipt = excluded.receipt, detail = excluded.detail,
    reason = excluded.reason, held = excluded.held, stamp = excluded.stamp
WHERE jobs.state IN ('failed', 'transferring') RETURNING id
"""
ENDED = """
UPDATE jobs SET state = ?, finished = ?, verdict = ?, exit_code = ?, outputs = ?, output_file = ?, output_table = ?,
    receipt = ?, detail = ?, reason = ?, held = ?, stamp = ?, input = NULL, job = x''
WHERE id = ? AND state IN ('transferring', 'queued', 'running') RETURNING input_file
"""
"""The name of the input's file stays in the row: whoever removes the file is told it."""
LOST = """
UPDATE jobs SET state = 'failed', finished = ?, verdict = NULL, exit_code = NULL, outputs = x'', output_file = NULL,
    output_table = ?, receipt = NULL, detail = ?, reason = '', held = 0, stamp = ?, input = NULL, job = x''
WHERE id = ?
"""
SELECT = """
SELECT id, client, nonce, job, digest, module_size, input_size, runtime, accepted, state, attempts, network, address
FROM jobs
"""
NOT_ENDED = (None, None, None, None, None, None, None, "", "", 0, 0.0)
OUTPUT_FILE = 4
"""Where the columns of :func:`ended_columns` name the file of the outputs."""
NO_OUTPUTS = msgspec.msgpack.encode(())


class EndingRow(NamedTuple):
    """How a job ended, as its row has it."""

    state: str
    verdict: str | None
    exit_code: int | None
    outputs: bytes | None
    """``None`` where they stand in a file, and where they are more than was asked for."""
    output_file: str | None
    output_bytes: int | None
    output_table: bytes
    receipt: bytes | None
    detail: str
    reason: str

    def ending(self, outputs: bytes | None) -> Ending:
        """The same, with these `outputs`; for ``None`` they are left out."""
        return Ending(
            state=self.state,
            verdict=self.verdict,
            exit_code=self.exit_code,
            outputs=outputs_of(self.output_table, outputs) if outputs is not None else {},
            receipt=self.receipt or b"",
            detail=self.detail,
            reason=self.reason,
            left_out=0 if outputs is not None else self.output_bytes or 0,
        )


def ended_columns(
    ending: Ending, outputs: bytes | None, output_file: str | None, held: int, stamp: float
) -> tuple[Any, ...]:
    """What a row has of how its job ended, with the outputs in it or in that file."""
    table = msgspec.msgpack.encode(table_of(ending.outputs)) if ending.outputs else NO_OUTPUTS
    how = (time.time(), ending.verdict, ending.exit_code, outputs, output_file, table)
    return (*how, ending.receipt, ending.detail, ending.reason, held, stamp)


def ending_row(database: sqlite3.Connection, job_id: str, most_output: int) -> EndingRow | None:
    """The row of a job that has ended, without outputs above `most_output` bytes; ``None`` where there is none."""
    row = database.execute(
        "SELECT state, verdict, exit_code, IIF(length(outputs) <= ?1, outputs, NULL), output_file,"
        " IIF(output_file IS NULL, length(outputs), held - length(receipt)), output_table, receipt, detail, reason"
        " FROM jobs WHERE id = ?2",
        (most_output, job_id),
    ).fetchone()
    return None if row is None or row[0] in UNFINISHED else EndingRow(*row)


def outputs_of(table: bytes, data: bytes) -> dict[str, bytes]:
    """Outputs that were kept one after another. Raises :exc:`~plasm.jobs.records.JournalUnusable`."""
    try:
        return cut(msgspec.msgpack.decode(table, type=tuple[Output, ...]), data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalUnusable(f"the journal holds outputs that cannot be read: {error}", MEND) from None


def origin_of_row(client: str, network: str | None, address: str | None) -> Origin:
    """Where the job of a row came from."""
    if network is None:
        # Of a journal that did not record it yet.
        return origin_of(None, client)
    return OWN if network == OWN.network else Origin(network, address or "", client)


def accepted_of_row(row: tuple[Any, ...]) -> Accepted:
    """A job as a row of :data:`SELECT` has it. Raises :exc:`~plasm.jobs.records.JournalUnusable`."""
    names = ("id", "client", "nonce", "job", "digest", "module_size", "input_size", "runtime", "accepted", "state")
    values = dict(zip((*names, "attempts", "network", "address"), row, strict=True))
    values["origin"] = origin_of_row(values["client"], values.pop("network"), values.pop("address"))
    try:
        values["job"] = msgspec.msgpack.decode(values["job"], type=Job)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise JournalUnusable(f"the journal holds a job that cannot be read: {error}", MEND) from None
    return Accepted(**values)

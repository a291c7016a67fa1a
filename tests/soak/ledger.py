"""What clients saw accepted and delivered, to be compared with what the node has at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from plasm.jobs.conversation import Delivered
from plasm.ports import Verdict
from tests.soak.cases import Case

MOST_ATTEMPTS = 3
"""A job that was being run when the node, or its cell, was killed this often is answered with ``cell_died``."""


@dataclass
class Entry:
    """One accepted job. `kills` counts those before it was accepted."""

    kind: str
    number: int
    client: int
    kills: int
    receipt: bytes | None = None
    """The digest of the receipt that was delivered, if one was."""
    until: int | None = None
    """The kills before that."""


@dataclass(frozen=True)
class Discrepancy:
    """An accepted job of which not the right thing came: ``lost``, ``wrong`` or ``changed``."""

    what: str
    job_id: str
    kind: str
    detail: str


class Ledger:
    """By job id."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.given_up: set[str] = set()

    def accepted(self, job_id: str, case: Case, client: int, kills: int) -> None:
        """The node said that it accepted the job; it may say so again after a connection was lost.

        `kills` is how many there were when it was submitted.
        """
        self.entries.setdefault(job_id, Entry(case.kind, case.number, client, kills))

    def delivered(self, delivered: Delivered, kills: int) -> None:
        """A client was given the verified result."""
        entry = self.entries[delivered.job_id]
        entry.receipt, entry.until = _digest(delivered), kills

    def hold_against(self, job_id: str, case: Case, result: Delivered | str, kills: int) -> list[Discrepancy]:
        """What is wrong with what the node gave for an accepted job at the end: a result, or why there is none."""
        entry = self.entries[job_id]
        if isinstance(result, str):
            return [Discrepancy("lost", job_id, entry.kind, result)]
        died = result.statement.predicate.verdict is Verdict.CELL_DIED
        excused = died and (kills if entry.until is None else entry.until) - entry.kills >= MOST_ATTEMPTS
        if excused:
            self.given_up.add(job_id)
        problems = [] if excused else case.problems(result)
        found = [Discrepancy("wrong", job_id, entry.kind, problem) for problem in problems]
        if entry.receipt is not None and entry.receipt != _digest(result):
            found.append(Discrepancy("changed", job_id, entry.kind, "another receipt than the one delivered first"))
        return found

    def missing(self, looked_at: Mapping[str, object]) -> list[Discrepancy]:
        """The accepted jobs that nobody asked for at the end."""
        return [
            Discrepancy("lost", job_id, entry.kind, "not asked for at the end")
            for job_id, entry in self.entries.items()
            if job_id not in looked_at
        ]


def _digest(delivered: Delivered) -> bytes:
    return hashlib.sha256(delivered.receipt).digest()

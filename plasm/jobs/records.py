"""What the journal says of a job: how it was accepted, in which state it is, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from plasm.errors import PlasmError
from plasm.jobs.manifest import Job
from plasm.ports import Digest, PeerId
from plasm.shares import Origin

TRANSFERRING, QUEUED, RUNNING, DONE, CANCELLED, FAILED = (
    "transferring",
    "queued",
    "running",
    "done",
    "cancelled",
    "failed",
)
UNFINISHED = (TRANSFERRING, QUEUED, RUNNING)
OWN: Final = Origin(network="own")
"""Of the jobs of the node's own user, which are outside of what strangers share. There is no other object like it."""


class JournalUnusable(PlasmError):
    """The journal cannot be read or written; the message is one line with what mends it."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A job as it was accepted."""

    id: str
    client: PeerId
    origin: Origin
    """Where the client was connected from when it offered the job."""
    nonce: bytes
    job: Job
    digest: Digest
    module_size: int
    input_size: int
    runtime: str
    accepted: float
    state: str = QUEUED
    attempts: int = 0


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job ended, with what is sent to whoever asks for it."""

    state: str
    verdict: str | None = None
    exit_code: int | None = None
    outputs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """By their names (:mod:`plasm.jobs.outputs`)."""
    receipt: bytes = field(default=b"", repr=False)
    detail: str = ""
    reason: str = ""
    """Of one that failed: why, as the ``reason`` of a ``failed`` message; empty for ``NodeFailed``."""
    left_out: int = 0
    """Bytes of outputs that are in the journal and not here."""

    @property
    def described(self) -> str:
        """The same in a few words, without anything that the program or its sender wrote."""
        if self.verdict is None:
            return self.state
        return self.verdict if self.exit_code is None else f"{self.verdict} {self.exit_code}"

    @property
    def output_bytes(self) -> int:
        """Of the outputs that are here."""
        return sum(map(len, self.outputs.values()))

    def without_much(self, most_output: int) -> Ending:
        """The same, with the outputs left out where they are larger than `most_output` bytes together."""
        size = self.output_bytes
        return replace(self, outputs={}, left_out=size) if size > most_output else self


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of ``plasm jobs``."""

    id: str
    client: PeerId
    digest: Digest
    runtime: str
    state: str
    verdict: str | None
    exit_code: int | None
    accepted: float
    finished: float | None

"""What a user asks about jobs, in one place: the control socket serves it, and commands use it where no node runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from plasm.errors import PlasmError
from plasm.jobs.admission import OfferRejected
from plasm.jobs.client import Client, Detached, SeenNode, UnknownJob
from plasm.jobs.conversation import Delivered, Report, Submission
from plasm.jobs.journal import Journal
from plasm.jobs.messages import INLINE_BYTES, Offer
from plasm.jobs.outputs import STDERR, STDOUT
from plasm.jobs.receipt import verify_receipt
from plasm.jobs.records import DONE
from plasm.jobs.worker import Worker

MAX_LISTED = 500
"""Jobs of each kind in one answer, newest first."""


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """A job that this node took. Times are seconds since the epoch."""

    job_id: str
    client: str
    runtime: str
    state: str
    verdict: str | None
    exit_code: int | None
    accepted: float
    finished: float | None


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was submitted from this home. Times are seconds since the epoch."""

    job_id: str
    name: str
    node: str
    submitted: float
    deadline: float


class NotExecuted(PlasmError):
    """This machine could not run the job itself."""


class JobService(Protocol):
    """The same, whether the node runs in this process or behind its control socket."""

    async def submit(
        self, submission: Submission, *, name: str, report: Report, peers: Sequence[str], look_seconds: float
    ) -> Delivered:
        """See :meth:`plasm.jobs.client.Client.submit`."""

    async def detach(
        self, submission: Submission, *, name: str, report: Report, peers: Sequence[str], look_seconds: float
    ) -> Detached:
        """See :meth:`plasm.jobs.client.Client.detach`."""

    async def execute(self, submission: Submission) -> Delivered:
        """Run the job on this machine; the receipt is its own. Raises :exc:`NotExecuted`."""

    async def result(self, job_id: str, *, wait: bool, report: Report, peers: Sequence[str] = ()) -> Delivered:
        """See :meth:`plasm.jobs.client.Client.result`."""

    async def cancel(self, job_id: str, *, peers: Sequence[str] = ()) -> bool:
        """Stop a job, submitted from here or taken here; whether there was one to stop."""

    async def jobs(self) -> tuple[Sequence[Sent], Sequence[Hosted]]:
        """What was submitted from this home, and what its node took; newest first."""

    async def watch_nodes(self, seen: Callable[[SeenNode], None], *, peers: Sequence[str], arch: str | None) -> None:
        """See :meth:`plasm.jobs.client.Client.watch_nodes`."""


class OpenJobs:
    """The service on ports that are open in this process."""

    def __init__(
        self, client: Client | None = None, worker: Worker | None = None, journal: Journal | None = None
    ) -> None:
        """`journal` is that of a node which is not running: what it took is listed from there."""
        self._client = client
        self._worker = worker
        self._taken = journal or worker

    @property
    def client(self) -> Client:
        if self._client is None:
            raise LookupError("no client is open here")
        return self._client

    async def submit(
        self, submission: Submission, *, name: str, report: Report, peers: Sequence[str], look_seconds: float
    ) -> Delivered:
        return await self.client.submit(submission, name=name, report=report, peers=peers, look_seconds=look_seconds)

    async def detach(
        self, submission: Submission, *, name: str, report: Report, peers: Sequence[str], look_seconds: float
    ) -> Detached:
        return await self.client.detach(submission, name=name, report=report, peers=peers, look_seconds=look_seconds)

    async def execute(self, submission: Submission) -> Delivered:
        if self._worker is None:
            raise NotExecuted("no runtime is open here")
        data = submission.input
        offer = Offer(
            job=submission.job,
            digest=submission.job.digest(),
            nonce=submission.nonce,
            module_size=len(submission.module),
            input_size=len(data),
            input=data if len(data) <= INLINE_BYTES else None,
            runtime=submission.runtime,
        )
        try:
            job_id, ending = await self._worker.execute(offer, submission.module, data)
        except OfferRejected as rejected:
            raise NotExecuted(str(rejected), _mend_here(rejected, submission.runtime)) from None
        if ending.state != DONE:
            raise NotExecuted(ending.detail or ending.state)
        node = self._worker.node
        return Delivered(
            job_id=job_id,
            node=node,
            statement=verify_receipt(ending.receipt, node),
            receipt=ending.receipt,
            outputs={STDOUT: b"", STDERR: b"", **ending.outputs},
            detail=ending.detail,
        )

    async def result(self, job_id: str, *, wait: bool, report: Report, peers: Sequence[str] = ()) -> Delivered:
        return await self.client.result(job_id, wait=wait, report=report, peers=peers)

    async def cancel(self, job_id: str, *, peers: Sequence[str] = ()) -> bool:
        if self._worker is not None and await self._worker.cancel(job_id, None):
            return True
        try:
            return await self.client.cancel(job_id, peers=peers)
        except UnknownJob:
            if self._worker is not None and any(listed.id == job_id for listed in await self._worker.listed()):
                return False
            raise

    async def jobs(self) -> tuple[Sequence[Sent], Sequence[Hosted]]:
        sent = [
            Sent(
                job_id=submitted.job_id,
                name=submitted.name,
                node=submitted.node,
                submitted=submitted.submitted,
                deadline=submitted.deadline,
            )
            for submitted in (await self.client.submitted())[:MAX_LISTED]
        ]
        listed = await self._taken.listed() if self._taken is not None else []
        hosted = [
            Hosted(
                job_id=job.id,
                client=job.client,
                runtime=job.runtime,
                state=job.state,
                verdict=job.verdict,
                exit_code=job.exit_code,
                accepted=job.accepted,
                finished=job.finished,
            )
            for job in listed[:MAX_LISTED]
        ]
        return sent, hosted

    async def watch_nodes(self, seen: Callable[[SeenNode], None], *, peers: Sequence[str], arch: str | None) -> None:
        await self.client.watch_nodes(seen, peers=peers, arch=arch)


def _mend_here(rejected: OfferRejected, runtime: str | None) -> str:
    """What mends an offer that this home's own node turned down; a runtime is chosen when the node starts."""
    if rejected.reason == "RuntimeNotSupported":
        return f"start the node on this home with plasm --plugins {runtime} start, or use a --home without a node"
    return "[node] in the configuration sets what this node takes on"

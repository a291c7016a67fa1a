"""The client: finds nodes, has one of them run a job, and hands out only what it has verified."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio

from plasm.errors import PlasmError, one_line
from plasm.jobs.attempts import LOOK_SECONDS, Attempts, given
from plasm.jobs.book import Book, Submitted
from plasm.jobs.connections import Connections
from plasm.jobs.conversation import (
    AttemptFailed,
    Conversation,
    Delivered,
    Expected,
    NodeSilent,
    Report,
    Submission,
    expect,
)
from plasm.jobs.finding import finding, topics_for
from plasm.jobs.messages import Accepted, Description
from plasm.jobs.preference import Preference
from plasm.jobs.reconnecting import RECONNECTIONS, ask_persistently
from plasm.ports import Discovery, Found, PeerId, Transport

T = TypeVar("T")

_GIVE_UP_SECONDS = 2
"""Two round trips on a connection that is up; whoever was interrupted does not want to wait for more."""
_DESCRIPTIONS_AT_ONCE = 16


class UnknownJob(PlasmError):
    """No submission of that id is in the book."""


@dataclass(frozen=True, kw_only=True)
class Detached:
    """A job that a node accepted and that nobody waits for here."""

    job_id: str
    node: PeerId
    keep_seconds: int


@dataclass(frozen=True, kw_only=True)
class SeenNode:
    """A node that was found, and what it said of itself where it answered."""

    peer: PeerId
    addresses: tuple[str, ...]
    source: str
    description: Description | None = None
    latency_seconds: float | None = None
    problem: str = ""


class Client:
    """Sends jobs under one identity. Several calls may run at once; kept streams are shared between them."""

    def __init__(
        self,
        *,
        peer: PeerId,
        transports: Sequence[Transport],
        discoveries: Mapping[str, Discovery],
        runtimes: Sequence[str],
        book: Book,
        log: logging.Logger,
        preference: Preference | None = None,
    ) -> None:
        self.peer = peer
        self._connections = Connections(transports)
        self._discoveries = discoveries
        self._runtimes = runtimes
        self._book = book
        self._log = log
        self._preference = preference

    async def aclose(self) -> None:
        """Close the streams that are kept."""
        await self._connections.aclose()

    async def submit(
        self,
        submission: Submission,
        *,
        name: str,
        report: Report,
        peers: Sequence[str] = (),
        look_seconds: float = LOOK_SECONDS,
    ) -> Delivered:
        """Have the job run by one of `peers` (multiaddrs), or by any node that is found.

        `name` is the job's for people. Raises :exc:`NoNode` or :exc:`InvalidAddress`.
        """

        async def attempt(found: Found) -> Delivered:
            return await self._run_on(found, submission, name, report)

        return await self._attempt(attempt, submission, peers, look_seconds, report)

    async def detach(
        self,
        submission: Submission,
        *,
        name: str,
        report: Report,
        peers: Sequence[str] = (),
        look_seconds: float = LOOK_SECONDS,
    ) -> Detached:
        """The same, but only until a node has accepted the job and has all that it needs of it."""

        async def attempt(found: Found) -> Detached:
            expected = expect(submission, found.peer, self.peer)

            async def ask(conversation: Conversation) -> Accepted:
                accepted = await conversation.offer(submission, expected, report)
                await self._record(submission, found, accepted, name)
                if accepted.needs:
                    await conversation.settled()
                return accepted

            accepted = await ask_persistently(self._connections, ask, found, report, keep=False)
            return Detached(job_id=accepted.job_id, node=found.peer, keep_seconds=accepted.keep_seconds)

        return await self._attempt(attempt, submission, peers, look_seconds, report)

    async def result(self, job_id: str, *, wait: bool, report: Report) -> Delivered:
        """The verified result of a job in the book. Raises :exc:`UnknownJob` or :exc:`AttemptFailed`."""
        submitted = await self._submitted(job_id)
        expected = Expected(
            job_id=submitted.job_id,
            node=submitted.peer,
            client=self.peer,
            nonce=bytes.fromhex(submitted.nonce),
            job=submitted.job,
            digest=submitted.job.digest(),
            runtime=submitted.runtime,
        )

        async def ask(conversation: Conversation) -> Delivered:
            await conversation.fetch(job_id, wait=wait)
            return await conversation.result(expected, report)

        return await ask_persistently(self._connections, ask, _in_book(submitted), report)

    async def cancel(self, job_id: str) -> bool:
        """Stop a job in the book; whether there was one to stop. Raises :exc:`UnknownJob` or :exc:`AttemptFailed`."""
        submitted = await self._submitted(job_id)
        return await self._cancel(_in_book(submitted), job_id)

    async def submitted(self) -> list[Submitted]:
        """What is in the book, newest first."""
        await self.sweep()
        return await self._book.listed()

    async def sweep(self) -> None:
        """Drop from the book what is past its deadline."""
        with _book_problems(self._log):
            await self._book.sweep()

    async def watch_nodes(
        self, seen: Callable[[SeenNode], None], *, peers: Sequence[str] = (), arch: str | None = None
    ) -> None:
        """Tell `seen` of each node that is found, with what it says of itself; goes on until cancelled."""
        at_once = anyio.Semaphore(_DESCRIPTIONS_AT_ONCE)

        async def ask(found: Found) -> None:
            try:
                seen(await self.describe(found))
            finally:
                at_once.release()

        async with anyio.create_task_group() as tasks:
            for found in given(peers):
                await at_once.acquire()
                tasks.start_soon(ask, found)
            async with finding(self._discoveries, topics_for(self._runtimes, arch), self._log) as nodes:
                async for found in nodes:
                    await at_once.acquire()
                    tasks.start_soon(ask, found)

    async def describe(self, found: Found) -> SeenNode:
        """Ask one node what it offers."""

        async def ask(conversation: Conversation) -> tuple[Description, float]:
            await conversation.describe()
            # The first answer paid for the connection; the second one is the way there and back.
            return await conversation.describe()

        try:
            description, latency = await ask_persistently(
                self._connections, ask, found, lambda event: None, reconnections=0
            )
        except AttemptFailed as error:
            return SeenNode(peer=found.peer, addresses=found.addresses, source=found.source, problem=str(error))
        return SeenNode(
            peer=found.peer,
            addresses=found.addresses,
            source=found.source,
            description=description,
            latency_seconds=latency,
        )

    async def _attempt(
        self,
        attempt: Callable[[Found], Awaitable[T]],
        submission: Submission,
        peers: Sequence[str],
        look_seconds: float,
        report: Report,
    ) -> T:
        attempts = Attempts(attempt, report, self._preference)
        if peers:
            return await attempts.among(peers)
        runtimes = (submission.runtime,) if submission.runtime else self._runtimes
        return await attempts.search(self._discoveries, topics_for(runtimes, submission.arch), look_seconds, self._log)

    async def _run_on(self, found: Found, submission: Submission, name: str, report: Report) -> Delivered:
        expected = expect(submission, found.peer, self.peer)
        offered = recorded = False

        async def ask(conversation: Conversation) -> Delivered:
            nonlocal offered, recorded
            offered = True
            accepted = await conversation.offer(submission, expected, report)
            if not recorded:
                await self._record(submission, found, accepted, name)
                recorded = True
            return await conversation.result(expected, report)

        try:
            with anyio.fail_after(submission.patience_seconds):
                return await ask_persistently(self._connections, ask, found, report)
        except TimeoutError:
            await self._give_up(found, expected)
            raise NodeSilent(f"no result within {submission.patience_seconds:.0f} s") from None
        except (anyio.get_cancelled_exc_class(), KeyboardInterrupt):
            if offered:
                await self._give_up(found, expected)
            raise

    async def _give_up(self, found: Found, expected: Expected) -> None:
        """Nobody waits for the job any longer: its node is told so, if it can be told at once."""
        with (
            anyio.CancelScope(shield=True),
            anyio.move_on_after(_GIVE_UP_SECONDS),
            contextlib.suppress(AttemptFailed),
        ):
            await self._cancel(found, expected.job_id, reconnections=0)

    async def _cancel(self, found: Found, job_id: str, *, reconnections: int = RECONNECTIONS) -> bool:
        async def ask(conversation: Conversation) -> bool:
            return await conversation.cancel(job_id)

        return await ask_persistently(self._connections, ask, found, lambda event: None, reconnections=reconnections)

    async def _record(self, submission: Submission, found: Found, accepted: Accepted, name: str) -> None:
        now = time.time()
        submitted = Submitted(
            job_id=accepted.job_id,
            node=found.peer,
            addresses=found.addresses,
            nonce=submission.nonce.hex(),
            job=submission.job,
            runtime=submission.runtime,
            name=name,
            submitted=now,
            deadline=now + submission.patience_seconds + accepted.keep_seconds,
        )
        with _book_problems(self._log):
            await self._book.record(submitted)

    async def _submitted(self, job_id: str) -> Submitted:
        submitted = await self._book.find(job_id)
        if submitted is None:
            raise UnknownJob(f"no job {one_line(job_id[:64])} was submitted from here, or its time has run out")
        return submitted


def _in_book(submitted: Submitted) -> Found:
    return Found(peer=submitted.peer, addresses=submitted.addresses, source="book")


@contextlib.contextmanager
def _book_problems(log: logging.Logger) -> Iterator[None]:
    """A disk that takes nothing costs the client its record of the job, and not the job."""
    try:
        yield
    except OSError as error:
        log.warning("the book of submissions cannot be written: %s", error)


@contextlib.asynccontextmanager
async def open_client(client: Client) -> AsyncIterator[Client]:
    """Closes what `client` keeps open, and drops first from its book what is past its deadline."""
    await client.sweep()
    try:
        yield client
    finally:
        await client.aclose()

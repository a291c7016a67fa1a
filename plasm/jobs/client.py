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
from plasm.identity import InvalidIdentity, peer_of_address
from plasm.jobs.book import Book, Submitted
from plasm.jobs.connections import Connections
from plasm.jobs.conversation import (
    AttemptFailed,
    ConnectionLost,
    Conversation,
    Delivered,
    Event,
    Expected,
    Report,
    Submission,
    expect,
)
from plasm.jobs.finding import describe_search, finding, topics_for
from plasm.jobs.messages import Accepted, Description
from plasm.ports import Discovery, Found, PeerId, Transport

T = TypeVar("T")

LOOK_SECONDS = 30.0
_RECONNECTIONS = 5
_RECONNECT_FIRST_SECONDS = 0.2
_GIVE_UP_SECONDS = 2
"""Two round trips on a connection that is up; whoever was interrupted does not want to wait for more."""
_DESCRIPTIONS_AT_ONCE = 16
_ATTEMPTS_PER_NODE = 2
_MOST_ATTEMPTS = 32


class NoNode(PlasmError):
    """No node did the job: none was found, or each one failed. The message says where was looked and why each did."""

    def __init__(self, message: str, mend: str = "", failures: Sequence[tuple[PeerId, str]] = ()) -> None:
        super().__init__(message, mend)
        self.failures = tuple(failures)


class UnknownJob(PlasmError):
    """No submission of that id is in the book."""


class InvalidAddress(PlasmError):
    """Not a multiaddr that ends in ``/p2p/PEER``."""


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
    ) -> None:
        self.peer = peer
        self._connections = Connections(transports)
        self._discoveries = discoveries
        self._runtimes = runtimes
        self._book = book
        self._log = log

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

        return await self._first(attempt, submission, peers, look_seconds, report)

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

            accepted = await self._persistently(ask, found, report, keep=False)
            return Detached(job_id=accepted.job_id, node=found.peer, keep_seconds=accepted.keep_seconds)

        return await self._first(attempt, submission, peers, look_seconds, report)

    async def result(self, job_id: str, *, wait: bool, report: Report) -> Delivered:
        """The verified result of a job in the book. Raises :exc:`UnknownJob` or :exc:`AttemptFailed`."""
        submitted = await self._submitted(job_id)
        expected = Expected(
            job_id=submitted.job_id,
            node=submitted.peer,
            client=self.peer,
            nonce=bytes.fromhex(submitted.nonce),
            job=submitted.job,
        )

        async def ask(conversation: Conversation) -> Delivered:
            await conversation.fetch(job_id, wait=wait)
            return await conversation.result(expected, report)

        return await self._persistently(ask, _in_book(submitted), report)

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
            for found in _given(peers):
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
            description, latency = await self._persistently(ask, found, lambda event: None, reconnections=0)
        except AttemptFailed as error:
            return SeenNode(peer=found.peer, addresses=found.addresses, source=found.source, problem=str(error))
        return SeenNode(
            peer=found.peer,
            addresses=found.addresses,
            source=found.source,
            description=description,
            latency_seconds=latency,
        )

    async def _first(
        self,
        attempt: Callable[[Found], Awaitable[T]],
        submission: Submission,
        peers: Sequence[str],
        look_seconds: float,
        report: Report,
    ) -> T:
        failures: list[tuple[PeerId, str]] = []

        async def tried(found: Found) -> list[T]:
            report(Event(kind="found", node=found.peer, detail=found.source))
            report(Event(kind="sending", node=found.peer))
            try:
                return [await attempt(found)]
            except AttemptFailed as error:
                failures.append((found.peer, str(error)))
                report(Event(kind="node_failed", node=found.peer, detail=str(error)))
                return []

        if peers:
            for found in _given(peers):
                if done := await tried(found):
                    return done[0]
            raise _no_node(failures, f"{len(peers)} given")
        where = describe_search(self._discoveries)
        report(Event(kind="looking", detail=where))
        runtimes = (submission.runtime,) if submission.runtime else self._runtimes
        async with finding(self._discoveries, topics_for(runtimes, submission.arch), self._log) as nodes:
            looked = 0.0
            while looked < look_seconds:
                began = anyio.current_time()
                with anyio.move_on_after(look_seconds - looked) as waiting:
                    found = await nodes.receive()
                looked += anyio.current_time() - began
                if waiting.cancelled_caught:
                    break
                # A node that failed gets a second chance under new addresses, and no more.
                if [peer for peer, _ in failures].count(found.peer) >= _ATTEMPTS_PER_NODE:
                    continue
                if done := await tried(found):
                    return done[0]
                if len(failures) >= _MOST_ATTEMPTS:
                    break
        raise _no_node(failures, f"looked {look_seconds:g} s by {where}")

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
                return await self._persistently(ask, found, report)
        except TimeoutError:
            await self._give_up(found, expected)
            raise AttemptFailed(f"no result within {submission.patience_seconds:.0f} s") from None
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

    async def _cancel(self, found: Found, job_id: str, *, reconnections: int = _RECONNECTIONS) -> bool:
        async def ask(conversation: Conversation) -> bool:
            return await conversation.cancel(job_id)

        return await self._persistently(ask, found, lambda event: None, reconnections=reconnections)

    async def _persistently(
        self,
        ask: Callable[[Conversation], Awaitable[T]],
        found: Found,
        report: Report,
        *,
        reconnections: int = _RECONNECTIONS,
        keep: bool = True,
    ) -> T:
        """`ask` again over a new stream while the connection is what fails: what is asked names its job by a nonce."""
        pause = _RECONNECT_FIRST_SECONDS
        fresh = not keep
        reached = False
        while True:
            kept = not fresh and self._connections.holds(found.peer)
            try:
                async with self._connections.conversation(found, fresh=fresh) as conversation:
                    reached = True
                    answer = await ask(conversation)
                    if not keep:
                        conversation.finish()
                    return answer
            except ConnectionLost as error:
                fresh = True
                if kept:
                    continue
                if not reached or reconnections <= 0:
                    raise
                report(Event(kind="reconnecting", node=found.peer, detail=str(error)))
            reconnections -= 1
            await anyio.sleep(pause)
            pause *= 2

    async def _record(self, submission: Submission, found: Found, accepted: Accepted, name: str) -> None:
        now = time.time()
        submitted = Submitted(
            job_id=accepted.job_id,
            node=found.peer,
            addresses=found.addresses,
            nonce=submission.nonce.hex(),
            job=submission.job,
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


def _given(addresses: Sequence[str]) -> list[Found]:
    by_peer: dict[PeerId, list[str]] = {}
    for address in addresses:
        try:
            by_peer.setdefault(peer_of_address(address), []).append(address)
        except InvalidIdentity as error:
            raise InvalidAddress(f"{address!a}: {error}") from None
    return [Found(peer=peer, addresses=tuple(known), source="given") for peer, known in by_peer.items()]


def _in_book(submitted: Submitted) -> Found:
    return Found(peer=submitted.peer, addresses=submitted.addresses, source="book")


def _no_node(failures: Sequence[tuple[PeerId, str]], where: str) -> NoNode:
    if not failures:
        return NoNode(f"no node was found: {where}", "name one with --peer, or a way in with --bootstrap")
    reasons = "; ".join(f"{peer}: {reason}" for peer, reason in failures)
    return NoNode(f"no node did the job ({where}): {reasons}", failures=failures)


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

"""The client: finds nodes, has one of them run a job, and hands out only what it has verified."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio
import msgspec

from plasm.errors import PlasmError, one_line
from plasm.jobs.attempts import LOOK_SECONDS, Attempts, InvalidAddress, given
from plasm.jobs.book import Book, Submitted
from plasm.jobs.connections import Connections
from plasm.jobs.conversation import (
    AttemptFailed,
    ConnectionLost,
    Conversation,
    Delivered,
    Expected,
    NodeSilent,
    Report,
    Submission,
    expect,
)
from plasm.jobs.finding import describe_search, finding, topics_for
from plasm.jobs.messages import Accepted, Description
from plasm.jobs.moving import ask_elsewhere
from plasm.jobs.patience import Patience
from plasm.jobs.preference import Preference
from plasm.jobs.probing import Probes
from plasm.jobs.reconnecting import ask_persistently
from plasm.ports import Discovery, Found, PeerId, Transport

T = TypeVar("T")


class UnknownJob(PlasmError):
    """No submission of that id is in the book."""


class NodeUnreachable(NodeSilent):
    """The node that has the job is neither where it was nor anywhere else that was looked."""


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
        patience: Patience | None = None,
    ) -> None:
        self.peer = peer
        self._patience = patience or Patience()
        self._connections = Connections(transports, self._patience)
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

    async def result(self, job_id: str, *, wait: bool, report: Report, peers: Sequence[str] = ()) -> Delivered:
        """The verified result of a job in the book.

        Its node is asked at `peers` (multiaddrs) and where it was last, and looked for where it is not there. Raises
        :exc:`UnknownJob`, :exc:`InvalidAddress`, :exc:`NodeUnreachable` or another :exc:`AttemptFailed`.
        """
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

        return await self._ask_its_node(submitted, ask, report, peers)

    async def cancel(self, job_id: str, *, peers: Sequence[str] = ()) -> bool:
        """Stop a job in the book; whether there was one to stop. As :meth:`result` otherwise."""
        submitted = await self._submitted(job_id)

        async def ask(conversation: Conversation) -> bool:
            return await conversation.cancel(job_id)

        return await self._ask_its_node(submitted, ask, lambda event: None, peers)

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

        async def ask(found: Found) -> None:
            seen(await self.describe(found))

        probes = Probes(ask, self._patience)
        for found in given(peers):
            probes.put(found)
        topics = topics_for(self._runtimes, arch)
        async with finding(self._discoveries, topics, self._log) as nodes, anyio.create_task_group() as tasks:
            tasks.start_soon(probes.run)
            async for found in nodes:
                probes.put(found)

    async def describe(self, found: Found) -> SeenNode:
        """Ask one node what it offers."""

        async def ask(conversation: Conversation) -> tuple[Description, float]:
            await conversation.describe()
            # The first answer paid for the connection; the second one is the way there and back.
            return await conversation.describe()

        try:
            description, latency = await self._reach(ask, found)
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
        attempts = Attempts(attempt, report, self._preference, self._patience)
        if peers:
            return await attempts.among(peers)
        runtimes = (submission.runtime,) if submission.runtime else self._runtimes
        topics = topics_for(runtimes, submission.arch)
        narrowed = {"runtime": submission.runtime, "architecture": submission.arch}
        return await attempts.search(
            self._discoveries,
            topics,
            look_seconds,
            self._log,
            probe=self._probe,
            wanted=" and ".join(f"the {what} {name!a}" for what, name in narrowed.items() if name),
        )

    async def _probe(self, found: Found) -> None:
        """Raises :exc:`AttemptFailed` where `found` does not say what it is."""
        if not self._connections.holds(found.peer):
            await self._reach(Conversation.describe, found)

    async def _reach(self, ask: Callable[[Conversation], Awaitable[T]], found: Found) -> T:
        """What a node answers of which nothing is known: once, and with a deadline for all of it."""
        try:
            with anyio.fail_after(self._patience.reach_seconds):
                return await ask_persistently(self._connections, ask, found, lambda event: None, reconnections=0)
        except TimeoutError:
            raise NodeSilent(f"not reached within {self._patience.reach_seconds:g} s") from None

    async def _ask_its_node(
        self,
        submitted: Submitted,
        ask: Callable[[Conversation], Awaitable[T]],
        report: Report,
        peers: Sequence[str],
    ) -> T:
        """What the node answers that has the job; where it is found is written down."""
        found = _where_it_was(submitted, peers)

        async def ask_at(where: Found) -> T:
            answer = await ask_persistently(self._connections, ask, where, report)
            if where.addresses != submitted.addresses:
                with _book_problems(self._log):
                    await self._book.record(msgspec.structs.replace(submitted, addresses=where.addresses))
            return answer

        try:
            return await self._wherever(ask_at, found, lambda: self._patience.look_again_seconds)
        except ConnectionLost as lost:
            looked = ""
            if self._discoveries:
                seconds = self._patience.look_again_seconds
                looked = f"; looked {seconds:g} s for it by {describe_search(self._discoveries)}"
            raise NodeUnreachable(
                f"node {found.peer} has the job and cannot be reached: {lost.message}{looked}",
                "start it, or name where it is now with --peer, or a way into its network with --bootstrap",
            ) from None

    async def _wherever(
        self, ask_at: Callable[[Found], Awaitable[T]], found: Found, look_seconds: Callable[[], float]
    ) -> T:
        try:
            return await ask_at(found)
        except ConnectionLost as lost:
            return await ask_elsewhere(
                ask_at,
                found,
                lost,
                discoveries=self._discoveries,
                topics=topics_for(self._runtimes, None),
                look_seconds=look_seconds(),
                log=self._log,
            )

    async def _run_on(self, found: Found, submission: Submission, name: str, report: Report) -> Delivered:
        expected = expect(submission, found.peer, self.peer)
        offered = False
        recorded: Found | None = None

        async def ask_at(where: Found) -> Delivered:
            async def ask(conversation: Conversation) -> Delivered:
                nonlocal offered, recorded
                offered = True
                accepted = await conversation.offer(submission, expected, report)
                if recorded != where:
                    await self._record(submission, where, accepted, name)
                    recorded = where
                return await conversation.result(expected, report)

            return await ask_persistently(self._connections, ask, where, report)

        def follow_seconds() -> float:
            """It is looked for where it has the job; else the next node is asked."""
            return 0 if recorded is None else self._patience.follow_seconds

        try:
            with anyio.fail_after(submission.patience_seconds):
                return await self._wherever(ask_at, found, follow_seconds)
        except TimeoutError:
            await self._give_up(recorded or found, expected)
            raise NodeSilent(f"no result within {submission.patience_seconds:.0f} s") from None
        except (anyio.get_cancelled_exc_class(), KeyboardInterrupt):
            if offered:
                await self._give_up(recorded or found, expected)
            raise

    async def _give_up(self, found: Found, expected: Expected) -> None:
        """Nobody waits for the job any longer: its node is told so, if it can be told at once."""
        with (
            anyio.CancelScope(shield=True),
            anyio.move_on_after(self._patience.give_up_seconds),
            contextlib.suppress(AttemptFailed),
        ):

            async def ask(conversation: Conversation) -> bool:
                return await conversation.cancel(expected.job_id)

            await ask_persistently(self._connections, ask, found, lambda event: None, reconnections=0)

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


def _where_it_was(submitted: Submitted, peers: Sequence[str]) -> Found:
    """The node of a job, at `peers` first. Raises :exc:`InvalidAddress` for the address of another one."""
    named = given(peers)
    if others := [each.peer for each in named if each.peer != submitted.peer]:
        raise InvalidAddress(f"{others[0]} does not have job {submitted.job_id}: {submitted.peer} does")
    addresses = [address for each in named for address in each.addresses]
    return Found(
        peer=submitted.peer,
        addresses=tuple(dict.fromkeys((*addresses, *submitted.addresses))),
        source="given" if named else "book",
    )


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

"""One node after another, until one does the job: those that were given, or those that are found."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

import anyio

from plasm.errors import PlasmError
from plasm.identity import InvalidIdentity, peer_of_address
from plasm.jobs.conversation import AttemptFailed, Event, NodeSilent, Report
from plasm.jobs.finding import describe_search, finding
from plasm.jobs.patience import Patience
from plasm.jobs.preference import Candidates, NoPreference, Preference
from plasm.ports import Discovery, Found, PeerId, Topic

T = TypeVar("T")

LOOK_SECONDS = 30.0
_ATTEMPTS_PER_NODE = 2
_MOST_ATTEMPTS = 32
_MOST_FAILURES = 64
"""That are remembered, those of nodes that did not even say what they are included."""
_MOST_NAMED = 3
"""Nodes that failed for one reason, in the message of :exc:`NoNode`; above that they are counted."""


class NoNode(PlasmError):
    """No node did the job: none was found, or each one failed. The message says where was looked and why each did."""

    def __init__(
        self,
        message: str,
        mend: str = "",
        failures: Sequence[tuple[PeerId, str]] = (),
        *,
        silent: bool = False,
        reason: str = "",
    ) -> None:
        super().__init__(message, mend)
        self.failures = tuple(failures)
        self.silent = silent
        """Whether each node that was asked was given up because nothing came from it in time."""
        self.reason = reason
        """As :class:`~plasm.jobs.conversation.AttemptFailed` has it, where all nodes gave the same one."""


class InvalidAddress(PlasmError):
    """Not a multiaddr that ends in ``/p2p/PEER``."""


class Attempts(Generic[T]):
    """Tries nodes with `attempt` and remembers why each one failed."""

    def __init__(
        self,
        attempt: Callable[[Found], Awaitable[T]],
        report: Report,
        preference: Preference | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._attempt = attempt
        self._report = report
        self._preference = preference or NoPreference()
        self._patience = patience or Patience()
        self._failures: list[tuple[PeerId, AttemptFailed]] = []
        self._counts: Counter[PeerId] = Counter()

    async def among(self, peers: Sequence[str]) -> T:
        """What the first of `peers` (multiaddrs) that does the job answers.

        Raises :exc:`NoNode` or :exc:`InvalidAddress`.
        """
        for found in given(peers):
            if done := await self._try(found):
                return done[0]
        raise _no_node(self._failures, f"{len(peers)} given")

    async def search(
        self,
        discoveries: Mapping[str, Discovery],
        topics: Sequence[Topic],
        look_seconds: float,
        log: logging.Logger,
        *,
        probe: Callable[[Found], Awaitable[object]],
        wanted: str = "",
    ) -> T:
        """What the first node that does the job answers, of those found the preferred first.

        Only nodes that answer `probe` are tried, which raises as an attempt does; many are asked that at once. Only
        waiting for nodes counts as looking. `wanted` names what the topics narrow the search to, such as ``the runtime
        wasm3``, for the message where nothing is found.

        Raises :exc:`NoNode`.
        """

        async def reached(found: Found) -> bool:
            # A node that failed gets a second chance under new addresses, and no more.
            if self._counts[found.peer] >= _ATTEMPTS_PER_NODE:
                return False
            try:
                await probe(found)
            except AttemptFailed as error:
                await self._note(found, error)
                return False
            return True

        where = describe_search(discoveries)
        self._report(Event(kind="looking", detail=where))
        async with finding(discoveries, topics, log) as nodes:
            candidates = Candidates(nodes, self._preference, reached, self._patience)
            looked = 0.0
            attempts = 0
            while looked < look_seconds and attempts < _MOST_ATTEMPTS:
                began = anyio.current_time()
                with anyio.move_on_after(look_seconds - looked) as waiting:
                    found = await candidates.next()
                looked += anyio.current_time() - began
                if waiting.cancelled_caught:
                    break
                if self._counts[found.peer] >= _ATTEMPTS_PER_NODE:
                    continue
                attempts += 1
                if done := await self._try(found):
                    await self._preference.answered(found.peer)
                    return done[0]
                candidates.failed(found)
        raise _no_node(self._failures, f"looked {look_seconds:g} s by {where}", wanted)

    async def _note(self, found: Found, error: AttemptFailed) -> None:
        self._report(Event(kind="node_failed", node=found.peer, detail=error.message))
        self._counts[found.peer] += 1
        if len(self._failures) >= _MOST_FAILURES:
            return
        self._failures.append((found.peer, error))
        if isinstance(error, NodeSilent):
            await self._preference.silent(found.peer)
        elif error.blames_node:
            await self._preference.refused(found.peer)

    async def _try(self, found: Found) -> list[T]:
        self._report(Event(kind="found", node=found.peer, detail=found.source))
        self._report(Event(kind="sending", node=found.peer))
        try:
            return [await self._attempt(found)]
        except AttemptFailed as error:
            await self._note(found, error)
            return []


def given(addresses: Sequence[str]) -> list[Found]:
    """The nodes that multiaddrs name, each with all of its addresses. Raises :exc:`InvalidAddress`."""
    by_peer: dict[PeerId, list[str]] = {}
    for address in addresses:
        try:
            by_peer.setdefault(peer_of_address(address), []).append(address)
        except InvalidIdentity as error:
            raise InvalidAddress(f"{address!a}: {error}") from None
    return [Found(peer=peer, addresses=tuple(known), source="given") for peer, known in by_peer.items()]


def _no_node(failures: Sequence[tuple[PeerId, AttemptFailed]], where: str, wanted: str = "") -> NoNode:
    if not failures:
        return NoNode(
            f"no node with {wanted} was found: {where}" if wanted else f"no node was found: {where}",
            f"{'leave --runtime and --arch out, ' if wanted else ''}name one with --peer, or a way in with --bootstrap;"
            " a node does not take its own jobs",
        )
    by_reason: dict[str, dict[PeerId, None]] = {}
    for peer, error in failures:
        by_reason.setdefault(error.message, {})[peer] = None
    reasons = []
    for reason, peers in by_reason.items():
        if len(peers) > _MOST_NAMED:
            reasons.append(f"{len(peers)} nodes: {reason}")
        else:
            reasons += [blame(peer, reason) for peer in peers]
    mends = "; ".join(dict.fromkeys(error.mend for _, error in failures if error.mend))
    words = {error.reason for _, error in failures}
    return NoNode(
        f"no node did the job ({where}): {'; '.join(reasons)}",
        mends,
        failures=[(peer, str(error)) for peer, error in failures],
        silent=all(isinstance(error, NodeSilent) for _, error in failures),
        reason=words.pop() if len(words) == 1 else "",
    )


def blame(peer: PeerId, reason: str) -> str:
    """Who failed and why; a reason that names its node is enough."""
    return reason if peer in reason else f"{peer}: {reason}"

"""Replicas over a job service: nodes in the order of the ledger, each asked by a submission of its own."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import anyio

from plasm.checking.ledger import Ledger, LedgerUnusable
from plasm.checking.quorum import Nodes, Submit
from plasm.checking.selection import in_order
from plasm.checking.standing import Deed, PeerRecord, Standing
from plasm.errors import ungrouped
from plasm.jobs.attempts import NoNode
from plasm.jobs.client import SeenNode
from plasm.jobs.conversation import AttemptFailed, ConnectionLost, Delivered, Report, Submission
from plasm.jobs.manifest import NONCE_BYTES
from plasm.ports import Found, PeerId

GATHER_SECONDS: Final = 2.0
"""For nodes to be found before the best of them is asked; on a local network all answer in much less."""


class Jobs(Protocol):
    """What is asked of a job service here; :class:`plasm.jobservice.JobService` is one."""

    async def submit(
        self, submission: Submission, *, name: str, report: Report, peers: Sequence[str], look_seconds: float
    ) -> Delivered: ...

    async def watch_nodes(
        self, seen: Callable[[SeenNode], None], *, peers: Sequence[str], arch: str | None
    ) -> None: ...


def submit_by(jobs: Jobs, submission: Submission, *, name: str, report: Report) -> Submit:
    """Has one node after another run the job of `submission`, each time under a fresh nonce."""

    async def submit(found: Found) -> Delivered:
        once = replace(submission, nonce=secrets.token_bytes(NONCE_BYTES))
        try:
            return await jobs.submit(once, name=name, report=report, peers=found.addresses, look_seconds=0)
        except NoNode as error:
            reason = error.failures[0][1] if error.failures else error.message
            kind = ConnectionLost if error.silent else AttemptFailed
            raise kind(reason, reason=error.reason) from None

    return submit


@dataclass(frozen=True, kw_only=True)
class Search:
    """What kind of node is looked for, and for how long."""

    arch: str | None = None
    runtime: str | None = None
    look_seconds: float
    enough: int
    """With so many nodes in sight, the best of them is asked at once."""
    gather_seconds: float = GATHER_SECONDS


@asynccontextmanager
async def looking(jobs: Jobs, ledger: Ledger, search: Search, *, random: Callable[[], float]) -> AsyncIterator[Nodes]:
    """Nodes that are found while the block runs: the reliable and near first, another engine before the same again."""
    found = _Looking(ledger, search, random)
    with ungrouped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(found.run, jobs)
            yield found
            tasks.cancel_scope.cancel()


@dataclass
class _Looking:
    ledger: Ledger
    search: Search
    random: Callable[[], float]
    waiting: dict[PeerId, SeenNode] = field(default_factory=dict)
    handed: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=anyio.current_time)
    changed: anyio.Event = field(default_factory=anyio.Event)

    async def run(self, jobs: Jobs) -> None:
        await jobs.watch_nodes(self._seen, peers=(), arch=self.search.arch)

    async def next_node(self) -> Found | None:
        settled = self.began + min(self.search.gather_seconds, self.search.look_seconds)
        deadline = self.began + self.search.look_seconds
        while True:
            now = anyio.current_time()
            if self.waiting and (now >= settled or len(self.waiting) + self.handed.total() >= self.search.enough):
                if (best := await self._best()) is not None:
                    return best
                continue
            until = settled if self.waiting else deadline
            if now >= until:
                return None
            self.changed = anyio.Event()
            with anyio.move_on_after(until - now):
                await self.changed.wait()

    def _seen(self, node: SeenNode) -> None:
        runtime = self.search.runtime
        if node.description is None or (runtime is not None and runtime not in node.description.runtimes):
            return
        self.waiting[node.peer] = node
        self.changed.set()

    async def _best(self) -> Found | None:
        """The one to ask next; ``None`` where all were liars, who are forgotten here."""
        records = await self._records([*self.waiting])
        latencies = {node.peer: node.latency_seconds for node in self.waiting.values() if node.latency_seconds}
        ordered = in_order(records.values(), random=self.random, latencies=latencies)
        for liar in records.keys() - set(ordered):
            del self.waiting[liar]
        if not ordered:
            return None

        def place(peer: PeerId) -> tuple[bool, int, int]:
            contradicted = records[peer].standing is Standing.CONTRADICTED
            return contradicted, self.handed[self._engine(peer)], ordered.index(peer)

        best = min(ordered, key=place)
        self.handed[self._engine(best)] += 1
        node = self.waiting.pop(best)
        await self.ledger.note(best, Deed.ANSWERED, latency_seconds=node.latency_seconds)
        return Found(peer=node.peer, addresses=node.addresses, source=node.source)

    def _engine(self, peer: PeerId) -> str:
        """The runtime that a node takes where none is asked for, as far as it says."""
        description = self.waiting[peer].description
        if self.search.runtime is not None or description is None or not description.runtimes:
            return self.search.runtime or ""
        return description.runtimes[0]

    async def _records(self, peers: Sequence[PeerId]) -> dict[PeerId, PeerRecord]:
        try:
            return {record.peer: record for record in await self.ledger.found(peers)}
        except LedgerUnusable:
            return {peer: PeerRecord(peer=peer) for peer in peers}

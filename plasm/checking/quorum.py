"""Replicas: one job on several nodes, until enough of them give the same result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from plasm.checking.comparing import Answer, Comparison, compare, same_engine, why_it_counts_for_nothing
from plasm.checking.evidence import MAX_AGREEING, EvidenceRefused, make_evidence
from plasm.checking.standing import Deed
from plasm.errors import PlasmError, one_line, ungrouped
from plasm.jobs.conversation import AttemptFailed, Delivered, JobCancelled, NodeSilent
from plasm.ports import Found, PeerId

MAX_REPLICAS: Final = 16
MAX_NODES: Final = 32
"""Nodes that are asked in all for one job, those that failed included."""

Submit = Callable[[Found], Awaitable[Delivered]]
"""Has the job run by that node and returns what was verified as that node's answer. Each call is a submission of its
own, with a nonce of its own. Raises :exc:`~plasm.jobs.conversation.AttemptFailed`; cancelling it gives the job up."""


class Nodes(Protocol):
    """Where the next node comes from: those given, in order, or those found."""

    async def next_node(self) -> Found | None:
        """A node, or ``None`` once there will be no more."""


class Recorder(Protocol):
    """Writes down what peers did; :meth:`plasm.checking.ledger.Ledger.note` does. Raises nothing."""

    async def __call__(self, peer: PeerId, *deeds: Deed) -> None: ...


async def record_nothing(peer: PeerId, *deeds: Deed) -> None:
    """For where no ledger is kept."""


class GivenNodes:
    """Nodes in an order that the caller chose."""

    def __init__(self, nodes: Sequence[Found]) -> None:
        self._nodes = list(nodes)

    async def next_node(self) -> Found | None:
        await anyio.lowlevel.checkpoint()
        return self._nodes.pop(0) if self._nodes else None


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """An answer that counts for nothing, and why."""

    delivered: Delivered
    reason: str


@dataclass(frozen=True, kw_only=True)
class Replicated:
    """What became of the replicas of one job."""

    agreeing: tuple[Delivered, ...] = ()
    """Those whose result is the one that counts, first come first."""
    odd: tuple[Delivered, ...] = ()
    """Those that contradict it, with their receipts."""
    undecided: tuple[Undecided, ...] = ()
    failures: tuple[tuple[PeerId, str], ...] = ()
    evidence: tuple[bytes, ...] = ()
    """A file of evidence for each node that contradicts another one."""
    unchecked: bool = False
    """Whether one node's result was to be held against another's, and there was none to hold it against."""

    @property
    def result(self) -> Delivered:
        """The result that they agree on. Raises :exc:`LookupError` where there is none."""
        if not self.agreeing:
            raise LookupError("there is no result that enough nodes agree on")
        return self.agreeing[0]


class NoQuorum(PlasmError):
    """Not enough nodes gave the same result. `replicated` has what was said by whom, in `odd` and `undecided`."""

    def __init__(self, message: str, mend: str, replicated: Replicated) -> None:
        super().__init__(message, mend)
        self.replicated = replicated


@dataclass
class _Group:
    """Answers that are the same, pairwise."""

    members: list[Delivered] = field(default_factory=list)

    def takes(self, delivered: Delivered) -> bool:
        return all(_compare(member, delivered).answer is Answer.SAME for member in self.members)


async def replicate(
    submit: Submit,
    nodes: Nodes,
    *,
    replicas: int,
    quorum: int,
    record: Recorder = record_nothing,
    most_nodes: int = MAX_NODES,
) -> Replicated:
    """Have `replicas` different nodes run the job at once, until `quorum` of them agree on the result digest.

    A node that fails, contradicts or cannot be compared is replaced by the next one, `most_nodes` in all. What is not
    needed any more is cancelled. Each answer goes to `record`. Raises :exc:`NoQuorum`, and :exc:`ValueError` for
    numbers that cannot be.
    """
    if not 1 <= quorum <= replicas <= MAX_REPLICAS:
        raise ValueError(f"1 ≤ quorum ≤ replicas ≤ {MAX_REPLICAS} does not hold")
    count = _Count(quorum, replicas)
    await _ask_until_decided(submit, nodes, count, most_nodes)
    replicated = count.replicated()
    await _write_down(replicated, count.deeds, record, checked=quorum > 1)
    if not replicated.agreeing:
        raise _no_quorum(replicated, quorum)
    return replicated


class _Count:
    """Counts answers until a quorum is there."""

    def __init__(self, quorum: int, replicas: int) -> None:
        self.quorum = quorum
        self.replicas = replicas
        self.groups: list[_Group] = []
        self.alone: list[Undecided] = []
        self.failures: list[tuple[PeerId, str]] = []
        self.deeds: list[tuple[PeerId, Deed]] = []

    @property
    def best(self) -> _Group:
        return max(self.groups, key=lambda group: len(group.members), default=_Group())

    @property
    def reached(self) -> bool:
        return len(self.best.members) >= self.quorum

    def needs(self, working: int) -> bool:
        """Whether one more node is needed while `working` are at it; not for a job that cannot be compared anyway."""
        return len(self.alone) < self.replicas and len(self.best.members) + working < self.quorum

    def answered(self, delivered: Delivered) -> None:
        self.deeds.append((delivered.node, Deed.ANSWERED))
        if self.quorum > 1 and (reason := why_it_counts_for_nothing(delivered.statement)):
            self.alone.append(Undecided(delivered=delivered, reason=reason))
            return
        for group in self.groups:
            if group.takes(delivered):
                group.members.append(delivered)
                return
        self.groups.append(_Group([delivered]))

    def failed(self, peer: PeerId, error: PlasmError) -> None:
        self.failures.append((peer, one_line(str(error))))
        if isinstance(error, NodeSilent):
            self.deeds.append((peer, Deed.TIMED_OUT))
        elif not isinstance(error, AttemptFailed) or error.blames_node:
            self.deeds.append((peer, Deed.REFUSED))

    def replicated(self) -> Replicated:
        best = self.best if self.reached else _Group()
        agreeing = best.members
        others = [each for group in self.groups if group is not best for each in group.members]
        odd, undecided = [], [*self.alone]
        for delivered in others:
            comparison = _compare(agreeing[0], delivered) if agreeing else None
            if comparison is not None and comparison.answer is Answer.NOT_COMPARABLE:
                undecided.append(Undecided(delivered=delivered, reason=comparison.reason))
            else:
                odd.append(delivered)
        return Replicated(
            agreeing=tuple(agreeing),
            odd=tuple(odd),
            undecided=tuple(undecided),
            failures=tuple(self.failures),
            evidence=tuple(_evidence(agreeing, odd)),
        )


async def _ask_until_decided(submit: Submit, nodes: Nodes, count: _Count, most_nodes: int) -> None:
    asked: set[PeerId] = set()
    working = 0
    one_at_a_time = anyio.Lock()

    async def next_node() -> Found | None:
        async with one_at_a_time:
            while len(asked) < most_nodes:
                found = await nodes.next_node()
                if found is None or found.peer not in asked:
                    return found
        return None

    async def ask(found: Found) -> None:
        try:
            delivered = await submit(found)
            if delivered.node != found.peer:
                raise AttemptFailed("the answer is another node's")
            count.answered(delivered)
        except (AttemptFailed, JobCancelled) as error:
            count.failed(found.peer, error)

    async def keep_asking(tasks: TaskGroup) -> None:
        """One replica: a node, and the next one for as long as its answer was not enough."""
        nonlocal working
        while found := await next_node():
            asked.add(found.peer)
            working += 1
            await ask(found)
            working -= 1
            if count.reached:
                tasks.cancel_scope.cancel()
            if not count.needs(working):
                return

    with ungrouped():
        async with anyio.create_task_group() as tasks:
            for _ in range(count.replicas):
                tasks.start_soon(keep_asking, tasks)


async def _write_down(
    replicated: Replicated, deeds: Sequence[tuple[PeerId, Deed]], record: Recorder, *, checked: bool
) -> None:
    by_peer: dict[PeerId, list[Deed]] = {}
    for peer, deed in deeds:
        by_peer.setdefault(peer, []).append(deed)
    if checked:
        # One answer alone, with nothing beside it, decides nothing: it was answered and no more.
        for delivered in replicated.agreeing:
            by_peer[delivered.node].append(Deed.AGREED)
        for delivered in replicated.odd:
            by_peer[delivered.node].append(_deed_of_an_odd_one(delivered, replicated.agreeing))
        for undecided in replicated.undecided:
            by_peer[undecided.delivered.node].append(Deed.UNDECIDED)
    for peer, done in by_peer.items():
        await record(peer, *done)


def _deed_of_an_odd_one(odd: Delivered, agreeing: Sequence[Delivered]) -> Deed:
    if not agreeing:
        return Deed.UNDECIDED
    engine = odd.statement.predicate.engine
    alike = any(same_engine(engine, each.statement.predicate.engine) for each in agreeing)
    return Deed.CONTRADICTED if alike else Deed.DIFFERED


def _evidence(agreeing: Sequence[Delivered], odd: Sequence[Delivered]) -> list[bytes]:
    files = []
    if agreeing:
        beside = [each.receipt for each in agreeing[1 : 1 + MAX_AGREEING]]
        pairs = [(agreeing[0], each, beside) for each in odd]
    else:
        pairs = [
            (other, each, [])
            for place, each in enumerate(odd)
            for other in [one for one in odd[:place] if _compare(one, each).answer is Answer.DIFFERENT][:1]
        ]
    for one, other, third in pairs:
        try:
            files.append(make_evidence(one.receipt, other.receipt, third))
        except EvidenceRefused:
            # Two that do not contradict each other, or a third that cannot be compared with both.
            continue
    return files


def _compare(one: Delivered, other: Delivered) -> Comparison:
    return compare(one.statement, other.statement)


def _no_quorum(replicated: Replicated, quorum: int) -> NoQuorum:
    said = [f"{each.node} said {each.statement.predicate.result_digest}" for each in replicated.odd]
    said += [f"{each.delivered.node} counts for nothing: {each.reason}" for each in replicated.undecided]
    said += [f"{peer} failed: {reason}" for peer, reason in replicated.failures]
    return NoQuorum(
        f"no {quorum} nodes agree: {'; '.join(said) or 'no node was found'}",
        "name more nodes with --peer, or ask for a smaller --quorum",
        replicated,
    )

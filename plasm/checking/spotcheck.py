"""Spot checks: the result of a peer that is not trusted, or whose turn it is, is held against another node's."""

from __future__ import annotations

from collections.abc import Callable

from plasm.checking.comparing import BOUND_TO_THE_ENGINE, compare, why_it_counts_for_nothing
from plasm.checking.ledger import Ledger, LedgerUnusable
from plasm.checking.quorum import Nodes, NoQuorum, Replicated, Submit, Undecided, replicate
from plasm.checking.standing import PeerRecord, needs_check
from plasm.jobs.conversation import Delivered
from plasm.ports import Found

_CHECKED = 2


class _Ahead:
    """Nodes with one put back in front."""

    def __init__(self, first: Found | None, rest: Nodes) -> None:
        self._first = first
        self._rest = rest

    async def next_node(self) -> Found | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._rest.next_node()


async def submit_checked(submit: Submit, nodes: Nodes, *, ledger: Ledger, random: Callable[[], float]) -> Replicated:
    """The result of the first of `nodes`, checked by a second one where :func:`needs_check` says so.

    A check that cannot be made, because there is no second node or nothing can be compared, costs the check and not
    the result: then there is one in `agreeing`, which is one that another node could be held against if there is such,
    every other answer is in `undecided`, and nothing was written down in favour of any. Two results that contradict
    each other are decided by further nodes, and are :exc:`NoQuorum` where there are none; so is no result. `random`
    gives numbers from 0 up to 1.
    """
    first = await nodes.next_node()
    number = _CHECKED if first is None or needs_check(await _record(ledger, first), random) else 1
    try:
        return await replicate(submit, _Ahead(first, nodes), replicas=number, quorum=number, record=ledger.note)
    except NoQuorum as error:
        unchecked = _unchecked(error.replicated)
        if unchecked is None:
            raise
        return unchecked


def _unchecked(replicated: Replicated) -> Replicated | None:
    """What is handed out where nothing could be compared; ``None`` where nothing may be."""
    answers = [*replicated.odd, *(each.delivered for each in replicated.undecided)]
    if not answers or replicated.evidence:
        return None
    chosen = min(answers, key=_worth)
    beside = [
        Undecided(delivered=each, reason=compare(chosen.statement, each.statement).reason)
        for each in replicated.odd
        if each is not chosen
    ]
    return Replicated(
        agreeing=(chosen,), undecided=(*replicated.undecided, *beside), failures=replicated.failures, unchecked=True
    )


def _worth(delivered: Delivered) -> int:
    """First what any other node can be held against, then what one of the same engine can, then the rest."""
    if why_it_counts_for_nothing(delivered.statement):
        return 2
    return int(delivered.statement.predicate.verdict in BOUND_TO_THE_ENGINE)


async def _record(ledger: Ledger, found: Found) -> PeerRecord:
    try:
        return await ledger.find(found.peer)
    except LedgerUnusable:
        # A disk that gives nothing back makes a peer unknown, and costs no job.
        return PeerRecord(peer=found.peer)

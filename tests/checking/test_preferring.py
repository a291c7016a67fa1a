"""A search asks the reliable and near first, gives the unknown a share, and never asks a liar."""

from __future__ import annotations

import logging

import anyio
import pytest

from plasm.checking.ledger import Ledger, open_ledger
from plasm.checking.preferring import LedgerPreference
from plasm.checking.standing import TRUSTED_AFTER, Deed
from plasm.jobs.preference import Candidates, NoPreference
from plasm.ports import Found
from plasm.testing import FakeSigner

pytestmark = pytest.mark.anyio
LOG = logging.getLogger("plasm.tests")
A, B, C = (Found(peer=FakeSigner(seed).peer, addresses=(f"/memory/{seed}",), source="test") for seed in (1, 2, 3))


def never() -> float:
    """A draw that gives no place to the unknown before the trusted."""
    return 0.99


async def reached(found: Found) -> bool:
    """Everybody answers."""
    return True


async def trusted(ledger: Ledger, found: Found, latency_seconds: float = 0.1) -> None:
    await ledger.record(found.peer, *[Deed.AGREED] * TRUSTED_AFTER, Deed.ANSWERED, latency_seconds=latency_seconds)


async def test_the_trusted_come_before_the_unknown_and_the_near_before_the_far() -> None:
    async with open_ledger(None, LOG) as ledger:
        await trusted(ledger, B, latency_seconds=0.2)
        await trusted(ledger, C, latency_seconds=0.1)
        assert await LedgerPreference(ledger, never).order([A, B, C]) == [C, B, A]


async def test_a_liar_is_not_asked() -> None:
    async with open_ledger(None, LOG) as ledger:
        await ledger.record(A.peer, Deed.LIED)
        assert await LedgerPreference(ledger, never).order([A, B]) == [B]
        assert await LedgerPreference(ledger, never).order([A]) == []


async def test_what_a_node_did_stands_in_the_ledger() -> None:
    async with open_ledger(None, LOG) as ledger:
        preference = LedgerPreference(ledger, never)
        await preference.answered(A.peer)
        await preference.silent(A.peer)
        await preference.refused(A.peer)
        await preference.refused(A.peer)
        record = await ledger.find(A.peer)
        assert (record.answered, record.timed_out, record.refused) == (1, 1, 2)


async def test_of_the_nodes_that_turn_up_together_the_preferred_is_asked_first() -> None:
    send, receive = anyio.create_memory_object_stream[Found](8)
    async with open_ledger(None, LOG) as ledger:
        await trusted(ledger, C)
        await ledger.record(B.peer, Deed.LIED)
        with send, receive:
            for found in (A, B, C):
                send.send_nowait(found)
            candidates = Candidates(receive, LedgerPreference(ledger, never), reached)
            assert [await candidates.next(), await candidates.next()] == [C, A]


async def test_without_a_preference_nodes_are_asked_as_they_are_found() -> None:
    send, receive = anyio.create_memory_object_stream[Found](8)
    with send, receive:
        for found in (B, A):
            send.send_nowait(found)
        candidates = Candidates(receive, NoPreference(), reached)
        assert [await candidates.next(), await candidates.next()] == [B, A]
        send.send_nowait(C)
        assert await candidates.next() == C

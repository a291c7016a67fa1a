"""Replicas over a job service: the order of the ledger, different engines, fresh nonces, bounded looking."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from plasm.checking.asking import Jobs, Search, looking, submit_by
from plasm.checking.ledger import Ledger, open_ledger
from plasm.checking.quorum import Nodes, replicate
from plasm.checking.standing import TRUSTED_AFTER, Deed
from plasm.jobs.attempts import NoNode
from plasm.jobs.client import SeenNode
from plasm.jobs.conversation import AttemptFailed, ConnectionLost, Delivered, Submission
from plasm.jobs.messages import Description
from plasm.ports import Found
from tests.checking.said import SUBMISSION, answer, found, node

pytestmark = pytest.mark.anyio
LOG = logging.getLogger("plasm.tests")


def describe(*runtimes: str) -> Description:
    return Description(
        software="plasm/0",
        arch="x86_64",
        runtimes=runtimes,
        slots=2,
        free=2,
        queued=0,
        memory_mb=512,
        max_timeout_seconds=60,
    )


def sees(number: int, *runtimes: str, latency: float = 0.1) -> SeenNode:
    place = found(number)
    return SeenNode(
        peer=place.peer,
        addresses=place.addresses,
        source="static",
        description=describe(*(runtimes or ("wasmtime",))),
        latency_seconds=latency,
    )


class Service:
    """A job service in which a test says who is found and what comes of asking."""

    def __init__(self, *seen: SeenNode, reason: str | None = None, silent: bool = False) -> None:
        self.seen = seen
        self.reason = reason
        self.silent = silent
        self.submissions: list[Submission] = []
        self.asked: list[str] = []
        self.later: Callable[[], object] = anyio.sleep_forever

    async def submit(self, submission, *, name, report, peers, look_seconds) -> Delivered:
        await anyio.lowlevel.checkpoint()
        number = next(number for number in range(1, 30) if peers == found(number).addresses)
        self.submissions.append(submission)
        self.asked.append(peers[0])
        if self.reason is not None:
            raise NoNode("no node did the job", failures=[(node(number), self.reason)], silent=self.silent)
        return answer(by=number)

    async def watch_nodes(self, seen, *, peers, arch) -> None:
        for each in self.seen:
            seen(each)
            await anyio.lowlevel.checkpoint()
        await anyio.sleep_forever()


def check_it_is_a_service(service: Service) -> Jobs:
    return service


@asynccontextmanager
async def searching(
    service: Service, ledger: Ledger, *, enough: int = 99, look: float = 0.05, gather: float = 0.03, **search: object
) -> AsyncIterator[Nodes]:
    about = Search(look_seconds=look, enough=enough, gather_seconds=gather, **search)
    with anyio.fail_after(10):
        async with looking(service, ledger, about, random=lambda: 0.5) as nodes:
            yield nodes


async def peers_in_order(nodes: Nodes) -> list[str]:
    order = []
    while (each := await nodes.next_node()) is not None:
        order.append(each.peer)
    return order


async def test_each_node_is_asked_under_a_nonce_of_its_own():
    service = Service()
    submit = submit_by(service, SUBMISSION, name="x", report=lambda event: None)
    assert (await submit(found(1))).node == node(1)
    await submit(found(2))
    nonces = {each.nonce for each in service.submissions}
    assert len(nonces | {SUBMISSION.nonce}) == 3
    assert all(each.job == SUBMISSION.job for each in service.submissions)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no sign of life for 30 s", ConnectionLost),
        ("the connection was lost: reset", ConnectionLost),
        ("no result within 780 s", ConnectionLost),
        ("rejected: QueueFull ()", AttemptFailed),
    ],
)
async def test_a_node_that_was_waited_for_in_vain_is_told_from_one_that_refused(reason, kind):
    service = Service(reason=reason, silent=kind is ConnectionLost)
    submit = submit_by(service, SUBMISSION, name="x", report=lambda event: None)
    with pytest.raises(AttemptFailed, match=reason.split("(")[0]) as caught:
        await submit(found(1))
    assert type(caught.value) is kind


async def test_the_trusted_and_near_come_first_and_the_contradicted_last():
    service = Service(sees(1), sees(2, latency=0.3), sees(3, latency=0.1), sees(4, latency=0.001))
    async with open_ledger(None, LOG) as ledger:
        await ledger.record(node(2), *[Deed.AGREED] * TRUSTED_AFTER)
        await ledger.record(node(3), *[Deed.AGREED] * TRUSTED_AFTER)
        await ledger.record(node(4), Deed.CONTRADICTED)
        async with searching(service, ledger) as nodes:
            assert await peers_in_order(nodes) == [node(3), node(2), node(1), node(4)]


async def test_liars_are_not_asked():
    service = Service(sees(1), sees(2))
    async with open_ledger(None, LOG) as ledger:
        await ledger.record(node(1), *[Deed.AGREED] * TRUSTED_AFTER, Deed.LIED)
        async with searching(service, ledger) as nodes:
            assert await peers_in_order(nodes) == [node(2)]


async def test_another_engine_comes_before_the_same_again():
    service = Service(sees(1, latency=0.01), sees(2, latency=0.02), sees(3, "wasmer", latency=0.9))
    async with open_ledger(None, LOG) as ledger:
        for number in (1, 2, 3):
            await ledger.record(node(number), *[Deed.AGREED] * TRUSTED_AFTER)
        async with searching(service, ledger) as nodes:
            assert await peers_in_order(nodes) == [node(1), node(3), node(2)]


async def test_only_nodes_that_answered_and_have_the_runtime_are_asked():
    silent = SeenNode(peer=node(1), addresses=found(1).addresses, source="static", problem="unreachable")
    service = Service(silent, sees(2, "wasmtime"), sees(3, "wasmer", "wasmtime"))
    async with open_ledger(None, LOG) as ledger, searching(service, ledger, runtime="wasmer") as nodes:
        assert await peers_in_order(nodes) == [node(3)]


async def test_with_enough_in_sight_nobody_waits():
    service = Service(sees(1), sees(2))
    async with open_ledger(None, LOG) as ledger, searching(service, ledger, enough=2, look=60, gather=60) as nodes:
        assert isinstance(await nodes.next_node(), Found)
        assert isinstance(await nodes.next_node(), Found)


async def test_where_only_liars_are_found_looking_ends_too():
    async with open_ledger(None, LOG) as ledger:
        await ledger.record(node(1), Deed.LIED)
        async with searching(Service(sees(1)), ledger) as nodes:
            assert await peers_in_order(nodes) == []


async def test_looking_for_nobody_ends():
    async with open_ledger(None, LOG) as ledger, searching(Service(), ledger) as nodes:
        assert await peers_in_order(nodes) == []


async def test_a_round_trip_that_was_measured_is_written_down():
    async with open_ledger(None, LOG) as ledger:
        async with searching(Service(sees(1, latency=0.25)), ledger) as nodes:
            await nodes.next_node()
        record = await ledger.find(node(1))
    assert (record.answered, record.latency_seconds) == (1, 0.25)


async def test_a_quorum_among_found_nodes():
    service = Service(sees(1), sees(2), sees(3))
    async with open_ledger(None, LOG) as ledger:
        async with searching(service, ledger) as nodes:
            submit = submit_by(service, SUBMISSION, name="x", report=lambda event: None)
            done = await replicate(submit, nodes, replicas=2, quorum=2, record=ledger.note)
        assert len(done.agreeing) == 2
        assert [(await ledger.find(each.node)).agreed for each in done.agreeing] == [1, 1]

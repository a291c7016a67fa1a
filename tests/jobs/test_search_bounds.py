"""A search for a node ends, whatever the discovery and those whom it finds do."""

from __future__ import annotations

import logging

import anyio
import pytest

from plasm.jobs.attempts import NoNode
from plasm.jobs.book import Book
from plasm.jobs.client import Client, open_client
from plasm.ports import Found
from plasm.testing import FakeSigner, MemoryNetwork, open_memory_transport
from tests.jobs.world import ignore, submission

pytestmark = pytest.mark.anyio

GONE = FakeSigner(77).peer


class Restless:
    """Finds one node that is not there, under another address each time."""

    def __init__(self) -> None:
        self.told = 0

    async def advertise(self, topic, addresses, properties, *, task_status) -> None:
        task_status.started()

    async def find(self, topic, found) -> None:
        while True:
            self.told += 1
            await found.send(Found(GONE, (f"/memory/{self.told}/p2p/{GONE}",), "restless"))
            await anyio.lowlevel.checkpoint()


class Broken:
    """A discovery that does not keep to its port."""

    async def find(self, topic, found) -> None:
        raise RuntimeError("\x1b[31mnot what the port says")


async def search(discovery, look_seconds: float = 1.0) -> NoNode:
    signer = FakeSigner(100)
    async with (
        open_memory_transport(MemoryNetwork(), signer, listen=False) as transport,
        open_client(
            Client(
                peer=signer.peer,
                transports=[transport],
                discoveries={"odd": discovery},
                runtimes=("scripted",),
                book=Book(None),
                log=logging.getLogger("plasm.tests"),
            )
        ) as client,
    ):
        with pytest.raises(NoNode) as caught:
            await client.submit(submission(), name="x", report=ignore, look_seconds=look_seconds)
    return caught.value


async def test_a_node_that_fails_under_ever_new_addresses_is_tried_twice_at_most():
    with anyio.fail_after(10):
        ended = await search(Restless())
    assert 1 <= len(ended.failures) <= 2
    assert {peer for peer, _ in ended.failures} == {GONE}


async def test_a_discovery_that_breaks_costs_what_it_would_have_found_and_nothing_else(caplog):
    with anyio.fail_after(10):
        ended = await search(Broken(), look_seconds=0.1)
    assert ended.failures == ()
    assert "odd broke while it looked" in caplog.text
    assert "\x1b" not in caplog.messages[0]

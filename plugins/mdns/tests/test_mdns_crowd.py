"""A link on which one machine announces any number of providers."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from plasm_mdns.discovery import Mdns
from plasm_mdns.hooks import MdnsOptions
from plasm_mdns.mailbox import Mailbox
from plasm_mdns.records import announcement, instance_name

from plasm.drivers import Scope
from plasm.ports import CapabilityTopic, Found

TOPIC = CapabilityTopic("x86_64", "wasmtime")
Appeared = Callable[[str, bytes], None]


class Link:
    """In the place of the engine: records are what a test says they are."""

    def __init__(self) -> None:
        self.appeared: Appeared | None = None
        self.browsed = anyio.Event()

    @asynccontextmanager
    async def browse(self, service: str, appeared: Appeared, gone: Callable[[str], None]) -> AsyncIterator[None]:
        self.appeared = appeared
        self.browsed.set()
        yield

    def announce(self, identity: Any, host: str) -> None:
        record = announcement(TOPIC, identity.peer, [identity.address(host=f"/ip4/{host}")], {}, lambda ip: True)
        assert record is not None
        assert self.appeared is not None
        self.appeared(instance_name(TOPIC, identity.peer), record.text)


@pytest.mark.anyio
async def test_a_machine_that_announces_many_costs_no_other_its_place(identity: Any) -> None:
    link = Link()
    scope = Scope(home=None, allows=lambda ip: True, log=logging.getLogger("test"))
    mdns = Mdns(link, identity(255).peer, scope, MdnsOptions(max_found=8))  # type: ignore[arg-type]
    send, receive = anyio.create_memory_object_stream[Found](1000)
    honest = identity(0)
    async with send, receive, anyio.create_task_group() as tasks:
        tasks.start_soon(mdns.find, TOPIC, send)
        with anyio.fail_after(5):
            await link.browsed.wait()
            link.announce(honest, "192.0.2.7")
            assert (await receive.receive()).peer == honest.peer
            for number in range(1, 101):
                link.announce(identity(number), "198.51.100.1")
            # It is still remembered, and so not reported as new.
            link.announce(honest, "192.0.2.7")
            link.announce(honest, "192.0.2.8")
            while (found := await receive.receive()).peer != honest.peer:
                pass
            assert "192.0.2.8" in found.addresses[0]
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_which_letter_a_flood_pushes_out_of_a_mailbox_cannot_be_foreseen(identity: Any) -> None:
    kept = set()
    for _ in range(30):
        mailbox = Mailbox(8)
        for number in range(9):
            mailbox.put(str(number), Found(identity(number).peer, (), "mdns"))
        kept.add(identity(0).peer in {found.peer for found in await mailbox.receive()})
        mailbox.close()
    assert kept == {True, False}

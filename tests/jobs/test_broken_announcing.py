"""A driver that raises something of its own while it announces or sweeps ends nothing but that attempt."""

from __future__ import annotations

import anyio
import pytest

from plasm.testing import DictStore, StaticDiscovery
from tests.jobs.world import ignore, submission, until

pytestmark = pytest.mark.anyio


async def test_a_node_outlives_a_discovery_that_breaks(world, monkeypatch, caplog):
    async def breaks(*args: object, **keywords: object) -> None:
        raise ZeroDivisionError("x" * 1000)

    monkeypatch.setattr(StaticDiscovery, "advertise", breaks)
    with anyio.fail_after(10):
        async with world.node() as standing, world.client() as client:
            await until(lambda: "announced this node" in caplog.text)
            await client.submit(submission(), name="x", report=ignore, peers=[standing.address])
    assert "x" * 400 not in caplog.text


async def test_a_node_outlives_a_store_that_breaks_while_it_is_swept(world, caplog):
    class Broken(DictStore):
        def entries(self):
            raise ZeroDivisionError("x" * 1000)

    with anyio.fail_after(10):
        async with world.node(stores=[Broken()]) as standing, world.client() as client:
            await until(lambda: "sweeping: a driver broke" in caplog.text)
            await client.submit(submission(), name="x", report=ignore, peers=[standing.address])
    assert "x" * 400 not in caplog.text

"""What is logged of a failure is one short line, whatever bytes of a peer are in it."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from plasm_libp2p.failures import LONGEST_LINE, one_line

from plasm.ports import Stream, StreamBroken

pytestmark = pytest.mark.anyio
FORGED = "x\n2026-01-01 ERROR forged\x1b[2J"


def formatted(records: list[logging.LogRecord], least: int) -> list[str]:
    """Each record of the node as a handler writes it, traceback included."""
    formatter = logging.Formatter()
    return [formatter.format(r) for r in records if r.levelno >= least and r.name.startswith("plasm.")]


def test_a_failure_is_told_in_one_short_line() -> None:
    assert one_line(ValueError("bad")) == "ValueError: 'bad'"
    told = one_line(ValueError(FORGED + "y" * 10_000))
    assert told.isprintable()
    assert len(told) <= LONGEST_LINE + 50


def test_a_failure_in_a_group_is_told_instead_of_the_group() -> None:
    assert one_line(ExceptionGroup("tasks", [ExceptionGroup("more", [ValueError("bad")])])) == "ValueError: 'bad'"


async def test_a_handler_that_quotes_a_peer_cannot_forge_a_line(net: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def quotes(stream: Stream) -> None:
        raise ValueError((await stream.receive()).decode())

    caplog.set_level(logging.DEBUG, "plasm")
    async with net.echoing() as server, net.transport(()) as client, anyio.create_task_group() as tasks:
        await tasks.start(server.serve, "/phase/quotes/1", quotes)
        stream = await client.open_stream(server.peer, server.addresses, "/phase/quotes/1")
        await stream.send(FORGED.encode())
        with pytest.raises(StreamBroken), anyio.fail_after(5):
            await stream.receive()
        tasks.cancel_scope.cancel()
    warnings = formatted(caplog.records, logging.WARNING)
    assert len(warnings) == 1
    assert "ValueError" in warnings[0]
    assert warnings[0].isprintable()
    assert any("Traceback" in line for line in formatted(caplog.records, logging.DEBUG))


async def test_a_handler_of_the_library_that_quotes_a_peer_cannot_either(
    net: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with net.echoing() as server, net.transport(()) as client:

        async def quotes(stream: Any) -> None:
            raise ValueError(FORGED)

        server.swarm.set_stream_handler(quotes)
        connection = await client.swarm.dial(server.host.get_id(), server.addresses)
        await connection.open_stream()
        await net.eventually(lambda: bool(formatted(caplog.records, logging.WARNING)))
    assert all("ValueError" in line and line.isprintable() for line in formatted(caplog.records, logging.WARNING))


async def test_a_connection_that_fails_on_a_bug_is_told_in_one_line(net: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with net.echoing() as server, net.transport(()) as client:
        await net.answers(client, server)

        def fails(*arguments: Any) -> bool:
            raise ValueError(FORGED)

        server.swarm.live(client.host.get_id())._stream_frame = fails
        connection = await client.swarm.dial(server.host.get_id(), server.addresses)
        await connection.open_stream()
        with anyio.fail_after(5):
            await connection.event_closed.wait()
        await net.eventually(lambda: bool(formatted(caplog.records, logging.WARNING)))
    assert all("ValueError" in line and line.isprintable() for line in formatted(caplog.records, logging.WARNING))

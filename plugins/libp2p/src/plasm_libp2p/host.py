"""py-libp2p's host, with answers of our own where a stranger could keep it busy.

* Negotiation of inbound streams is :func:`plasm_libp2p.negotiation.answer`.
* Identify and ping are answered here. py-libp2p writes the identify message anew for each question, waits half a second
  for addresses that a client never has, reads a thousand addresses of a stranger with a parser that takes milliseconds
  for them, and needs ten checkpoints for a ping.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from typing import cast

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost
from libp2p.host.ping import ID as PING
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.peer.id import ID
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from plasm.ports import TransportError
from plasm_libp2p.identification import Description, identify, learn, read_description
from plasm_libp2p.muxed_stream import YamuxStream
from plasm_libp2p.negotiation import NotSpoken, answer
from plasm_libp2p.peers import PeerBook
from plasm_libp2p.swarm import PhaseSwarm

NEGOTIATION_SECONDS = 10.0
ANSWER_SECONDS = 10.0
"""For an identify message to be sent or to arrive."""
IDLE_PING_SECONDS = 60.0
PING_BYTES = 4096
"""Echoed at once."""
PING_UNITS = 100
ANSWER_UNITS = 15
"""What answering costs beyond the stream itself, in units of :mod:`plasm_libp2p.budget`."""
BYTES_OF_UNIT = 128
"""Of what a peer says of itself: reading 36 KiB of protocols and addresses takes 190 units."""


class PhaseHost(BasicHost):
    """The host of one node."""

    def __init__(
        self, swarm: PhaseSwarm, book: PeerBook, addresses: Callable[[], Sequence[str]], log: logging.Logger
    ) -> None:
        def advertised(_candidates: list[Multiaddr]) -> list[Multiaddr]:
            return [Multiaddr(address) for address in addresses()]

        super().__init__(swarm, addrs_factory=advertised, disable_identify_address_discovery=True)
        self.description = Description(self, addresses)
        self._swarm = swarm
        self._book = book
        self._log = log
        self.set_stream_handler(IDENTIFY, self._answer_identify)
        self.set_stream_handler(ID_PUSH, self._take_push)
        self.set_stream_handler(PING, self._answer_pings)

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        stream = _muxed(net_stream)
        handlers = self.multiselect.handlers
        try:
            with trio.fail_after(NEGOTIATION_SECONDS):
                protocol = TProtocol(await answer(stream, cast(Container[str], handlers)))
        except (NotSpoken, BaseLibp2pError, trio.TooSlowError) as error:
            self._log.debug("no protocol of a stream of %s: %s", stream.muxed_conn.peer_id, error or "too slow")
            stream.abandon()
            return
        handler = handlers.get(protocol)
        if handler is None:
            stream.abandon()
            return
        net_stream.set_protocol(protocol)
        await handler(net_stream)

    async def _identify_peer(self, peer_id: ID, *, reason: str) -> None:
        connection = self._swarm.live(peer_id)
        if connection is None:
            return
        try:
            await identify(self._book, connection)
        except TransportError as error:
            self._log.debug("%s", error)

    async def _answer_identify(self, net_stream: INetStream) -> None:
        stream = _muxed(net_stream)
        try:
            with trio.move_on_after(ANSWER_SECONDS):
                await stream.muxed_conn.charge(ANSWER_UNITS)
                await stream.send(self.description.message(stream.get_remote_address()))
        except BaseLibp2pError:
            stream.abandon()
            return
        stream.leave()

    async def _take_push(self, net_stream: INetStream) -> None:
        stream = _muxed(net_stream)
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await stream.muxed_conn.charge(ANSWER_UNITS)
                pushed = await read_description(stream)
        except (TransportError, BaseLibp2pError, trio.TooSlowError) as error:
            self._log.debug("no identify message of %s: %s", stream.muxed_conn.peer_id, error or "too slow")
            stream.abandon()
            return
        learn(self._book, stream.muxed_conn.peer_id, pushed)
        units = pushed.ByteSize() // BYTES_OF_UNIT
        # A message takes ten times its bytes, and many may wait here. Their streams count until they have.
        del pushed
        with suppress(BaseLibp2pError):
            await stream.muxed_conn.charge(units)
        stream.leave()

    async def _answer_pings(self, net_stream: INetStream) -> None:
        stream = _muxed(net_stream)
        try:
            while True:
                with trio.fail_after(IDLE_PING_SECONDS):
                    data = await stream.receive(PING_BYTES)
                    if not data:
                        break
                    await stream.send(data)
                await stream.muxed_conn.charge(PING_UNITS)
        except (BaseLibp2pError, trio.TooSlowError):
            stream.abandon()
            return
        stream.leave()


def _muxed(net_stream: INetStream) -> YamuxStream:
    muxed = getattr(net_stream, "muxed_stream", None)
    if not isinstance(muxed, YamuxStream):
        raise TypeError("only over this transport's own multiplexer")
    return muxed

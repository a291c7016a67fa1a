"""Connections: py-libp2p's Swarm where it is sound, and other ways where it is not.

Every use of what py-libp2p does not promise to keep stands in this module, in :mod:`plasm_libp2p.noise` (the keys that
a handshake agreed on) and nowhere else; the tests of each fail when it moves. What is done differently, and why:

* Dialing. The Swarm tries one address for each kind of transport, waits 250 ms even after it succeeded, and refuses a
  peer for a minute. :meth:`PhaseSwarm.dial` tries all, one by one, each with a deadline, and remembers no failure.
* Accepting. The Swarm holds one of 250 slots for every inbound connection until it is closed itself, listens with
  SO_REUSEPORT (two nodes share a port without a word) and lets silent connections fill all slots.
* Multiplexing. Its upgrader always takes its own Yamux, whatever it was given.
* Handlers. What a stream handler raises ends the whole Swarm.
* Connecting on its own. The Swarm dials whoever is in the peer store until half its limit is reached.
* Logging. It writes peers' bytes to stderr as they came.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, IPeerStore, ISecureConn
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.transport.exceptions import MuxerUpgradeFailure
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from plasm.drivers import AddressFilter
from plasm.ports import AddressRefused
from plasm.shares import Places, origin_of
from plasm_libp2p.addresses import TcpAddress, parse, resolve
from plasm_libp2p.budget import HANDSHAKE_UNITS, LoopBudget
from plasm_libp2p.failures import warn
from plasm_libp2p.hooks import Libp2pOptions
from plasm_libp2p.noise import NoiseSecurity, WrongPeer
from plasm_libp2p.wire import WireConnection
from plasm_libp2p.yamux import YamuxConnection

YAMUX = TProtocol("/yamux/1.0.0")
SILENT_SECONDS = 0.3
"""After which a connection that has said nothing makes room before others: whoever dials speaks first, and at once."""
IDLE_SECONDS = 5.0
"""A connection without streams is idle from then on; one that just came up is about to get its first."""
HANDSHAKE_SECONDS = 10.0
"""For an inbound connection to prove who it is; a busy machine on a slow link needs about one."""
QUIET_SECONDS = 60.0
"""A connection with streams on which nothing moved for this long may make room as one without."""
MOST_ADDRESSES = 16
"""Of one peer that are tried, and that this transport can dial."""


def quiet_library() -> None:
    """Keep py-libp2p's log to itself, unless ``LIBP2P_DEBUG`` asks for it: it has peers' bytes in it as they came."""
    if not os.environ.get("LIBP2P_DEBUG"):
        logging.getLogger("libp2p").setLevel(logging.CRITICAL + 1)


class PassiveConnector(AutoConnector):
    """Dials nobody."""

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        await trio.lowlevel.checkpoint()

    async def maybe_connect(self) -> None:
        await trio.lowlevel.checkpoint()


class Upgrader(TransportUpgrader):
    """Noise and our own Yamux, and nothing else."""

    def __init__(self, security: NoiseSecurity, log: logging.Logger) -> None:
        super().__init__({NOISE: security}, {YAMUX: YamuxConnection})
        self._log = log
        self.budget = LoopBudget()

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        try:
            await self.muxer_multistream.select_transport(conn)
        except (MultiselectError, MultiselectClientError) as error:
            raise MuxerUpgradeFailure("no common multiplexer") from error
        return YamuxConnection(conn, peer_id, self._log, self.budget)


class AnotherPeer(SwarmException):
    """Where a peer was dialed another one is."""


def _who_answered(error: BaseException) -> str | None:
    """Whose key a handshake met that failed for that alone."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, WrongPeer):
            return cause.answered
        cause = cause.__cause__
    return None


class PhaseSwarm(Swarm):
    """The Swarm of one node."""

    def __init__(
        self,
        peer: ID,
        peerstore: IPeerStore,
        upgrader: Upgrader,
        allows: AddressFilter,
        options: Libp2pOptions,
        log: logging.Logger,
    ) -> None:
        # `add_conn` keeps the limit that counts, so that the Swarm's own never has to.
        most = 2 * options.max_connections
        config = ConnectionConfig(max_connections=most, high_watermark=most, low_watermark=0, min_connections=0)
        super().__init__(peer, peerstore, upgrader, transports=[], connection_config=config)
        self.auto_connector = PassiveConnector(self, auto_connect_interval=config.auto_connect_interval)
        self._allows = allows
        self._options = options
        self._log = log
        self._dialing: dict[ID, trio.Lock] = {}
        self._handshakes: Places[WireConnection] = Places(options.max_handshakes)
        self._budget = upgrader.budget
        self._up: Places[YamuxConnection] = Places(options.max_connections)

    # --- dialing ---------------------------------------------------------------------------------------------------

    def live(self, peer: ID) -> YamuxConnection | None:
        """A connection with `peer` that is up, if there is one."""
        for connection in reversed(self.connections.get(peer, [])):
            muxed = connection.muxed_conn
            if isinstance(muxed, YamuxConnection) and not muxed.is_closed:
                return muxed
        return None

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """What py-libp2p calls; the addresses are those that the peer store has."""
        try:
            known = [str(address) for address in self.peerstore.addrs(peer_id)]
        except PeerStoreError:
            known = []
        try:
            await self.dial(peer_id, known)
        except AddressRefused as error:
            raise SwarmException(str(error)) from error
        return [connection for connection in self.connections.get(peer_id, []) if not connection.is_closed]

    async def dial(self, peer: ID, addresses: Sequence[str]) -> YamuxConnection:
        """The connection that is up, or a new one over the first of `addresses` that works.

        Raises :exc:`AddressRefused` where none may be dialed, else :exc:`SwarmException`.
        """
        lock = self._dialing.setdefault(peer, trio.Lock())
        try:
            async with lock:
                connection = self.live(peer)
                return connection if connection is not None else await self._dial_first(peer, addresses)
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._dialing.pop(peer, None)

    async def _dial_first(self, peer: ID, addresses: Sequence[str]) -> YamuxConnection:
        failures: list[str] = []
        refusals: list[str] = []
        tried = 0
        for text in dict.fromkeys(addresses):
            if tried == MOST_ADDRESSES:
                break
            try:
                address = parse(text)
                if address.peer is not None and address.peer != str(peer):
                    raise AddressRefused(f"{text!r} is another peer's address")
                tried += 1
                with trio.fail_after(self._options.dial_timeout_seconds):
                    candidates = await resolve(address, self._allows)
            except AddressRefused as error:
                refusals.append(str(error))
                continue
            except (OSError, trio.TooSlowError) as error:
                failures.append(f"{text}: {error or 'too slow'}")
                continue
            for candidate in candidates:
                try:
                    with trio.fail_after(self._options.dial_timeout_seconds):
                        return await self._dial_one(peer, candidate)
                except trio.TooSlowError:
                    failures.append(f"{candidate}: no answer in {self._options.dial_timeout_seconds:g} s")
                except AnotherPeer as error:
                    failures.append(str(error))
                # Whatever py-libp2p makes of a peer that misbehaves: that address does not work.
                except (OSError, BaseLibp2pError) as error:
                    failures.append(f"{candidate}: {error}")
        if refusals and not failures:
            raise AddressRefused("; ".join(refusals))
        raise SwarmException("; ".join(failures + refusals) or "no address is known")

    async def _dial_one(self, peer: ID, address: TcpAddress) -> YamuxConnection:
        family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
        connecting = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            await connecting.connect((address.host, address.port))
            connected = socket.socket(fileno=connecting.detach())
        finally:
            connecting.close()
        try:
            wire = WireConnection(connected, initiator=True)
        except OSError:
            connected.close()
            raise
        try:
            await self.upgrade_outbound_raw_conn(wire, peer)
        except SwarmException as error:
            wire.abort()
            other = _who_answered(error)
            if other is not None:
                raise AnotherPeer(f"{peer} is not at {address.place}; {other} is") from error
            raise
        except BaseException:
            wire.abort()
            raise
        connection = self.live(peer)
        if connection is None:
            raise SwarmException("the connection broke at once")
        return connection

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        # Only now the peer has proven who it is: whoever has not makes nobody go.
        assert isinstance(muxed_conn, YamuxConnection)
        self._make_room(muxed_conn)
        return await super().add_conn(muxed_conn, direction)

    def _make_room(self, newcomer: YamuxConnection) -> None:
        """Give `newcomer` a place. Raises :exc:`SwarmException` where it loses that at once, to those who hold less."""
        for connection in [one for one in self._up if one.is_closed]:
            self._up.leave(connection)
        now = trio.current_time()

        def idle(connection: YamuxConnection) -> bool:
            return connection.moved <= now - (QUIET_SECONDS if connection.streams else IDLE_SECONDS)

        lost = self._up.enter(newcomer, newcomer.origin, first=idle)
        if lost is newcomer:
            raise SwarmException("too many connections from that network")
        if lost is not None:
            lost.shut()

    # --- accepting -------------------------------------------------------------------------------------------------

    async def accept(self, stream: trio.SocketStream, listening_on: str) -> None:
        """Serve one inbound connection until it is closed. Never raises but for cancellation."""
        accepted = socket.socket(fileno=stream.socket.detach())
        try:
            wire = WireConnection(accepted, initiator=False)
        except OSError:
            # It was gone again before it was looked at.
            accepted.close()
            return
        try:
            if not self._allows(wire.get_remote_address()[0].partition("%")[0]):
                self._log.debug("refused a connection from %s", wire.get_remote_address()[0])
                return
            muxed = await self._upgrade(wire, listening_on)
            if muxed is not None:
                await muxed.event_closed.wait()
        finally:
            wire.abort()

    async def _upgrade(self, wire: WireConnection, listening_on: str) -> YamuxConnection | None:
        now = trio.current_time()
        origin = origin_of(wire.get_remote_address()[0])
        lost = self._handshakes.enter(
            wire,
            origin,
            first=lambda other: other.silent and other.opened <= now - SILENT_SECONDS,
        )
        if lost is not None:
            lost.abort()
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                # Whoever dials speaks first; until then a connection costs next to nothing.
                await wire.fill()
                await trio.sleep(self._budget.charge(origin, HANDSHAKE_UNITS))
                muxed = await self.upgrade_inbound_raw_conn(wire, Multiaddr(listening_on))
        except Exception as error:
            self._log.debug("no connection from %s: %s", wire.get_remote_address()[0], type(error).__name__)
            return None
        finally:
            self._handshakes.leave(wire)
        return muxed if isinstance(muxed, YamuxConnection) else None

    # --- handlers --------------------------------------------------------------------------------------------------

    def set_stream_handler(self, stream_handler: StreamHandlerFn) -> None:
        """`stream_handler`, which may raise what it likes: only its stream is reset."""

        async def guarded(stream: INetStream) -> None:
            try:
                await stream_handler(stream)
            except Exception as error:
                warn(self._log, "a stream handler failed", error)
                await stream.reset()

        super().set_stream_handler(guarded)

    async def _notify(self, method: str, *args: Any) -> None:
        # One after another: none of them waits for anything, and a task for each would cost more than what it does.
        for notifee in self.notifees:
            try:
                await getattr(notifee, method)(self, *args)
            except Exception as error:
                warn(self._log, "what is told of connections failed", error)

    async def shut(self) -> None:
        """Close all connections at the same time; one by one each would cost a tenth of a second."""
        async with trio.open_nursery() as nursery:
            for of_peer in list(self.connections.values()):
                for connection in list(of_peer):
                    nursery.start_soon(connection.close)

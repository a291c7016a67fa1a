"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from plasm.drivers import Driver, DriverUnavailable, Options, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import AddressRefused, Discovery, Transport

PLASM_API = 1


class Libp2pOptions(Options, frozen=True, kw_only=True):
    """Options of the transport ``libp2p``."""

    dial_timeout_seconds: float = 5.0
    """For each address: TCP, Noise and Yamux together."""
    stream_timeout_seconds: float = 5.0
    """For agreeing on the protocol of a new stream."""
    max_connections: int = 512
    """Of peers that have proven who they are; beyond it the network that holds most gives one up, an idle one first."""
    max_handshakes: int = 256
    """Inbound connections that have proven nothing yet; beyond it the network that holds most gives one up, one that
    has said nothing first."""
    announce: tuple[str, ...] = ()
    """Multiaddrs (``/ip4/203.0.113.5/tcp/4001``) at which others reach this node, such as a router's that forwards the
    port. They are announced first, and in the DHT nothing else is."""

    def __post_init__(self) -> None:
        if self.announce:
            # Not at the top: describing a plugin imports no more than `plasm` and the standard library.
            from plasm_libp2p.addresses import announced

            for address in self.announce:
                try:
                    announced(address)
                except AddressRefused as error:
                    raise ValueError(str(error)) from None


class DhtOptions(Options, frozen=True, kw_only=True):
    """Options of the discovery ``dht``."""

    bootstrap: tuple[str, ...] = ()
    """Multiaddrs ending in ``/p2p/PEER``, in addition to the node's own."""
    provide_seconds: float = 600.0
    """How often a provider record is announced again."""
    record_seconds: float = 1800.0
    """How long another node's provider record is kept here unless it is announced again."""
    lookup_seconds: float = 5.0
    """The longest pause between two looks for the same topic; the first looks follow each other faster."""
    tend_seconds: float = 30.0
    """How often the routing table is checked for dead peers and filled up."""


def open_transport(scope: Scope, options: Libp2pOptions) -> AbstractAsyncContextManager[Transport]:
    """TCP, Noise and Yamux under the node's key. Raises :exc:`plasm.ports.TransportError` where it cannot listen."""
    from plasm_libp2p.transport import open_libp2p

    return open_libp2p(scope, options)


def open_discovery(scope: Scope, options: DhtOptions) -> AbstractAsyncContextManager[Discovery]:
    """Provider records in a Kademlia DHT. Raises :exc:`plasm.ports.DiscoveryError` for a malformed address."""
    from plasm_libp2p.dht import open_dht

    return open_dht(scope, options)


def check_library() -> None:
    """Raises :exc:`DriverUnavailable` where py-libp2p cannot be imported."""
    try:
        import libp2p.kad_dht.kad_dht
        import libp2p.network.swarm  # noqa: F401
    except (ImportError, OSError) as error:
        raise DriverUnavailable(
            f"py-libp2p cannot be imported: {error}",
            "apt-get install gcc libgmp-dev;"
            " then pip install --force-reinstall . ./plugins/libp2p in a checkout of Plasm",
        ) from error


@hookimpl
def plasm_transports() -> Sequence[Driver[Transport]]:
    return (
        Driver(
            name="libp2p",
            open=open_transport,
            needs=frozenset({"signer"}),
            offers=frozenset({"lan"}),
            backends=frozenset({"trio"}),
            options=Libp2pOptions,
            check=check_library,
            summary="streams between peers over TCP, Noise and Yamux",
        ),
    )


@hookimpl
def plasm_discoveries() -> Sequence[Driver[Discovery]]:
    return (
        Driver(
            name="dht",
            open=open_discovery,
            needs=frozenset({"transport:libp2p"}),
            offers=frozenset({"public-network"}),
            backends=frozenset({"trio"}),
            options=DhtOptions,
            check=check_library,
            summary="who offers what, from provider records in a Kademlia DHT",
        ),
    )

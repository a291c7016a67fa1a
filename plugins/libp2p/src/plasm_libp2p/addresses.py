"""Multiaddrs of this transport: ``/ip4|ip6|dns…/HOST/tcp/PORT[/p2p/PEER]``, read and filtered."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import anyio

from plasm.drivers import AddressFilter
from plasm.identity import InvalidIdentity, base58_encode, parse_peer_id
from plasm.ports import AddressRefused, PeerId

LONGEST_ADDRESS = 512
_HOSTS = {"ip4", "ip6", "dns", "dns4", "dns6"}
_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}
_MOST_RESOLVED = 8
_IP_CODES = {"ip4": b"\x04", "ip6": b"\x29"}
_TCP_CODE = b"\x06"
_P2P_CODE = b"\xa5\x03"
"""Codes of https://github.com/multiformats/multiaddr/blob/master/protocols.csv."""
_PUBLIC = "8.8.8.8"
"""Any address of the public Internet; nothing is sent there."""


@dataclass(frozen=True)
class TcpAddress:
    """Where a node listens or can be dialed."""

    kind: str
    """``ip4``, ``ip6``, ``dns``, ``dns4`` or ``dns6``."""
    host: str
    port: int
    peer: PeerId | None = None

    def __str__(self) -> str:
        return self.place + (f"/p2p/{self.peer}" if self.peer else "")

    @property
    def place(self) -> str:
        """The multiaddr without the peer."""
        return f"/{self.kind}/{self.host}/tcp/{self.port}"

    def of(self, peer: str) -> TcpAddress:
        """The same place, with `peer` there."""
        return TcpAddress(self.kind, self.host, self.port, PeerId(peer))

    @property
    def binary(self) -> bytes:
        """The binary multiaddr of an IP address, without the peer. Raises :exc:`ValueError` for a name."""
        host = ipaddress.ip_address(self.host).packed
        return _IP_CODES[self.kind] + host + _TCP_CODE + self.port.to_bytes(2, "big")


def parse(text: str) -> TcpAddress:
    """Raises :exc:`AddressRefused` for whatever this transport could neither dial nor listen on."""
    parts = text.split("/") if len(text) <= LONGEST_ADDRESS else []
    if len(parts) not in (5, 7) or parts[0] or parts[1] not in _HOSTS or parts[3] != "tcp":
        raise AddressRefused(f"{text[:LONGEST_ADDRESS]!r} is not a TCP address of the form /ip4/HOST/tcp/PORT/p2p/PEER")
    _, kind, host, _, port, *rest = parts
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536):
        raise AddressRefused(f"{port!r} is not a port")
    try:
        if kind in ("ip4", "ip6"):
            if "%" in host:
                raise ValueError("a scope means something on one machine only")
            host = str(ipaddress.IPv4Address(host) if kind == "ip4" else ipaddress.IPv6Address(host))
        elif not _is_name(host):
            raise ValueError("not a host name")
        peer = parse_peer_id(rest[1]) if rest and rest[0] == "p2p" else None
    except (ValueError, InvalidIdentity) as error:
        raise AddressRefused(f"{text!r}: {error}") from None
    if rest and peer is None:
        raise AddressRefused(f"{text!r} is not a TCP address of the form /ip4/HOST/tcp/PORT/p2p/PEER")
    return TcpAddress(kind, host, int(port), peer)


def read_binary(raw: bytes) -> TcpAddress | None:
    """The IP address and TCP port that a stranger's binary multiaddr leads to, with the peer if it names one.

    ``None`` for anything that this transport cannot dial, and for names: those would make this node ask the resolver
    for whatever a stranger likes. It looks at a few bytes of each, so that many that cannot be dialed cost nothing.
    """
    size = {b"\x04": 4, b"\x29": 16}.get(raw[:1])
    if size is None or len(raw) > LONGEST_ADDRESS or raw[1 + size : 2 + size] != _TCP_CODE or len(raw) < 4 + size:
        return None
    host = str(ipaddress.ip_address(raw[1 : 1 + size]))
    port = int.from_bytes(raw[2 + size : 4 + size], "big")
    rest = raw[4 + size :]
    peer = None
    if rest:
        # An Ed25519 key makes an ID of 38 bytes; others speak no protocol of ours.
        if rest[:3] != _P2P_CODE + b"\x26" or len(rest) != 41:
            return None
        try:
            peer = parse_peer_id(base58_encode(rest[3:]))
        except InvalidIdentity:
            return None
    return TcpAddress("ip4" if size == 4 else "ip6", host, port, peer) if port else None


def announced(text: str) -> TcpAddress:
    """An address that an operator announces for this node. Raises :exc:`AddressRefused` for what nobody could dial."""
    address = parse(text)
    if address.peer is not None:
        raise AddressRefused(f"invalid announced address {text!r}: leave out /p2p/PEER, which is the node's own")
    if address.kind not in _IP_CODES:
        # Nobody asks the resolver on a stranger's word.
        raise AddressRefused(f"invalid announced address {text!r}: expected an IP address (others resolve no names)")
    if not address.port or ipaddress.ip_address(address.host).is_unspecified:
        raise AddressRefused(f"invalid announced address {text!r}: expected an address and port that others can dial")
    return address


def _is_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(
        0 < len(label) <= 63 and label.isascii() and label.replace("-", "a").replace("_", "a").isalnum()
        for label in labels
    )


def _reach(address: TcpAddress) -> int:
    """How far an address leads: 0 a public one or a name, 1 a private one, 2 this machine alone."""
    if address.kind not in _IP_CODES:
        return 0
    ip = ipaddress.ip_address(address.host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return 2
    return 1 if ip.is_private or ip.is_link_local else 0


def nearest_last(addresses: Iterable[str]) -> list[str]:
    """`addresses` as a stranger anywhere should try them: public ones first, then private ones.

    A private address costs whoever is elsewhere seconds, so it comes last. A loopback address leads them to their own
    machine, so it is left out unless there is nothing else, as in a network of one machine.
    """
    ranked: list[tuple[int, str]] = []
    for text in addresses:
        try:
            ranked.append((_reach(parse(text)), text))
        except AddressRefused:
            continue
    # Sorting keeps the order of equals, which is the peer's preference.
    ranked.sort(key=lambda each: each[0])
    beyond = [text for reach, text in ranked if reach < 2]
    return beyond or [text for _, text in ranked]


def allowed(address: TcpAddress, allows: AddressFilter) -> bool:
    """Whether `address` is an IP address that may be used."""
    return address.kind in ("ip4", "ip6") and allows(address.host)


async def resolve(address: TcpAddress, allows: AddressFilter) -> list[TcpAddress]:
    """The IP addresses behind `address`, only those that are allowed.

    To resolve a name takes packets to whoever knows it, so that none is where public addresses are not allowed.

    Raises :exc:`AddressRefused` where none is left, and :exc:`OSError` where a name is unknown.
    """
    if address.kind in _FAMILIES:
        if not allows(_PUBLIC):
            raise AddressRefused(f"{address} is a name, and names are not resolved where public addresses are refused")
        results = await anyio.getaddrinfo(
            address.host, address.port, family=_FAMILIES[address.kind], type=socket.SOCK_STREAM
        )
        # A scoped address (fe80::1%eth0) cannot be said in a multiaddr.
        hosts = dict.fromkeys(str(result[4][0]) for result in results if "%" not in str(result[4][0]))
        candidates = [
            TcpAddress("ip6" if ":" in host else "ip4", host, address.port, address.peer)
            for host in list(hosts)[:_MOST_RESOLVED]
        ]
    else:
        candidates = [address]
    usable = [candidate for candidate in candidates if allows(candidate.host)]
    if not usable:
        raise AddressRefused(f"{address} is outside the addresses that may be used here")
    return usable


def expand(address: TcpAddress) -> list[TcpAddress]:
    """`address`, or one for each address of this machine where it is a wildcard."""
    ip = ipaddress.ip_address(address.host)
    if not ip.is_unspecified:
        return [address]
    return [TcpAddress(address.kind, host, address.port, address.peer) for host in _interface_addresses(ip.version)]


def _interface_addresses(version: int) -> Iterable[str]:
    import ifaddr

    found: dict[str, None] = {}
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            # IPv4 is text; IPv6 is (address, flow, scope).
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            ip = ipaddress.ip_address(text)
            if ip.version == version and not ip.is_link_local:
                found[text] = None
    # The more useful first: what others reach before what only this machine does.
    return sorted(found, key=lambda text: ipaddress.ip_address(text).is_loopback)

"""Which multiaddrs are taken from a record or put into one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from plasm.drivers import AddressFilter
from plasm.identity import InvalidIdentity, parse_peer_id
from plasm.ports import PeerId

MAX_ADDRESS_CHARACTERS = 240
"""With its key such an address fits the 255 bytes of a TXT string (RFC 6763, section 6.1)."""

_ADDRESS = re.compile(
    r"/(ip4|ip6)/([0-9a-fA-F.:]{2,45})/(tcp|udp)/([0-9]{1,5})((?:/[A-Za-z0-9_.-]{1,64}){0,8})/p2p/([A-Za-z0-9]{1,64})",
    re.ASCII,
)
_ANOTHER_HOST = frozenset({"ip4", "ip6", "ip6zone", "dns", "dns4", "dns6", "dnsaddr", "p2p-circuit"})


@dataclass(frozen=True)
class Endpoint:
    """Where an address leads."""

    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int


def first_ip(addresses: Sequence[str]) -> str | None:
    """The IP address that the first of `addresses`, which :func:`endpoint` took, leads to.

    Whoever sent a record may write any, so that shares by it hold whoever has one; on a link there is nothing better.
    """
    match = _ADDRESS.fullmatch(addresses[0]) if addresses else None
    return match[2] if match is not None else None


def endpoint(address: str, peer: PeerId, allows: AddressFilter) -> Endpoint | None:
    """Where `address` leads, if it is one of `peer`: an allowed IP address, a port, ``/p2p/`` and `peer` at the end.

    ``None`` for anything else. Names and relayed addresses are refused: no filter can judge where they lead.
    """
    if len(address) > MAX_ADDRESS_CHARACTERS:
        return None
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return None
    version, host, _, port, middle, named = match.groups()
    if not 0 < int(port) < 65536 or not _ANOTHER_HOST.isdisjoint(middle.split("/")):
        return None
    try:
        ip = ipaddress.IPv4Address(host) if version == "ip4" else ipaddress.IPv6Address(host)
        if parse_peer_id(named) != peer:
            return None
    except (ValueError, InvalidIdentity):
        return None
    if ip.is_unspecified or ip.is_multicast or not allows(str(ip)):
        return None
    return Endpoint(ip, int(port))

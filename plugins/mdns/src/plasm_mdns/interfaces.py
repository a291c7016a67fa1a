"""Which of the machine's interfaces take part."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Sequence

import ifaddr

from plasm.drivers import AddressFilter
from plasm.ports import DiscoveryError

_GROUP_V4 = ("224.0.0.251", 5353)
_GROUP_V6 = ("ff02::fb", 5353)


def usable_interfaces(chosen: Sequence[str], allows: AddressFilter) -> list[str]:
    """The addresses to send from: of each interface all that are IPv4 and one that is IPv6.

    The interfaces are up, allowed, able to send multicast and, where `chosen` is not empty, among `chosen`.
    Raises :exc:`DiscoveryError` where there is none.
    """
    found: set[str] = set()
    for adapter in ifaddr.get_adapters():
        v4 = [ip.ip for ip in adapter.ips if isinstance(ip.ip, str)]
        v6 = [ip.ip[0] for ip in adapter.ips if not isinstance(ip.ip, str)]
        if chosen and adapter.name not in chosen:
            v4, v6 = [ip for ip in v4 if ip in chosen], [ip for ip in v6 if ip in chosen]
        found.update(ip for ip in v4 if allows(ip) and _sends_v4(ip))
        allowed = [ip for ip in (each.partition("%")[0] for each in v6) if allows(ip)]
        if allowed and adapter.index is not None and _sends_v6(adapter.index):
            # A socket joins an interface once; its link-local address is the one that stays.
            found.add(min(allowed, key=lambda ip: not ipaddress.IPv6Address(ip).is_link_local))
    if not found:
        which = f"of {', '.join(map(repr, chosen))} " if chosen else ""
        raise DiscoveryError(f"no interface {which}takes multicast here; ip link set dev NAME up multicast on")
    return sorted(found)


def _sends_v4(ip: str) -> bool:
    # Connecting a datagram socket sends nothing and fails where there is no way to the group.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ip))
            probe.connect(_GROUP_V4)
        except OSError:
            return False
    return True


def _sends_v6(index: int) -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("@I", index))
            probe.connect((*_GROUP_V6, 0, index))
    except OSError:
        return False
    return True

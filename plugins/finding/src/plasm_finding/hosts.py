"""From the multiaddrs under which a peer is dialed to the host of its HTTP server."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

import anyio

from plasm.drivers import AddressFilter
from plasm.identity import InvalidIdentity, parse_peer_id
from plasm.ports import PeerId

MOST_ADDRESSES: Final = 64
"""Of one peer that are looked at."""
MOST_HOSTS: Final = 8
"""Of one peer."""
CONNECT_SECONDS: Final = 3.0
STAGGER_SECONDS: Final = 0.25
"""RFC 8305, section 8: the Connection Attempt Delay."""

_LONGEST_ADDRESS: Final = 256
_ADDRESS = re.compile(
    r"/(ip4|ip6)/([0-9a-fA-F.:]{2,45})/(?:tcp|udp)/[0-9]{1,5}((?:/[A-Za-z0-9_.-]{1,64}){0,8})/p2p/([A-Za-z0-9]{1,64})",
    re.ASCII,
)
_ANOTHER_HOST: Final = frozenset({"ip4", "ip6", "ip6zone", "dns", "dns4", "dns6", "dnsaddr", "p2p", "p2p-circuit"})


def hosts_of(peer: PeerId, addresses: Iterable[str], allows: AddressFilter) -> list[str]:
    """The IP addresses at which `peer` itself is, as far as they may be used here; loopback last, eight at most.

    A name, a relayed address and one that needs an interface beside it (RFC 4007) are passed over.
    """
    found = (_ip(address, peer) for address in islice(addresses, MOST_ADDRESSES))
    usable = dict.fromkeys(ip for ip in found if ip is not None and allows(str(ip)))
    return [str(ip) for ip in sorted(usable, key=lambda ip: ip.is_loopback)[:MOST_HOSTS]]


def _ip(address: str, peer: PeerId) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    match = _ADDRESS.fullmatch(address) if len(address) <= _LONGEST_ADDRESS else None
    if match is None or not _ANOTHER_HOST.isdisjoint(match[3].split("/")):
        return None
    try:
        ip = ipaddress.IPv4Address(match[2]) if match[1] == "ip4" else ipaddress.IPv6Address(match[2])
        if parse_peer_id(match[4]) != peer:
            return None
    except (ValueError, InvalidIdentity):
        return None
    needs_interface = ip.version == 6 and ip.is_link_local
    return None if ip.is_unspecified or ip.is_multicast or needs_interface else ip


def base_url(host: str, port: int) -> str:
    """``http://HOST:PORT/``; an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


async def first_to_answer(hosts: Sequence[str], port: int) -> tuple[str, float] | None:
    """The first of `hosts` that takes a TCP connection at `port`, and the seconds that this took.

    Each is tried when the one before it has failed or has been silent for a moment. ``None`` where all fail.
    """
    answered: list[tuple[str, float]] = []
    async with anyio.create_task_group() as tasks:

        async def attempt(host: str, failed: anyio.Event) -> None:
            began = anyio.current_time()
            try:
                with anyio.fail_after(CONNECT_SECONDS):
                    stream = await anyio.connect_tcp(host, port)
            except (OSError, TimeoutError):
                failed.set()
                return
            answered.append((host, anyio.current_time() - began))
            tasks.cancel_scope.cancel()
            await anyio.aclose_forcefully(stream)

        for host in hosts:
            failed = anyio.Event()
            tasks.start_soon(attempt, host, failed)
            with anyio.move_on_after(STAGGER_SECONDS):
                await failed.wait()
    return answered[0] if answered else None

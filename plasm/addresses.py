"""Which IP addresses a profile lets drivers dial, advertise and listen on: implementations of ``AddressFilter``."""

from __future__ import annotations

import ipaddress

_LONGEST_ADDRESS = 64
"""A full IPv6 address has 39 characters; the rest is room for a zone (RFC 4007) such as ``%eth0``."""

_LOCAL_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",  # loopback, RFC 1122
        "10.0.0.0/8",  # private, RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",  # link-local, RFC 3927
        "::1/128",  # loopback, RFC 4291
        "fe80::/10",  # link-local, RFC 4291
        "fc00::/7",  # unique local, RFC 4193
    )
)


def _parse(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address; an IPv4-mapped one (``::ffff:a.b.c.d``, RFC 4291 section 2.5.5.2) as the IPv4 that it reaches."""
    # ip_address() also takes integers and packed bytes, which are no text.
    if not isinstance(ip, str) or len(ip) > _LONGEST_ADDRESS:
        return None
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def allow_any(ip: str) -> bool:
    """Whether `ip` is a textual IPv4 or IPv6 address at all."""
    return _parse(ip) is not None


def allow_local(ip: str) -> bool:
    """Whether `ip` is loopback, link-local, RFC 1918 or unique local.

    The wildcards ``0.0.0.0`` and ``::`` reach further and are not.
    """
    address = _parse(ip)
    return address is not None and any(address in network for network in _LOCAL_NETWORKS)

"""Sockets to listen on, and the addresses under which they are reached."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Final

from plasm.drivers import AddressFilter
from plasm.errors import PlasmError

_BACKLOG: Final = 1024


def listen(host: str, port: int) -> socket.socket:
    """A non-blocking socket that listens on the IP address `host`; ``::`` takes IPv4 too.

    Raises :exc:`PlasmError` where it cannot.
    """
    ip = ipaddress.ip_address(host)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not ip.is_unspecified)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> PlasmError:
    match error.errno:
        case errno.EADDRINUSE:
            return PlasmError(f"port {port} of {host} is taken", "stop what listens there, or choose another --port")
        case errno.EACCES:
            return PlasmError(f"port {port} needs privileges that this user has not", "choose a --port above 1023")
        case errno.EADDRNOTAVAIL:
            return PlasmError(f"{host} is no address of this machine", "--bind 0.0.0.0 takes every one")
        case _:
            return PlasmError(f"cannot listen on {host} port {port}: {error.strerror or error}")


def reachable(listener: socket.socket, allows: AddressFilter) -> list[tuple[str, int]]:
    """The IP addresses and the port under which `listener` is reached, as far as `allows` lets them be used.

    A wildcard is each address of this machine's interfaces but those that mean something on one link only; loopback
    comes last.
    """
    host, port = listener.getsockname()[:2]
    ip = ipaddress.ip_address(host)
    if not ip.is_unspecified:
        return [(host, port)] if allows(host) else []
    found = {each for each in _interface_addresses() if ip.version == 6 or each.version == 4}
    return [(str(each), port) for each in sorted(found, key=_usefulness) if allows(str(each))]


def base_url(host: str, port: int) -> str:
    """``http://HOST:PORT/``; an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _interface_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    import ifaddr

    texts = (
        each.ip if isinstance(each.ip, str) else each.ip[0] for adapter in ifaddr.get_adapters() for each in adapter.ips
    )
    return [ip for ip in map(ipaddress.ip_address, texts) if not ip.is_link_local]


def _usefulness(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[bool, int, int]:
    return ip.is_loopback, ip.version, int(ip)

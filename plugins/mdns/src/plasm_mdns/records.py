"""Topics as DNS-SD services (RFC 6763): service types, instance names and TXT records, written and read.

A TXT record holds ``txtvers=1``, ``peer``, the parts of the topic (``arch`` and ``runtime``, or ``channel`` and
``arch``), the caller's properties, and ``addr0`` to ``addr15``, each a multiaddr ending in ``/p2p/PEER``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plasm.drivers import AddressFilter
from plasm.identity import InvalidIdentity, parse_peer_id
from plasm.ports import BootTopic, CapabilityTopic, DiscoveryError, Found, PeerId, Topic
from plasm_mdns.addresses import Endpoint, endpoint

SOURCE = "mdns"
MAX_ADDRESSES = 16
MAX_PROPERTIES = 16
MAX_TXT_WRITTEN = 1200
"""Bytes: with the other records of a response it fits an Ethernet frame (RFC 6763, section 6.2)."""
MAX_TXT_READ = 8192
_VERSION = "1"
_KEY = re.compile(r"[a-z0-9_.-]{1,32}", re.ASCII)
_ADDRESS_KEY = re.compile(r"addr([0-9]|1[0-5])", re.ASCII)
_OWN_KEYS = frozenset({"txtvers", "peer"})


def service_type(topic: Topic) -> str:
    """The DNS-SD service type under which `topic` is announced."""
    return "_phase-image._tcp.local." if isinstance(topic, BootTopic) else "_phase._tcp.local."


def host_name(peer: PeerId) -> str:
    """The host name of the SRV record of `peer`."""
    return f"{peer}.local."


def instance_name(topic: Topic, peer: PeerId) -> str:
    """The name of what `peer` announces for `topic`: one DNS label of 63 bytes below the service type."""
    return f"{peer}-{hashlib.sha256(topic.key.encode()).hexdigest()[:10]}.{service_type(topic)}"


def parts(topic: Topic) -> dict[str, str]:
    """What a TXT record must hold to be about `topic`."""
    if isinstance(topic, CapabilityTopic):
        return {"arch": topic.arch, "runtime": topic.runtime}
    return {"channel": topic.channel, "arch": topic.arch}


@dataclass(frozen=True)
class Announcement:
    """The records of one topic of one node. `endpoints` are where its addresses lead; never empty."""

    text: bytes
    endpoints: tuple[Endpoint, ...]
    port: int


def announcement(
    topic: Topic, peer: PeerId, addresses: Sequence[str], properties: Mapping[str, str], allows: AddressFilter
) -> Announcement | None:
    """What to announce; ``None`` while none of `addresses` may be. Raises :exc:`DiscoveryError` for bad properties."""
    own = {"txtvers": _VERSION, "peer": peer, **parts(topic)}
    for key, value in properties.items():
        if not _KEY.fullmatch(key) or _ADDRESS_KEY.fullmatch(key) or own.get(key, value) != value:
            raise DiscoveryError(f"{key[:40]!r} cannot be the name of a property over mDNS")
    text = b"".join(_string(key, value) for key, value in (own | dict(properties)).items())
    if len(text) > MAX_TXT_WRITTEN // 2 or len(properties) > MAX_PROPERTIES:
        raise DiscoveryError("the properties are too many or too long for a TXT record")
    endpoints: list[Endpoint] = []
    for address in dict.fromkeys(addresses):
        where = endpoint(address, peer, allows)
        if where is None:
            continue
        string = _string(f"addr{len(endpoints)}", address)
        if len(endpoints) == MAX_ADDRESSES or len(text) + len(string) > MAX_TXT_WRITTEN:
            break
        text += string
        endpoints.append(where)
    if not endpoints:
        return None
    port = endpoints[0].port
    http_port = properties.get("http_port", "")
    if isinstance(topic, BootTopic) and re.fullmatch(r"[0-9]{1,5}", http_port, re.ASCII) and int(http_port) < 65536:
        port = int(http_port)
    return Announcement(text, tuple(dict.fromkeys(endpoints)), port)


def _string(key: str, value: str) -> bytes:
    string = f"{key}={value}".encode()
    if len(string) > 255 or not value.isprintable():
        raise DiscoveryError(f"the property {key[:40]!r} is too long or not printable")
    return bytes((len(string),)) + string


def read(text: bytes, topic: Topic, allows: AddressFilter) -> Found | None:
    """What a TXT record from the network says about `topic`; ``None`` where it is of another topic or malformed."""
    if len(text) > MAX_TXT_READ:
        return None
    strings: dict[str, str] = {}
    for key, value in _strings(text):
        strings.setdefault(key, value)  # the first one counts (RFC 6763, section 6.4)
    about = parts(topic)
    if strings.get("txtvers", _VERSION) != _VERSION or any(strings.get(key) != about[key] for key in about):
        return None
    try:
        peer = parse_peer_id(strings.get("peer", ""))
    except InvalidIdentity:
        return None
    candidates = (strings.get(f"addr{number}", "") for number in range(MAX_ADDRESSES))
    addresses = tuple(dict.fromkeys(each for each in candidates if endpoint(each, peer, allows) is not None))
    if not addresses:
        return None
    others = {
        key: value
        for key, value in strings.items()
        if key not in _OWN_KEYS and key not in about and not _ADDRESS_KEY.fullmatch(key)
    }
    return Found(peer, addresses, SOURCE, dict(list(others.items())[:MAX_PROPERTIES]))


def _strings(text: bytes) -> Iterator[tuple[str, str]]:
    index = 0
    while index < len(text):
        end = index + 1 + text[index]
        string = text[index + 1 : end]
        index = end
        if end > len(text):
            return
        try:
            key, equals, value = string.decode().partition("=")
        except UnicodeDecodeError:
            continue
        key = key.lower()
        if equals and _KEY.fullmatch(key) and value.isprintable():
            yield key, value

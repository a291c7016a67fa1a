"""What is put into TXT records, and what is taken from those of strangers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_mdns.addresses import endpoint
from plasm_mdns.records import MAX_TXT_WRITTEN, announcement, instance_name, read, service_type

from plasm.identity import peer_id
from plasm.ports import BootTopic, CapabilityTopic, DiscoveryError, Topic

TOPIC = CapabilityTopic("x86_64", "wasmtime")
BOOT = BootTopic("stable", "arm64")
PEER = peer_id(bytes([1]) * 32)
OTHER = peer_id(bytes([2]) * 32)
ADDRESS = f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}"


def anywhere(ip: str) -> bool:
    return True


def txt(**strings: str | bytes) -> bytes:
    text = b""
    for key, value in strings.items():
        string = key.encode() + b"=" + (value if isinstance(value, bytes) else value.encode())
        text += bytes((len(string),)) + string
    return text


def good(**more: str | bytes) -> bytes:
    return txt(**{"peer": PEER, "arch": "x86_64", "runtime": "wasmtime", "addr0": ADDRESS} | more)


@pytest.mark.parametrize("topic", [TOPIC, BOOT])
def test_what_is_announced_is_what_is_found(topic: Topic) -> None:
    addresses = [ADDRESS, f"/ip6/::1/udp/4001/quic-v1/p2p/{PEER}"]
    announced = announcement(topic, PEER, addresses, {"version": "1.2", "http_port": "8080"}, anywhere)
    assert announced is not None
    found = read(announced.text, topic, anywhere)
    assert found is not None
    assert (found.peer, list(found.addresses), found.source) == (PEER, addresses, "mdns")
    assert found.properties == {"version": "1.2", "http_port": "8080"}


def test_a_boot_provider_is_announced_under_its_own_type_and_port() -> None:
    announced = announcement(BOOT, PEER, [ADDRESS], {"http_port": "8080"}, anywhere)
    assert announced is not None
    assert announced.port == 8080
    assert b"channel=stable" in announced.text
    assert service_type(BOOT) == "_phase-image._tcp.local."


@pytest.mark.parametrize("topic", [TOPIC, BOOT])
def test_an_instance_name_is_one_dns_label(topic: Topic) -> None:
    label = instance_name(topic, PEER).removesuffix("." + service_type(topic))
    assert len(label) <= 63
    assert "." not in label


def test_topics_have_instances_of_their_own() -> None:
    assert instance_name(TOPIC, PEER) != instance_name(CapabilityTopic("x86_64", "wasmer"), PEER)
    assert instance_name(TOPIC, PEER) != instance_name(TOPIC, OTHER)


def test_a_record_about_another_topic_is_ignored() -> None:
    for topic in (CapabilityTopic("arm64", "wasmtime"), CapabilityTopic("x86_64", "wasm"), BootTopic("x", "x86_64")):
        assert read(good(), topic, anywhere) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff" * 300,
        b"\x05peer",
        txt(peer=PEER, addr0=ADDRESS),
        good(peer="nobody"),
        good(peer="1" * 200),
        good(peer=b"\xff\xfe"),
        good(peer=OTHER),
        good(txtvers="2"),
        good(addr0=""),
        good(addr0=ADDRESS + "\n"),
        good(addr0=ADDRESS.replace(PEER, OTHER)),
        good(addr0="/ip4/127.0.0.1/tcp/4001"),
        good(addr0=b"\x80"),
        good() + bytes(9000),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_a_malformed_record_is_ignored(text: bytes) -> None:
    assert read(text, TOPIC, anywhere) is None


@pytest.mark.parametrize(
    "address",
    [
        f"/ip4/0.0.0.0/tcp/1/p2p/{PEER}",
        f"/ip4/224.0.0.251/tcp/1/p2p/{PEER}",
        f"/ip6/::/tcp/1/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/0/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/65536/p2p/{PEER}",
        f"/ip4/127.0.0.256/tcp/1/p2p/{PEER}",
        f"/ip4/::1/tcp/1/p2p/{PEER}",
        f"/ip6/127.0.0.1/tcp/1/p2p/{PEER}",
        f"/dns4/example.org/tcp/1/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/1/p2p/{OTHER}/p2p-circuit/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/1/ip4/8.8.8.8/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/1/p2p/{OTHER}",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/",
        f"/ip4/127.0.0.1/tcp/1{'/ws' * 100}/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/\u0661/p2p/{PEER}",
    ],
)
def test_an_address_that_leads_nowhere_known_is_neither_announced_nor_taken(address: str) -> None:
    assert endpoint(address, PEER, anywhere) is None
    assert announcement(TOPIC, PEER, [address], {}, anywhere) is None
    found = read(good(addr1=address[:200]), TOPIC, anywhere)
    assert found is not None
    assert found.addresses == (ADDRESS,)


def test_the_filter_holds_both_ways() -> None:
    public = f"/ip4/203.0.113.9/tcp/4001/p2p/{PEER}"

    def local(ip: str) -> bool:
        return ip == "127.0.0.1"

    announced = announcement(TOPIC, PEER, [public, ADDRESS], {}, local)
    assert announced is not None
    assert b"203" not in announced.text
    found = read(good(addr1=public), TOPIC, local)
    assert found is not None
    assert found.addresses == (ADDRESS,)
    assert announcement(TOPIC, PEER, [public], {}, local) is None


def test_the_record_stays_within_a_frame_however_many_addresses_there_are() -> None:
    addresses = [f"/ip6/2001:db8::{n:x}/tcp/4001/p2p/{PEER}" for n in range(200)]
    announced = announcement(TOPIC, PEER, addresses, {}, anywhere)
    assert announced is not None
    assert len(announced.text) <= MAX_TXT_WRITTEN
    found = read(announced.text, TOPIC, anywhere)
    assert found is not None
    assert 0 < len(found.addresses) <= 16
    assert list(found.addresses) == addresses[: len(found.addresses)]


def test_more_addresses_than_sixteen_are_ignored() -> None:
    many = {f"addr{n}": f"/ip4/10.0.0.{n}/tcp/1/p2p/{PEER}" for n in range(40)}
    found = read(good(**many), TOPIC, anywhere)
    assert found is not None
    assert len(found.addresses) == 16


@pytest.mark.parametrize(
    "properties",
    [{"peer": "x"}, {"addr3": "x"}, {"arch": "other"}, {"": "x"}, {"a=b": "x"}, {"k": "x" * 300}, {"k": "a\nb"}],
    ids=repr,
)
def test_properties_that_no_record_can_hold_are_refused(properties: dict[str, str]) -> None:
    with pytest.raises(DiscoveryError):
        announcement(TOPIC, PEER, [ADDRESS], properties, anywhere)


@given(st.binary(max_size=600))
def test_arbitrary_bytes_never_make_a_provider(text: bytes) -> None:
    assert read(text, TOPIC, anywhere) is None


@given(st.binary(max_size=300), st.text(max_size=80))
def test_whatever_follows_a_good_record_nothing_unprintable_comes_through(tail: bytes, value: str) -> None:
    found = read(good(extra=value.encode()[:200]) + tail, TOPIC, anywhere)
    assert found is not None
    assert found.peer == PEER
    assert all(endpoint(address, PEER, anywhere) for address in found.addresses)
    assert all(key.isprintable() and item.isprintable() for key, item in found.properties.items())


@given(st.text(max_size=300))
def test_arbitrary_text_is_no_address(text: str) -> None:
    assert endpoint(text, PEER, anywhere) is None

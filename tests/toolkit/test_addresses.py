"""Which addresses a profile lets through."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.addresses import allow_any, allow_local

LOCAL = ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.1.1"]
LOCAL += ["::1", "fe80::1", "fe80::1%eth0", "fd00::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"]
PUBLIC = ["8.8.8.8", "172.32.0.1", "172.15.255.255", "192.169.0.1", "100.64.0.1", "2001:4860:4860::8888"]
PUBLIC += ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:a00:1::", "fec0::1", "0.0.0.0", "::", "::ffff:0.0.0.0"]
GARBAGE = ["", "localhost", "127.0.0.1/8", "127.1", "0x7f.0.0.1", "127.0.0.01", " 127.0.0.1", "127.0.0.1\n", "::1]"]
GARBAGE += ["fe80::1%" + "x" * 100, "١٢٧.0.0.1", "1" * 10_000]


@pytest.mark.parametrize("ip", LOCAL)
def test_a_local_address_is_allowed_everywhere(ip: str) -> None:
    assert allow_local(ip)
    assert allow_any(ip)


@pytest.mark.parametrize("ip", PUBLIC)
def test_an_address_beyond_the_local_network_is_allowed_by_any_alone(ip: str) -> None:
    assert not allow_local(ip)
    assert allow_any(ip)


@pytest.mark.parametrize("ip", GARBAGE)
def test_what_is_no_address_is_allowed_by_neither(ip: str) -> None:
    assert not allow_local(ip)
    assert not allow_any(ip)


@pytest.mark.parametrize("thing", [2130706433, b"\x7f\x00\x00\x01", None])
def test_what_is_no_text_is_allowed_by_neither(thing: object) -> None:
    assert not allow_local(thing)  # type: ignore[arg-type]
    assert not allow_any(thing)  # type: ignore[arg-type]


@given(st.ip_addresses())
def test_no_global_address_is_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert allow_any(str(address))
    if address.is_global:
        assert not allow_local(str(address))


@given(st.ip_addresses(v=4))
def test_a_mapped_address_counts_as_the_one_it_reaches(address: ipaddress.IPv4Address) -> None:
    assert allow_local(f"::ffff:{address}") == allow_local(str(address))


@given(st.text(max_size=80))
def test_any_text_gets_an_answer(text: str) -> None:
    assert allow_any(text) or not allow_local(text)

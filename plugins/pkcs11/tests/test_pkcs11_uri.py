"""URIs of keys in tokens: RFC 7512, and nothing that is not understood."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_pkcs11.uri import KeyUri, parse_uri, without_pin_source

from plasm.ports import SignerError

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)


def test_every_attribute_that_is_understood_is_read() -> None:
    uri = parse_uri(
        "pkcs11:token=The%20Software%20Token;manufacturer=Snake%20Oil;model=1.0;serial=a%3b1;object=release-2026;"
        "id=%01%fF;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin"
    )
    assert uri == KeyUri(
        token="The Software Token",
        manufacturer="Snake Oil",
        model="1.0",
        serial="a;1",
        object="release-2026",
        id=b"\x01\xff",
        module_path=Path("/usr/lib/softhsm/libsofthsm2.so"),
        pin_source=Path("/run/pin"),
    )


@given(names, names, st.binary(min_size=1, max_size=20))
def test_names_and_ids_of_any_kind_survive_percent_encoding(token: str, label: str, key_id: bytes) -> None:
    text = f"pkcs11:token={quote(token, safe='')};object={quote(label, safe='')};id={quote_from_bytes(key_id, safe='')}"
    assert parse_uri(text) == KeyUri(token=token, object=label, id=key_id)


@pytest.mark.parametrize("source", ["file:/run/pin", "file:///run/pin", "file://localhost/run/pin", "/run/pin"])
def test_a_pin_source_is_a_file(source: str) -> None:
    assert parse_uri(f"pkcs11:object=key?pin-source={source}").pin_source == Path("/run/pin")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pkcs11:", "something other than"),
        ("pkcs11:token=release", "names no key"),
        ("pkcs11:object=", "empty"),
        ("pkcs11:object=a;object=b", "twice"),
        ("pkcs11:object=a;", "something other than"),
        ("pkcs11:object=a;;id=%01", "something other than"),
        ("pkcs11:object", "something other than"),
        ("pkcs11:object=a;slot-id=1", "'slot-id'"),
        ("pkcs11:object=a;x-vendor=1", "'x-vendor'"),
        ("pkcs11:object=a;type=public", "private key"),
        ("pkcs11:object=a b", "percent-encoded"),
        ("pkcs11:object=a/b", "percent-encoded"),
        ("pkcs11:object=%zz", "percent-encoded"),
        ("pkcs11:object=%c3", "UTF-8"),
        ("pkcs11:object=%00", "UTF-8"),
        ("pkcs11:object=%1b[2J", "UTF-8"),
        ("pkcs11:object=a?pin-source=|cat /run/pin", "percent-encoded"),
        ("pkcs11:object=a?pin-source=|cat", "absolute path"),
        ("pkcs11:object=a?pin-source=https://host/pin", "absolute path"),
        ("pkcs11:object=a?pin-source=file://host/pin", "absolute path"),
        ("pkcs11:object=a?pin-source=pin", "absolute path"),
        ("pkcs11:object=a?module-path=libsofthsm2.so", "absolute path"),
        ("pkcs11:object=a?module-name=softhsm2", "'module-name'"),
        ("PKCS11:object=a", "URI"),
        ("pkcs11:object=" + "a" * 5000, "4096"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SignerError, match=reason):
        parse_uri(text)


def test_a_pin_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(SignerError, match="pin-source") as caught:
        parse_uri("pkcs11:object=key?pin-value=314159")
    assert "314159" not in str(caught.value)


@given(st.text(max_size=60) | st.text("=;&?%pin-valueobject/tok0", max_size=60).map("pkcs11:".__add__))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    line = ""
    try:
        parse_uri(text)
    except SignerError as error:
        line = str(error)
    assert line.isprintable()


def test_a_uri_is_shown_without_its_pin_source() -> None:
    assert without_pin_source("pkcs11:object=a?pin-source=file:/p") == "pkcs11:object=a"
    assert without_pin_source("pkcs11:object=a?module-path=/m&pin-source=file:/p") == "pkcs11:object=a?module-path=/m"

"""The document and its frame, against ``specs/boot-discovery.md``."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_finding.info import MAX_BYTES, MOST_CHANNELS, BootInfo, InvalidBootInfo, decode, encode, read

from plasm.ports import BootTopic

SPEC = Path(__file__).parents[3] / "specs" / "boot-discovery.md"
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
INFOS = st.builds(
    BootInfo,
    http_port=st.integers(1, 65535),
    channels=st.lists(st.tuples(NAMES, st.sampled_from(["x86_64", "arm64"])), max_size=MOST_CHANNELS).map(tuple),
)


def read_all(data: bytes, slice_bytes: int = MAX_BYTES) -> BootInfo:
    """`data` as a stream that gives no more than `slice_bytes` at once."""
    rest = bytearray(data)

    async def receive(most: int) -> bytes:
        taken = bytes(rest[: min(most, slice_bytes)])
        del rest[: len(taken)]
        return taken

    return anyio.run(read, receive)


def framed(body: bytes) -> bytes:
    length = len(body)
    return bytes((length & 0x7F | 0x80, length >> 7)) + body if length > 0x7F else bytes((length,)) + body


@given(INFOS)
def test_what_is_sent_is_what_is_read(info: BootInfo) -> None:
    assert read_all(encode(info)) == info


@pytest.mark.parametrize("slice_bytes", [1, 3, 4096])
def test_a_frame_may_arrive_in_any_pieces(slice_bytes: int) -> None:
    info = BootInfo(http_port=8080, channels=(("stable", "x86_64"), ("testing", "arm64")) * 3)
    assert read_all(encode(info) + b"whatever follows", slice_bytes) == info


def test_as_many_channels_as_are_allowed_fit_whatever_their_names() -> None:
    info = BootInfo(http_port=65535, channels=(("c" * 63, "x86_64"),) * MOST_CHANNELS)
    assert read_all(encode(info)) == info


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_are_refused(data: bytes) -> None:
    for attempt in (read_all, decode):
        try:
            assert 0 < attempt(data).http_port < 65536
        except InvalidBootInfo:
            continue


GOOD = {"version": 1, "http_port": 8080, "channels": [["stable", "x86_64"]]}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": True},
        {"version": None},
        {"http_port": 0},
        {"http_port": 65536},
        {"http_port": "8080"},
        {"http_port": 8080.5},
        {"http_port": None},
        {"channels": None},
        {"channels": {}},
        {"channels": ["stable"]},
        {"channels": [["stable"]]},
        {"channels": [["stable", "x86_64", "kernel"]]},
        {"channels": [["Stable", "x86_64"]]},
        {"channels": [["../stable", "x86_64"]]},
        {"channels": [["stable\n", "x86_64"]]},
        {"channels": [["c" * 64, "x86_64"]]},
        {"channels": [["", "x86_64"]]},
        {"channels": [["stable", "x86/64"]]},
        {"channels": [["stable", "a" * 17]]},
        {"channels": [["stable", "x86_64"]] * 49},
    ],
    ids=json.dumps,
)
def test_a_member_that_is_not_as_it_must_be_is_refused(change: dict[str, object]) -> None:
    assert decode(json.dumps(GOOD).encode())
    with pytest.raises(InvalidBootInfo):
        decode(json.dumps(GOOD | change).encode())


@pytest.mark.parametrize("missing", ["http_port", "channels"])
def test_a_member_that_is_missing_is_refused(missing: str) -> None:
    with pytest.raises(InvalidBootInfo, match=missing):
        decode(json.dumps({key: value for key, value in GOOD.items() if key != missing}).encode())


def test_members_that_are_not_known_are_ignored() -> None:
    assert decode(json.dumps(GOOD | {"mirror_of": "12D3KooW"}).encode()).http_port == 8080


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05{}",
        b"\x80\x00",
        b"\x82\x00{}",
        b"\x81\x20" + b"{" * 4097,
        b"\xff\xff\xff\xff\x0f",
        framed(b""),
        framed(b"null"),
        framed(b"[" * 4000),
        framed(b'{"version": 1, "http_port": 80, "channels": [["\xff", "x86_64"]]}'),
        framed(json.dumps(GOOD).encode() + b" {}"),
    ],
    ids=lambda data: data[:8].hex(),
)
def test_a_frame_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidBootInfo):
        read_all(data)


def test_a_length_over_the_cap_is_refused_before_a_byte_of_it_is_read() -> None:
    asked: list[int] = []

    async def receive(most: int) -> bytes:
        asked.append(most)
        return b"\x81\x20"[len(asked) - 1 : len(asked)]

    with pytest.raises(InvalidBootInfo, match="4097"):
        anyio.run(read, receive)
    assert asked == [1, 1]


def test_a_provider_says_nothing_that_no_client_would_take() -> None:
    with pytest.raises(InvalidBootInfo):
        encode(BootInfo(http_port=70000, channels=()))
    with pytest.raises(InvalidBootInfo):
        encode(BootInfo(http_port=80, channels=(("stable", "x86_64"),) * 49))


def test_the_vectors_of_the_specification_hold() -> None:
    text = SPEC.read_text()
    rows = re.findall(r"^\| `([0-9a-f]+)` \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) >= 6
    for data, said in rows:
        if said.startswith("refused"):
            with pytest.raises(InvalidBootInfo):
                read_all(bytes.fromhex(data))
            continue
        port, channels = re.fullmatch(r"port (\d+): (.*)", said).groups()  # type: ignore[union-attr]
        info = read_all(bytes.fromhex(data))
        assert info.http_port == int(port)
        assert [" ".join(pair) for pair in info.channels] == [each for each in channels.split(", ") if each != "none"]


def test_the_key_of_a_topic_in_the_dht_is_the_one_of_the_specification() -> None:
    key = "1220" + hashlib.sha256(BootTopic("stable", "x86_64").key.encode()).hexdigest()
    assert key in SPEC.read_text().split()

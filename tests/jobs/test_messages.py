"""Messages: typed, bounded, versioned; whatever else arrives is a protocol violation and nothing worse."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.jobs.conversation import Submission
from plasm.jobs.framing import MAX_CHUNK, FrameDecoder
from plasm.jobs.manifest import MAX_INPUT_BYTES, MAX_MODULE_BYTES, Job, Manifest, input_files, sha256
from plasm.jobs.messages import (
    INLINE_BYTES,
    Accepted,
    Cancel,
    Cancelled,
    Describe,
    Description,
    Failed,
    Fetch,
    Offer,
    Piece,
    Progress,
    ProtocolViolation,
    Rejected,
    Result,
    Unsupported,
    UnsupportedVersion,
    decode_reply,
    decode_request,
    encode,
)
from plasm.jobs.outputs import Output
from tests.jobs.world import offer_for, submission

JOB_ID = "0123456789abcdef" * 2

REQUESTS = [
    offer_for(submission(stdin=b"in", args=["a", "ü"]), arch="arm64", runtime="wasmtime"),
    offer_for(submission(stdin=bytes(INLINE_BYTES + 1))),
    Fetch(job_id=JOB_ID),
    Fetch(job_id=JOB_ID, wait=False),
    Cancel(job_id=JOB_ID),
    Describe(),
    Piece(data=bytes(MAX_CHUNK)),
]
REPLIES = [
    Accepted(job_id=JOB_ID, needs=("module", "input"), estimated_start_seconds=3, keep_seconds=60),
    Rejected(reason="QueueFull", detail="9 jobs are waiting"),
    Progress(state="queued", ahead=3),
    Result(job_id=JOB_ID, receipt=b"{}", outputs=(Output(name="stdout", size=3),), data=b"out", detail="d"),
    Result(job_id=JOB_ID, receipt=b"{}", outputs=(Output(name="stdout", size=2**40),)),
    Cancelled(job_id=JOB_ID),
    Failed(reason="UnknownJob"),
    Unsupported(versions=(1, 2)),
    Description(
        software="plasm/1", arch="arm64", runtimes=("a",), slots=2, free=1, queued=0, memory_mb=5, max_timeout_seconds=9
    ),
    Piece(data=b"x"),
]


def body_of(message):
    decoder = FrameDecoder()
    decoder.feed(encode(message))
    return decoder.next_frame()


def fields_of(message):
    return msgspec.msgpack.decode(body_of(message))


def said_of(decode, body):
    """What is said about `body` where it is refused; anything else that is raised is a failure."""
    try:
        decode(body)
    except (ProtocolViolation, UnsupportedVersion) as error:
        return str(error)
    return ""


def named(message):
    return type(message).__name__


@pytest.mark.parametrize("message", REQUESTS, ids=named)
def test_a_request_comes_back_as_it_was(message):
    assert decode_request(body_of(message)) == message


@pytest.mark.parametrize("message", REPLIES, ids=named)
def test_a_reply_comes_back_as_it_was(message):
    assert decode_reply(body_of(message)) == message


@pytest.mark.parametrize("message", [each for each in REQUESTS if not isinstance(each, Piece)], ids=named)
def test_every_request_states_its_version(message):
    assert fields_of(message)["version"] == 1


@pytest.mark.parametrize("message", [each for each in REQUESTS if not isinstance(each, Piece)], ids=named)
def test_a_request_of_another_version_is_told_apart_from_nonsense(message):
    with pytest.raises(UnsupportedVersion):
        decode_request(msgspec.msgpack.encode(fields_of(message) | {"version": 2}))


def test_the_versions_spoken_stand_on_the_wire():
    assert fields_of(Unsupported())["versions"] == [1]


def test_a_request_of_another_version_may_look_quite_different():
    with pytest.raises(UnsupportedVersion):
        decode_request(msgspec.msgpack.encode({"type": "bargain", "version": 7, "price": 3}))


@pytest.mark.parametrize("version", ["1", 1.5, None, [], 2**64 - 1])
def test_a_version_that_is_none_is_refused(version):
    with pytest.raises((ProtocolViolation, UnsupportedVersion)):
        decode_request(msgspec.msgpack.encode({"type": "describe", "version": version}))


@pytest.mark.parametrize("message", REQUESTS, ids=named)
def test_a_request_with_a_field_of_another_type_is_refused(message):
    fields = fields_of(message)
    for name in fields.keys() - {"type", "version"}:
        with pytest.raises(ProtocolViolation):
            decode_request(msgspec.msgpack.encode(fields | {name: 1.5}))


@pytest.mark.parametrize("message", REPLIES, ids=named)
def test_a_reply_with_a_field_of_another_type_is_refused(message):
    fields = fields_of(message)
    for name in fields.keys() - {"type"}:
        with pytest.raises(ProtocolViolation):
            decode_reply(msgspec.msgpack.encode(fields | {name: 1.5}))


def test_unknown_members_are_ignored_so_that_a_later_revision_may_add_some():
    assert decode_request(msgspec.msgpack.encode({"type": "describe", "version": 1, "verbose": [1, {}]})) == Describe()


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": bytes(15)},
        {"nonce": bytes(17)},
        {"digest": "sha256:" + "A" * 64},
        {"digest": "sha256:" + "a" * 64 + "\n"},
        {"module_size": -1},
        {"module_size": MAX_MODULE_BYTES + 1},
        {"input_size": MAX_INPUT_BYTES + 1},
        {"input": bytes(INLINE_BYTES + 1)},
        {"arch": "x" * 65},
        {"runtime": "x" * 65},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_offer_outside_the_bounds_of_a_field_is_refused(change):
    with pytest.raises(ProtocolViolation):
        decode_request(msgspec.msgpack.encode(fields_of(offer_for(submission())) | change))


@pytest.mark.parametrize("job_id", ["", "0" * 31, "0" * 33, "G" * 32, "0" * 31 + "\n", "0" * 32 + "\n"])
def test_a_job_id_is_32_lower_case_hexadecimal_digits_and_nothing_else(job_id):
    with pytest.raises(ProtocolViolation):
        decode_request(msgspec.msgpack.encode({"type": "fetch", "version": 1, "job_id": job_id}))


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (REPLIES[0], {"needs": ["module", "input", "money"]}),
        (REPLIES[1], {"detail": "x" * 1025}),
        (REPLIES[2], {"ahead": -1}),
        (REPLIES[3], {"receipt": bytes(256 * 1024 + 1)}),
        (REPLIES[3], {"data": bytes(INLINE_BYTES + 1)}),
        (REPLIES[3], {"outputs": [{"name": "stdout", "size": 2**60}]}),
        (REPLIES[7], {"versions": [1] * 33}),
        (REPLIES[8], {"runtimes": ["x"] * 33}),
        (REPLIES[8], {"slots": 2**17}),
        (REPLIES[9], {"data": bytes(MAX_CHUNK + 1)}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else named(value),
)
def test_a_reply_outside_the_bounds_of_a_field_is_refused(message, change):
    with pytest.raises(ProtocolViolation):
        decode_reply(msgspec.msgpack.encode(fields_of(message) | change))


def test_a_job_in_an_offer_may_hold_no_unknown_member():
    fields = fields_of(offer_for(submission()))
    fields["job"]["sudo"] = True
    with pytest.raises(ProtocolViolation):
        decode_request(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1x", b"\x83\xa4type\xa8describe\xa7version\x01\xa1x" + b"\x91"])
def test_deep_nesting_is_refused_and_breaks_nothing(opening):
    nested = opening + b"\x91" * 100_000 + b"\xc0"
    for decode in (decode_request, decode_reply):
        with pytest.raises(ProtocolViolation):
            decode(nested)


def twice(packed_map: bytes, name: str) -> bytes:
    """The same map of less than 15 members with one of them once more."""
    value = msgspec.msgpack.decode(packed_map, type=dict[str, msgspec.Raw])[name]
    return bytes([packed_map[0] + 1]) + packed_map[1:] + msgspec.msgpack.encode(name) + bytes(value)


@pytest.mark.parametrize("message", [*REQUESTS, *REPLIES], ids=named)
def test_a_member_that_stands_twice_is_refused_even_with_the_same_value(message):
    decode = decode_request if message in REQUESTS else decode_reply
    for name in fields_of(message):
        with pytest.raises(ProtocolViolation, match=r"twice|not a re"):
            decode(twice(body_of(message), name))


def within(packed: bytes, path: tuple[str | int, ...]) -> bytes:
    """The map of `packed` at `path`, with its first member there twice."""
    if not path:
        return twice(packed, next(iter(msgspec.msgpack.decode(packed))))
    step, *rest = path
    if isinstance(step, int):
        items = [bytes(each) for each in msgspec.msgpack.decode(packed, type=list[msgspec.Raw])]
        items[step] = within(items[step], tuple(rest))
        return bytes([0x90 + len(items)]) + b"".join(items)
    members = {name: bytes(each) for name, each in msgspec.msgpack.decode(packed, type=dict[str, msgspec.Raw]).items()}
    members[step] = within(members[step], tuple(rest))
    body = b"".join(msgspec.msgpack.encode(name) + each for name, each in members.items())
    return bytes([0x80 + len(members)]) + body


FULL = offer_for(
    Submission(
        job=Job(
            manifest=Manifest(module_hash=sha256(b"m")),
            env={"k": "v"},
            inputs=input_files({"a": b"", "b": b""}),
        ),
        module=b"m",
        inputs={"a": b"", "b": b""},
    )
)


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (FULL, ("job",)),
        (FULL, ("job", "manifest")),
        (FULL, ("job", "env")),
        (FULL, ("job", "inputs", 0)),
        (FULL, ("job", "inputs", 1)),
        (REPLIES[3], ("outputs", 0)),
    ],
    ids=lambda value: "/".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_no_map_within_a_message_has_a_member_twice(message, path):
    decode = decode_request if message is FULL else decode_reply
    assert decode(body_of(message)) == message
    with pytest.raises(ProtocolViolation, match="twice"):
        decode(within(body_of(message), path))


def test_what_is_not_known_is_skipped_unread_whatever_it_is():
    for value in (b"\xa1\xff", b"\xd4\x00\x01", b"\xcb" + bytes(8), b"\x82\xa1k\xc0\xa1k\xc0"):
        body = b"\x83\xa4type\xa8describe\xa7version\x01\xa5later" + value
        assert decode_request(body) == Describe()


@pytest.mark.parametrize("name", [b"\xc4\x05later", b"\x07", b"\xa1\xff", b"\xc0", b"\xc2", b"\xcb" + bytes(8)])
def test_a_member_is_named_by_a_text_even_where_it_is_not_known(name):
    with pytest.raises(ProtocolViolation):
        decode_request(b"\x83\xa4type\xa8describe\xa7version\x01" + name + b"\x01")


def test_a_version_that_stands_twice_is_no_other_version():
    for versions in (b"\x01\xa7version\x02", b"\x02\xa7version\x02"):
        with pytest.raises(ProtocolViolation):
            decode_request(b"\x83\xa4type\xa8describe\xa7version" + versions)


def test_numbers_and_lengths_may_be_written_in_longer_forms():
    body = b"\xdf\0\0\0\2\xdb\0\0\0\4type\xda\0\x08describe\xd9\7version\xd3" + (1).to_bytes(8, "big")
    assert decode_request(body) == Describe()


def test_a_reply_is_no_request_and_a_request_no_reply():
    with pytest.raises(ProtocolViolation):
        decode_request(body_of(REPLIES[0]))
    with pytest.raises(ProtocolViolation):
        decode_reply(body_of(REQUESTS[2]))


def test_what_is_said_about_bad_bytes_holds_none_of_them_unescaped():
    evil = "\x1b[2J\n\u202e" * 50
    with pytest.raises(ProtocolViolation) as caught:
        decode_request(msgspec.msgpack.encode({"type": evil, "version": 1}))
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
kinds = st.sampled_from(["offer", "fetch", "cancel", "describe", "piece", "result", "accepted", "request", "message"])
names = st.sampled_from(["job", "job_id", "version", "nonce", "data", "needs", "receipt", "module_size", "input"])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_protocol_violation_and_nothing_worse(data):
    for decode in (decode_request, decode_reply):
        assert said_of(decode, data).isprintable()


@given(kinds, st.dictionaries(names, anything, max_size=6))
def test_arbitrary_fields_are_a_protocol_violation_and_nothing_worse(kind, fields):
    body = msgspec.msgpack.encode({"type": kind, **fields})
    for decode in (decode_request, decode_reply):
        assert said_of(decode, body).isprintable()


@given(st.sampled_from([*REQUESTS[:1], *REPLIES]), st.data())
def test_a_message_with_one_byte_changed_is_a_message_or_refused(message, data):
    body = bytearray(body_of(message))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    decode = decode_request if isinstance(message, Offer) else decode_reply
    assert said_of(decode, bytes(body)).isprintable()


members = st.lists(
    st.tuples(
        st.sampled_from(["type", "version", "job_id", "wait", "later", "data"]),
        st.sampled_from([b"\x01", b"\x02", b"\xc3", b"\xa8describe", b"\xa5fetch", b"\xa5piece", b"\xc4\x01x"])
        | st.just(msgspec.msgpack.encode(JOB_ID)),
    ),
    max_size=6,
)


@given(members)
def test_what_is_taken_has_each_member_once_and_means_what_it_says_when_it_is_written_again(pairs):
    body = bytes([0x80 + len(pairs)]) + b"".join(msgspec.msgpack.encode(name) + value for name, value in pairs)
    try:
        message = decode_request(body)
    except (ProtocolViolation, UnsupportedVersion):
        return
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names)
    assert decode_request(body_of(message)) == message
    written, read = fields_of(message), msgspec.msgpack.decode(body)
    assert all(written[name] == each for name, each in read.items() if name in written)


def test_a_dictionary_of_a_message_is_taken_in_any_order_of_its_members():
    fields = fields_of(FULL)
    assert decode_request(msgspec.msgpack.encode(dict(reversed(fields.items())))) == FULL

"""The code holds to the vectors of messages, and the schemas describe them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import msgspec
import pytest

from plasm.jobs.framing import FrameDecoder
from plasm.jobs.messages import (
    Message,
    ProtocolViolation,
    UnsupportedVersion,
    decode_reply,
    decode_request,
    encode,
)

Vectors = Callable[[str], dict[str, Any]]
DECODERS: dict[str, Callable[[bytes], Message]] = {"requests": decode_request, "replies": decode_reply}


def with_bytes(value: Any) -> Any:
    match value:
        case {"hex": str(digits)} if len(value) == 1:
            return bytes.fromhex(digits)
        case dict():
            return {name: with_bytes(each) for name, each in value.items()}
        case list():
            return [with_bytes(each) for each in value]
    return value


def with_hex(value: Any) -> Any:
    match value:
        case bytes():
            return {"hex": value.hex()}
        case dict():
            return {name: with_hex(each) for name, each in value.items()}
        case list():
            return [with_hex(each) for each in value]
    return value


def joined(parts: list[Any]) -> bytes:
    return b"".join(
        bytes.fromhex(part["repeat"]) * part["times"] if isinstance(part, dict) else bytes.fromhex(part)
        for part in parts
    )


def all_valid(vectors: Vectors) -> Iterator[tuple[str, dict[str, Any]]]:
    for side in DECODERS:
        for vector in vectors("messages")[side]["valid"]:
            yield side, vector


def covers(whole: Any, part: Any) -> bool:
    """Whether `whole` has all that `part` has, at every depth; members that only `part` knows are not looked for."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(covers(whole[name], each) for name, each in part.items() if name in whole)
    return bool(whole == part)


def test_bodies_decode_to_what_stands_beside_them(vectors: Vectors) -> None:
    for side, vector in all_valid(vectors):
        body = bytes.fromhex(vector["hex"])
        decoded = with_bytes(vector["decoded"])
        assert msgspec.msgpack.decode(body) == decoded, vector["name"]
        message = DECODERS[side](body)
        assert message.__struct_config__.tag == decoded["type"]
        fields = msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.structs.asdict(message)))
        assert covers(fields, {name: each for name, each in decoded.items() if name != "type"}), vector["name"]


def test_what_the_code_writes_is_among_the_vectors(vectors: Vectors) -> None:
    for side, vector in all_valid(vectors):
        message = DECODERS[side](bytes.fromhex(vector["hex"]))
        decoder = FrameDecoder()
        decoder.feed(encode(message))
        body = decoder.next_frame()
        assert body is not None
        assert DECODERS[side](body) == message, vector["name"]


def test_every_type_of_message_has_a_vector(vectors: Vectors) -> None:
    shown = {vector["decoded"]["type"] for _, vector in all_valid(vectors)}
    kinds = {kind.__struct_config__.tag for kind in Message.__subclasses__()}
    kinds |= {kind.__struct_config__.tag for base in Message.__subclasses__() for kind in base.__subclasses__()}
    assert shown == kinds - {"request"}


def test_requests_of_another_version_are_told_so(vectors: Vectors) -> None:
    for vector in vectors("messages")["requests"]["unsupported"]:
        with pytest.raises(UnsupportedVersion):
            decode_request(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize("side", DECODERS)
def test_what_breaks_a_rule_is_refused(vectors: Vectors, side: str) -> None:
    for vector in vectors("messages")[side]["invalid"]:
        with pytest.raises(ProtocolViolation):
            DECODERS[side](joined(vector["parts"]))
            pytest.fail(vector["why"])


def test_the_schema_takes_every_valid_message(
    vectors: Vectors, schema: Callable[..., jsonschema.Draft202012Validator]
) -> None:
    for side, definition in (("requests", "request"), ("replies", "reply")):
        validator = schema("messages", definition)
        for vector in vectors("messages")[side]["valid"]:
            piece = vector["decoded"]["type"] == "piece"
            (schema("messages", "piece") if piece else validator).validate(vector["decoded"])


def test_the_schema_refuses_what_is_a_map_and_no_message(
    vectors: Vectors, schema: Callable[..., jsonschema.Draft202012Validator]
) -> None:
    refused = 0
    for side, definition in (("requests", "request"), ("replies", "reply")):
        validator = schema("messages", definition)
        for vector in vectors("messages")[side]["invalid"]:
            try:
                decoded = msgspec.msgpack.decode(joined(vector["parts"]))
            except (msgspec.MsgspecError, RecursionError, ValueError):
                continue
            # JSON has one kind of number and of name, a schema's $ matches before a line break too, and a decoder has
            # dropped what stood twice.
            unseen = ("a size that is no integer", "a job id with a line break", "twice", "a member whose name is")
            if any(part in vector["why"] for part in unseen):
                continue
            assert not validator.is_valid(with_hex(decoded)), vector["why"]
            refused += 1
    assert refused > 20

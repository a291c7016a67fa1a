"""The code holds to the vectors of frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plasm.jobs.framing import MAX_FRAME, FrameDecoder, FrameError, encode_frame

Vectors = Callable[[str], dict[str, Any]]


def drain(decoder: FrameDecoder) -> list[bytes]:
    bodies = []
    while (body := decoder.next_frame()) is not None:
        bodies.append(body)
    return bodies


@pytest.mark.parametrize("step", [1, 2, 1000])
def test_streams_give_their_bodies_however_they_are_cut(vectors: Vectors, step: int) -> None:
    for vector in vectors("frames")["valid"]:
        stream = bytes.fromhex(vector["hex"])
        decoder, bodies = FrameDecoder(), []
        for start in range(0, len(stream), step):
            decoder.feed(stream[start : start + step])
            bodies += drain(decoder)
        assert bodies == [bytes.fromhex(body) for body in vector["bodies"]], vector["name"]
        assert decoder.empty
        assert b"".join(map(encode_frame, bodies)) == stream


def test_what_breaks_a_rule_is_refused(vectors: Vectors) -> None:
    for vector in vectors("frames")["invalid"]:
        decoder = FrameDecoder()
        decoder.feed(bytes.fromhex(vector["hex"]))
        with pytest.raises(FrameError):
            drain(decoder)
            pytest.fail(vector["why"])


def test_what_is_incomplete_waits_and_is_no_end(vectors: Vectors) -> None:
    for vector in vectors("frames")["incomplete"]:
        decoder = FrameDecoder()
        decoder.feed(bytes.fromhex(vector["hex"]))
        drain(decoder)
        assert not decoder.empty, vector["why"]


def test_the_largest_frame_is_as_large_as_the_vectors_say(vectors: Vectors) -> None:
    assert vectors("frames")["largest"] == MAX_FRAME
    frame = encode_frame(bytes(MAX_FRAME))
    assert frame[:3].hex() == "808024"
    decoder = FrameDecoder()
    decoder.feed(frame)
    assert drain(decoder) == [bytes(MAX_FRAME)]
    with pytest.raises(FrameError):
        encode_frame(bytes(MAX_FRAME + 1))

"""Frames: what one side writes the other reads, and nothing else gets through or takes memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.jobs.framing import MAX_CHUNK, MAX_FRAME, FrameDecoder, FrameError, FrameReader, encode_frame


def varint(number: int) -> bytes:
    prefix = bytearray()
    while number >= 0x80:
        prefix.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*prefix, number])


def decode_all(data: bytes) -> list[bytes]:
    decoder = FrameDecoder()
    decoder.feed(data)
    frames = []
    while (frame := decoder.next_frame()) is not None:
        frames.append(frame)
    return frames


class Dribble:
    """Gives its pieces one by one, then the end."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, MAX_CHUNK, MAX_FRAME])
def test_a_frame_of_any_allowed_size_comes_back_as_it_was(size):
    body = b"x" * size
    assert decode_all(encode_frame(body)) == [body]


def test_the_length_is_written_in_its_shortest_form():
    assert encode_frame(b"x" * 300)[:2] == b"\xac\x02"
    assert encode_frame(b"")[:1] == b"\x00"


def test_a_frame_over_the_cap_is_not_written():
    with pytest.raises(FrameError, match="over the cap"):
        encode_frame(bytes(MAX_FRAME + 1))


def test_a_frame_one_byte_over_the_cap_is_refused_by_its_length_alone():
    with pytest.raises(FrameError, match="over the cap"):
        decode_all(varint(MAX_FRAME + 1))


def test_a_cap_below_the_usual_one_holds():
    decoder = FrameDecoder(max_frame=10)
    decoder.feed(varint(11))
    with pytest.raises(FrameError, match="cap of 10"):
        decoder.next_frame()


@pytest.mark.parametrize("prefix", [b"\x80\x00", b"\x81\x00", b"\xff\x80\x00", b"\x80\x80\x80\x00"])
def test_a_length_that_could_be_written_shorter_is_refused(prefix):
    with pytest.raises(FrameError, match="shortest form"):
        decode_all(prefix + b"x")


@pytest.mark.parametrize("length", [2**28, 2**31, 2**60, 2**63, 2**200])
def test_a_length_beyond_all_measure_is_refused_before_memory_is_taken(length):
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            decode_all(varint(length) + b"the beginning of a long story")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024


def test_a_length_that_never_ends_is_refused_at_its_fourth_byte():
    decoder = FrameDecoder()
    decoder.feed(b"\xff\xff\xff")
    assert decoder.next_frame() is None
    decoder.feed(b"\xff")
    with pytest.raises(FrameError, match="four bytes"):
        decoder.next_frame()


def test_part_of_a_frame_is_not_a_frame():
    whole = encode_frame(b"hello" * 100)
    for cut in range(len(whole)):
        assert decode_all(whole[:cut]) == []


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_the_same_frames_come_out_however_the_bytes_are_split(bodies, data):
    stream = b"".join(map(encode_frame, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    decoder, frames = FrameDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoder.feed(stream[start:end])
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)
    assert frames == bodies
    assert decoder.empty


@given(st.binary(max_size=400))
def test_arbitrary_bytes_give_frames_or_a_frame_error_and_nothing_else(data):
    try:
        frames = decode_all(data)
    except FrameError:
        return
    assert data.startswith(b"".join(map(encode_frame, frames)))


@pytest.mark.anyio
async def test_a_reader_gives_frames_across_reads_and_then_the_end():
    stream = encode_frame(b"one") + encode_frame(b"") + encode_frame(b"three")
    reader = FrameReader(Dribble(*(bytes([byte]) for byte in stream)))
    assert [await reader.receive() for _ in range(4)] == [b"one", b"", b"three", None]


@pytest.mark.anyio
async def test_a_stream_that_ends_inside_a_frame_is_an_error():
    with pytest.raises(FrameError, match="inside a frame"):
        await FrameReader(Dribble(encode_frame(b"hello")[:-1])).receive()

"""What every transport's streams must do."""

from __future__ import annotations

import anyio
import pytest

from plasm.ports import StreamBroken
from plasm.testing.suites.background import tasks
from plasm.testing.suites.bench import Bench, MakeTransport, TransportChecks, read_all
from plasm.testing.suites.promises import never_raises, raises, within

_PIECE = 64 * 1024


class StreamChecks(TransportChecks):
    """What every transport's streams must do."""

    async def test_what_is_sent_arrives_in_order(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            with within(self.patience, "what is sent arrives"):
                for one, other in ((here, there), (there, here)):
                    for size in (1, 2, 1000, 65536, 1):
                        await one.send(bytes([size % 251]) * size)
                    expected = b"".join(bytes([size % 251]) * size for size in (1, 2, 1000, 65536, 1))
                    got = b""
                    while len(got) < len(expected):
                        piece = await other.receive()
                        assert piece, "b'' is the end, and the other side has not ended"
                        got += piece
                    assert got == expected, "bytes arrive whole and in order"

    async def test_receive_gives_no_more_than_asked(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            await here.send(b"0123456789" * 100)
            await here.send_eof()
            got = b""
            with within(self.patience, "what was sent can be read in small pieces"):
                for most in [1, 2, 3, 7] * 1000:
                    piece = await there.receive(most)
                    assert len(piece) <= most, f"receive({most}) gives at most {most} bytes, not {len(piece)}"
                    if not piece:
                        break
                    got += piece
            assert got == b"0123456789" * 100, "small pieces lose nothing"

    async def test_half_a_stream_is_closed_and_the_other_goes_on(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            await here.send(b"question")
            await here.send_eof()
            assert await read_all(there, self.patience) == b"question", "what was sent before the half-close arrives"
            with within(self.patience, "the end stays the end"):
                assert await there.receive() == b"", "b'' at the end, each time"
            promise = "after send_eof of one side the other can send"
            with within(self.patience, promise), never_raises(promise):
                for _ in range(20):
                    await there.send(b"answer" * 1000)
                await there.send_eof()
            assert await read_all(here, self.patience) == b"answer" * 20_000, "after send_eof receiving goes on"

    async def test_an_empty_send_is_not_the_end(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            await here.send(b"")
            await here.send(b"x")
            with within(self.patience, "what is sent arrives"):
                assert await there.receive() == b"x", "sending nothing is not the end"

    async def test_aclose_ends_what_the_other_side_reads(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            await there.send(b"the last words")
            await there.aclose()
            assert await read_all(here, self.patience) == b"the last words", "aclose closes in order: nothing is lost"

    @pytest.mark.parametrize("who", ["dialer", "handler"])
    async def test_a_reset_breaks_the_other_side(self, make: MakeTransport, who: str) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            one, other = (here, there) if who == "dialer" else (there, here)
            await one.send(b"before")
            with within(self.patience, "what is sent arrives"):
                assert await other.receive() == b"before", "what is sent arrives"
            await one.reset()
            with within(self.patience, "a reset reaches the other side"):
                with raises(StreamBroken, "a reset is StreamBroken for who reads, never b'': that would be the end"):
                    assert await other.receive(), "a reset is StreamBroken for who reads, never b''"
                with raises(StreamBroken, "a reset is StreamBroken for who sends"):
                    while True:
                        await other.send(bytes(_PIECE))

    async def test_a_reset_wakes_who_waits(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            with within(self.patience, "a reset ends a receive that waits"):
                async with tasks() as group:
                    done = anyio.Event()

                    async def wait() -> None:
                        with raises(StreamBroken, "a receive that waits gets StreamBroken"):
                            await there.receive()
                        done.set()

                    group.start_soon(wait)
                    await anyio.sleep(0.1)
                    await here.reset()
                    await done.wait()

    async def test_what_was_reset_here_is_broken_here(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, _ = await bench.stream()
            await here.reset()
            with within(self.patience, "a stream that was given up does not hang"):
                with raises(StreamBroken, "sending on a stream that was reset raises StreamBroken"):
                    await here.send(b"x")
                with raises(StreamBroken, "receiving from a stream that was reset raises StreamBroken"):
                    await here.receive()
                with raises(StreamBroken, "ending a stream that was reset raises StreamBroken"):
                    await here.send_eof()

    @pytest.mark.parametrize("order", ["reset first", "aclose first"])
    async def test_giving_up_and_closing_never_raise(self, make: MakeTransport, order: str) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            promise = "reset and aclose never raise, however often and in whatever order"
            with within(self.patience, promise), never_raises(promise):
                for stream in (here, there):
                    for _ in range(2):
                        if order == "reset first":
                            await stream.reset()
                            await stream.aclose()
                        else:
                            await stream.aclose()
                            await stream.reset()

    async def test_cancelling_a_receive_leaves_the_stream_whole(self, make: MakeTransport) -> None:
        async with Bench(self, make) as bench:
            here, there = await bench.stream()
            with within(self.patience, "a receive can be cancelled"):
                with anyio.move_on_after(0.2) as scope:
                    await there.receive()
                assert scope.cancelled_caught, "a receive waits while nothing comes"
            await here.send(b"later")
            with within(self.patience, "a stream outlives a receive that was cancelled"):
                assert await there.receive() == b"later", "a receive that was cancelled takes nothing with it"

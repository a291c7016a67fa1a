"""What a transport must do with the handlers that it serves."""

from __future__ import annotations

import anyio

from plasm.ports import Stream, StreamBroken
from plasm.testing.suites.background import tasks, together
from plasm.testing.suites.bench import ECHO, MakeTransport, TransportChecks, echo, finish, read_all
from plasm.testing.suites.promises import raises, within


class HandlerChecks(TransportChecks):
    """What a transport must do with the handlers that it serves."""

    async def test_a_handler_that_returns_has_its_stream_closed(self, make: MakeTransport) -> None:
        async def short(stream: Stream) -> None:
            await stream.send(b"done")

        async with make(1, listen=True) as server, make(2, listen=False) as client, tasks() as group:
            await self.start_serving(group, server, ECHO, short)
            stream = await self.open(client, self.identity(1), server.addresses)
            assert await read_all(stream, self.patience) == b"done", "a stream that the handler leaves open is closed"
            await stream.aclose()

    async def test_many_streams_at_once_do_not_mix(self, make: MakeTransport) -> None:
        async with make(1, listen=True) as server, make(2, listen=False) as client, tasks() as group:
            await self.start_serving(group, server, ECHO, echo)

            async def talk(number: int) -> None:
                stream = await self.open(client, self.identity(1), server.addresses)
                await finish(stream, b"stream %d " % number * 2000, 2 * self.patience)

            async with together() as talking:
                for number in range(20):
                    talking.start_soon(talk, number)

    async def test_a_handler_that_raises_ends_its_own_stream_alone(self, make: MakeTransport) -> None:
        async def touchy(stream: Stream) -> None:
            if await stream.receive() == b"fail":
                raise RuntimeError("on purpose")
            await stream.send(b"fine")
            await echo(stream)

        async with make(1, listen=True) as server, make(2, listen=False) as client, tasks() as group:
            await self.start_serving(group, server, ECHO, touchy)
            beside = await self.open(client, self.identity(1), server.addresses)
            await beside.send(b"stay")
            with within(self.patience, "a served stream is answered"):
                assert await beside.receive() == b"fine", "a served stream is answered"
            for _ in range(3):
                failing = await self.open(client, self.identity(1), server.addresses)
                await failing.send(b"fail")
                with (
                    within(self.patience, "what a handler raises resets its stream"),
                    raises(StreamBroken, "what a handler raises resets its stream: StreamBroken, never b''"),
                ):
                    assert await failing.receive(), "what a handler raises resets its stream: StreamBroken, never b''"
            await finish(beside, b"still here", self.patience)
            after = await self.open(
                client, self.identity(1), server.addresses, promise="a handler that raises ends nothing else"
            )
            await after.send(b"stay")
            with within(self.patience, "a handler that raises ends nothing else"):
                assert await after.receive() == b"fine", "a handler that raises ends nothing else"

    async def test_cancelling_serve_ends_its_handlers(self, make: MakeTransport) -> None:
        began, ended = anyio.Event(), anyio.Event()

        async def patient(stream: Stream) -> None:
            began.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()

        async with make(1, listen=True) as server, make(2, listen=False) as client, tasks() as group:
            serving = await self.start_serving(group, server, ECHO, patient)
            stream = await self.open(client, self.identity(1), server.addresses)
            await stream.send(b"x")
            with within(self.patience, "a handler is called for each stream"):
                await began.wait()
            await self.stop_serving(serving)
            assert ended.is_set(), "cancelling ends the handlers, and serve is not over before they are"
            with within(self.patience, "the stream of a handler that was ended does not hang"):
                try:
                    while await stream.receive():
                        pass
                except StreamBroken:
                    pass

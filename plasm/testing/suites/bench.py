"""Two transports and what flows between them, for the tests of a transport."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from plasm.ports import PeerId, Stream, StreamHandler, Transport
from plasm.testing.fakes.signer import FakeSigner
from plasm.testing.suites.background import Background, tasks
from plasm.testing.suites.promises import never_raises, within

ECHO = "/phase/suite/echo/1"
_BENCH = "/phase/suite/bench/1"


class MakeTransport(Protocol):
    """The fixture `make` of :class:`~plasm.testing.suites.transport.TransportSuite`."""

    def __call__(self, seed: int, *, listen: bool = True) -> AbstractAsyncContextManager[Transport]: ...


async def echo(stream: Stream) -> None:
    """A handler that sends back what comes, and ends when the other side does."""
    while data := await stream.receive():
        await stream.send(data)
    await stream.send_eof()


async def read_all(stream: Stream, patience: float) -> bytes:
    """What comes until the end."""
    read = bytearray()
    promise = "the end of what the other side sends is b''"
    with within(patience, promise), never_raises(promise):
        while data := await stream.receive():
            read += data
    return bytes(read)


async def finish(stream: Stream, message: bytes, patience: float) -> None:
    """Say `message` to an echo, hear it back, and close."""
    promise = "a served stream carries bytes in both directions"
    with within(patience, promise), never_raises(promise):
        await stream.send(message)
        await stream.send_eof()
        heard = await read_all(stream, patience)
        await stream.aclose()
    assert heard == message, f"what is sent arrives as it is: {message!r} came back as {heard[:100]!r}"


class TransportChecks:
    """What every test of a transport needs."""

    patience: float = 20.0

    def identity(self, seed: int) -> PeerId:
        """Who ``make(seed)`` is."""
        return FakeSigner(seed).peer

    async def start_serving(
        self, group: TaskGroup, transport: Transport, protocol: str, handler: StreamHandler
    ) -> Background:
        """Serve in a task."""
        serving = Background()

        async def serve(*, task_status: TaskStatus[None]) -> None:
            try:
                with serving.scope:
                    await transport.serve(protocol, handler, task_status=task_status)
                assert serving.scope.cancel_called, "serve goes on until it is cancelled"
            except Exception as error:
                raise AssertionError(f"serve goes on until it is cancelled; it raised {error!r}") from error
            finally:
                serving.ended.set()

        with within(self.patience, "serve says started()"):
            await group.start(serve)
        return serving

    async def stop_serving(self, serving: Background) -> None:
        await serving.stop(self.patience, "cancelling serve ends it and its handlers")

    async def open(
        self,
        transport: Transport,
        peer: PeerId,
        addresses: Sequence[str],
        protocol: str = ECHO,
        *,
        promise: str = "a peer that serves a protocol can be dialed",
    ) -> Stream:
        with within(self.patience, promise), never_raises(promise):
            return await transport.open_stream(peer, addresses, protocol)
        raise AssertionError(promise)


class Bench:
    """A server (seed 1), a client (seed 2), and both ends of the streams between them."""

    def __init__(self, checks: TransportChecks, make: MakeTransport) -> None:
        self._checks = checks
        self._make = make
        self._stack = AsyncExitStack()
        self.server: Transport
        self.client: Transport

    async def __aenter__(self) -> Bench:
        async with AsyncExitStack() as stack:
            self.server = await stack.enter_async_context(self._make(1, listen=True))
            self.client = await stack.enter_async_context(self._make(2, listen=False))
            group = await stack.enter_async_context(tasks())
            self._arrived, self._arrivals = anyio.create_memory_object_stream[Stream](16)
            await self._checks.start_serving(group, self.server, _BENCH, self._handle)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._arrived.close()
        self._arrivals.close()
        return await self._stack.__aexit__(kind, error, traceback)

    async def _handle(self, stream: Stream) -> None:
        await self._arrived.send(stream)
        await anyio.sleep_forever()

    async def stream(self) -> tuple[Stream, Stream]:
        """Both ends of a new stream: the dialer's and the handler's."""
        patience = self._checks.patience
        here = await self._checks.open(self.client, self._checks.identity(1), self.server.addresses, _BENCH)
        with within(patience, "a handler is called for each stream"):
            return here, await self._arrivals.receive()
        raise AssertionError("a handler is called for each stream")

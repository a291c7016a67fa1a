"""Transports that break one promise each; TransportSuite must notice."""

from __future__ import annotations

import contextlib
import logging
from contextlib import asynccontextmanager

import anyio
import pytest

from plasm.ports import DialFailed, StreamBroken
from plasm.testing import FakeSigner, MemoryNetwork, MemoryTransport, TransportSuite
from plasm.testing.fakes.pipe import Pipe
from plasm.testing.fakes.transport import MemoryStream

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One back end is enough: what is tried here is the suite."""
    return "trio"


class Around:
    """A stream that does as another does, but for what a subclass changes."""

    def __init__(self, stream) -> None:
        self.stream = stream

    @property
    def peer(self):
        return self.stream.peer

    async def send(self, data):
        await self.stream.send(data)

    async def receive(self, max_bytes=65536):
        return await self.stream.receive(max_bytes)

    async def send_eof(self):
        await self.stream.send_eof()

    async def reset(self):
        await self.stream.reset()

    async def aclose(self):
        await self.stream.aclose()


class Changed(MemoryTransport):
    """Puts `around` around every stream, on both sides."""

    around: type[Around] = Around

    async def open_stream(self, peer, addresses, protocol):
        return self.around(await super().open_stream(peer, addresses, protocol))

    async def serve(self, protocol, handler, *, task_status):
        async def handle(stream):
            await handler(self.around(stream))

        await super().serve(protocol, handle, task_status=task_status)


class BelievesWhatIsSaid(Changed):
    class around(Around):
        said = None

        @property
        def peer(self):
            return self.said or self.stream.peer

        async def receive(self, max_bytes=65536):
            data = await self.stream.receive(max_bytes)
            if data.startswith(b"/p2p/"):
                self.said = data.decode().strip().removeprefix("/p2p/")
            return data


class EndsWhenReset(Changed):
    class around(Around):
        async def receive(self, max_bytes=65536):
            try:
                return await self.stream.receive(max_bytes)
            except StreamBroken:
                return b""


class ClosesByReset(Changed):
    class around(Around):
        async def aclose(self):
            await self.stream.reset()


class ClosesBothHalves(Changed):
    class around(Around):
        async def send_eof(self):
            await self.stream.aclose()


class NeverEnds(Changed):
    class around(Around):
        async def send_eof(self):
            pass


class RaisesOnSecondReset(Changed):
    class around(Around):
        gone = False

        async def reset(self):
            if self.gone:
                raise StreamBroken("again")
            self.gone = True
            await self.stream.reset()


class RaisesAnythingOnReset(Changed):
    class around(Around):
        async def receive(self, max_bytes=65536):
            try:
                return await self.stream.receive(max_bytes)
            except StreamBroken:
                raise ConnectionResetError from None


class GivesMoreThanAsked(Changed):
    class around(Around):
        async def receive(self, max_bytes=65536):
            return await self.stream.receive(65536)


class LosesTheRest(Changed):
    class around(Around):
        async def receive(self, max_bytes=65536):
            return (await self.stream.receive(65536))[:max_bytes]


class CutsLargeSends(Changed):
    class around(Around):
        async def send(self, data):
            await self.stream.send(data[:65536])


class NoBounds(MemoryTransport):
    def _connect(self, other, protocol):
        stream = super()._connect(other, protocol)
        for pipe in (stream._inbound, stream._outbound):
            pipe._capacity = 2**40
        return stream


class SaysWhoItWasAskedFor(MemoryTransport):
    """Believes the address instead of a proof."""

    def _dial(self, peer, addresses):
        for parsed in filter(None, map(self._parse, addresses)):
            other = self._network.listener(parsed[0])
            if other is not None:
                return other
        raise DialFailed("nobody")

    async def open_stream(self, peer, addresses, protocol):
        stream = self._connect(self._dial(peer, addresses), protocol)
        stream._peer = peer
        return stream


class GivesHandlersItsOwnName(MemoryTransport):
    async def _answer(self, handler, stream, dialer, far_side):
        stream._peer = self.peer
        await super()._answer(handler, stream, dialer, far_side)


class TriesTheFirstAddressAlone(MemoryTransport):
    async def open_stream(self, peer, addresses, protocol):
        return await super().open_stream(peer, addresses[:1], protocol)


class RemembersFailures(MemoryTransport):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.failed = set()

    async def open_stream(self, peer, addresses, protocol):
        if peer in self.failed:
            raise DialFailed("it failed before")
        try:
            return await super().open_stream(peer, addresses, protocol)
        except DialFailed:
            self.failed.add(peer)
            raise


class TakesAnyProtocol(MemoryTransport):
    def _connect(self, other, protocol):
        if protocol not in other._handlers:
            return MemoryStream(other.peer, Pipe(1000), Pipe(1000))
        return super()._connect(other, protocol)


class DialsForEver(MemoryTransport):
    async def open_stream(self, peer, addresses, protocol):
        while True:
            try:
                return await super().open_stream(peer, addresses, protocol)
            except DialFailed:
                await anyio.sleep(0.01)


class RaisesOSError(MemoryTransport):
    async def open_stream(self, peer, addresses, protocol):
        try:
            return await super().open_stream(peer, addresses, protocol)
        except DialFailed:
            raise ConnectionRefusedError from None


class UnderstandsAnything(MemoryTransport):
    def understands(self, address):
        return "/" in address


class ClientWithAddresses(MemoryTransport):
    @property
    def addresses(self):
        return (f"/memory/{self._number}/p2p/{self.peer}",)


class NamesNobody(MemoryTransport):
    @property
    def addresses(self):
        return tuple(f"/memory/{self._number}/p2p/{FakeSigner(60).peer}" for _ in super().addresses)


class DiesOfHandlers(MemoryTransport):
    async def _answer(self, handler, stream, dialer, far_side):
        await handler(stream)
        await stream.aclose()


class ClosesWhatFailed(MemoryTransport):
    async def _answer(self, handler, stream, dialer, far_side):
        async def quiet(stream):
            with contextlib.suppress(RuntimeError):
                await handler(stream)

        await super()._answer(quiet, stream, dialer, far_side)


class LeavesStreamsOpen(MemoryTransport):
    async def _answer(self, handler, stream, dialer, far_side):
        async def stay(stream):
            await handler(stream)
            await anyio.sleep_forever()

        await super()._answer(stay, stream, dialer, far_side)


class LeavesHandlersRunning(MemoryTransport):
    async def _answer(self, handler, stream, dialer, far_side):
        with anyio.move_on_after(1.5, shield=True):
            await super()._answer(handler, stream, dialer, far_side)


class ServesAfterCancel(MemoryTransport):
    async def serve(self, protocol, handler, *, task_status):
        try:
            await super().serve(protocol, handler, task_status=task_status)
        finally:
            self._handlers[protocol] = (handler, _Nowhere())


class _Nowhere:
    def start_soon(self, *args) -> None:
        pass


class IsStartedTooEarly(MemoryTransport):
    async def serve(self, protocol, handler, *, task_status):
        task_status.started()
        await anyio.sleep(0.05)
        await super().serve(protocol, handler, task_status=anyio.TASK_STATUS_IGNORED)


class ServesOne(MemoryTransport):
    async def serve(self, protocol, handler, *, task_status):
        async with anyio.create_task_group() as group:

            async def last(stream):
                await handler(stream)
                group.cancel_scope.cancel()

            await group.start(
                lambda *, task_status: super(ServesOne, self).serve(protocol, last, task_status=task_status)
            )
            task_status.started()


class ListensWhenClosed(MemoryTransport):
    def close(self):
        pass


class MixesProtocols(MemoryTransport):
    def _connect(self, other, protocol):
        return super()._connect(other, next(iter(other._handlers), protocol))


BROKEN = [
    (BelievesWhatIsSaid, "test_what_a_peer_says_does_not_change_who_it_is", "never by anything said", {}),
    (SaysWhoItWasAskedFor, "test_another_identity_than_was_asked_for_is_refused", "another identity", {}),
    (GivesHandlersItsOwnName, "test_both_sides_are_proven", "proven identity of who dialed", {}),
    (GivesHandlersItsOwnName, "test_each_of_several_dialers_is_known", "its own dialer", {}),
    (EndsWhenReset, "test_a_reset_breaks_the_other_side", "never b''", {"who": "dialer"}),
    (EndsWhenReset, "test_a_handler_that_raises_ends_its_own_stream_alone", "never b''", {}),
    (EndsWhenReset, "test_what_was_reset_here_is_broken_here", "raises StreamBroken", {}),
    (EndsWhenReset, "test_a_reset_wakes_who_waits", "gets StreamBroken", {}),
    (RaisesAnythingOnReset, "test_a_reset_breaks_the_other_side", "StreamBroken", {"who": "handler"}),
    (ClosesByReset, "test_aclose_ends_what_the_other_side_reads", "the end|aclose", {}),
    (ClosesBothHalves, "test_half_a_stream_is_closed_and_the_other_goes_on", "the other can send", {}),
    (NeverEnds, "test_half_a_stream_is_closed_and_the_other_goes_on", "the end of what", {}),
    (RaisesOnSecondReset, "test_giving_up_and_closing_never_raise", "never raise", {"order": "reset first"}),
    (GivesMoreThanAsked, "test_receive_gives_no_more_than_asked", "at most 1 bytes", {}),
    (LosesTheRest, "test_receive_gives_no_more_than_asked", "lose nothing", {}),
    (
        CutsLargeSends,
        "test_a_large_transfer_arrives_whole",
        "all of what is sent",
        {"direction": "to the dialer"},
    ),
    (NoBounds, "test_who_reads_slowly_holds_back_who_sends", "has a bound", {}),
    (TriesTheFirstAddressAlone, "test_a_bad_address_does_not_spoil_a_good_one", "does not spoil", {"first": "dead"}),
    (RemembersFailures, "test_a_failed_dial_does_not_spoil_the_next", "can be reached later", {}),
    (TakesAnyProtocol, "test_a_protocol_that_is_not_served_fails", "no such protocol", {}),
    (MixesProtocols, "test_protocols_do_not_mix", "its own handler", {}),
    (DialsForEver, "test_a_dead_address_fails_in_time", "a deadline", {}),
    (DialsForEver, "test_a_protocol_that_is_not_served_fails", "not waited for", {}),
    (RaisesOSError, "test_a_dead_address_fails_in_time", "DialFailed", {}),
    (UnderstandsAnything, "test_what_is_no_address_is_not_understood", "is no address", {}),
    (ClientWithAddresses, "test_a_client_has_no_addresses", "cannot be dialed", {}),
    (NamesNobody, "test_it_can_be_dialed_at_concrete_addresses_that_name_it", "this node", {}),
    (DiesOfHandlers, "test_a_handler_that_raises_ends_its_own_stream_alone", "goes on until it is cancelled", {}),
    (ClosesWhatFailed, "test_a_handler_that_raises_ends_its_own_stream_alone", "resets its stream", {}),
    (LeavesStreamsOpen, "test_a_handler_that_returns_has_its_stream_closed", "the end of what", {}),
    (LeavesHandlersRunning, "test_cancelling_serve_ends_its_handlers", "ends it and its handlers", {}),
    (ServesAfterCancel, "test_after_cancelling_serve_nobody_is_answered_until_it_serves_again", "and no longer", {}),
    (IsStartedTooEarly, "test_a_dialer_is_answered_as_soon_as_it_is_started", "would be answered", {}),
    (
        ServesOne,
        "test_each_of_several_dialers_is_known",
        "can be dialed|goes on until it is cancelled|both directions|the handler was cancelled",
        {},
    ),
    (ListensWhenClosed, "test_a_closed_transport_is_not_reached_any_more", "does not hang", {}),
]


@pytest.mark.parametrize(("broken", "test", "promise", "arguments"), BROKEN)
async def test_a_transport_that_breaks_a_promise_fails(catches, broken, test, promise, arguments) -> None:
    network = MemoryNetwork()

    @asynccontextmanager
    async def make(seed: int, *, listen: bool = True):
        transport = broken(network, FakeSigner(seed), logging.getLogger("broken"), listen=listen)
        try:
            yield transport
        finally:
            transport.close()

    await catches(TransportSuite(), test, make, promise, **arguments)

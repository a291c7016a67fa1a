"""The port's streams over Yamux."""

from __future__ import annotations

from typing import TYPE_CHECKING

from libp2p.stream_muxer.exceptions import MuxedStreamError

from plasm.ports import PeerId, StreamBroken
from plasm_libp2p.muxed_stream import YamuxStream

if TYPE_CHECKING:
    from plasm.ports import Charging, Located, Stream


class Libp2pStream:
    """A Yamux stream whose protocol is agreed on."""

    def __init__(self, muxed: YamuxStream) -> None:
        self._muxed = muxed

    @property
    def peer(self) -> PeerId:
        return self._muxed.muxed_conn.session.peer

    @property
    def remote_ip(self) -> str:
        return self._muxed.muxed_conn.get_remote_address()[0]

    async def charge(self, units: int) -> None:
        """Let the peer wait for what it cost, in units of :mod:`plasm_libp2p.budget`; others run meanwhile."""
        await self._muxed.muxed_conn.charge(units)

    async def send(self, data: bytes) -> None:
        try:
            await self._muxed.send(data)
        except MuxedStreamError as error:
            raise StreamBroken(str(error)) from None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if max_bytes < 1:
            raise ValueError("at least one byte has to be asked for")
        try:
            return await self._muxed.receive(max_bytes)
        except MuxedStreamError as error:
            raise StreamBroken(str(error)) from None

    async def send_eof(self) -> None:
        await self._muxed.muxed_conn.uncongested()
        if self._muxed.broken:
            raise StreamBroken("the stream was reset")
        self._muxed.finish()

    async def reset(self) -> None:
        self._muxed.abandon()

    async def aclose(self) -> None:
        self._muxed.leave()


if TYPE_CHECKING:
    _: type[Stream] = Libp2pStream
    _located: type[Located] = Libp2pStream
    _charging: type[Charging] = Libp2pStream

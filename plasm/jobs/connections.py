"""Ways to nodes: streams of the job protocol, kept for the next question because opening one costs more than asking."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

import anyio

from plasm.jobs.conversation import ConnectionLost, Conversation
from plasm.jobs.messages import PROTOCOL
from plasm.jobs.patience import Patience
from plasm.ports import Found, PeerId, Transport, TransportError

_KEPT_PER_PEER = 8
_KEPT_PEERS = 256
_KEPT_SECONDS = 60
"""Half of what a node waits before it closes an idle stream."""
_CLOSE_SECONDS = 2


class Connections:
    """Streams to nodes over any of `transports`, in order of preference."""

    def __init__(self, transports: Sequence[Transport], patience: Patience | None = None) -> None:
        self._transports = transports
        self._patience = patience or Patience()
        self._kept: dict[PeerId, list[tuple[float, Conversation]]] = {}

    @contextlib.asynccontextmanager
    async def conversation(self, found: Found, *, fresh: bool = False) -> AsyncIterator[Conversation]:
        """A conversation with `found`, kept for the next one if the block ends well and given up if not.

        With `fresh` no kept stream is used. Raises :exc:`~plasm.jobs.conversation.ConnectionLost`.
        """
        conversation = None if fresh else await self._take(found.peer)
        if conversation is None:
            conversation = await self._open(found)
        try:
            yield conversation
        except BaseException:
            await conversation.stream.reset()
            raise
        if conversation.finished:
            await conversation.stream.aclose()
        else:
            await self._keep(conversation)

    def holds(self, peer: PeerId) -> bool:
        """Whether the next conversation with `peer` may be over a kept stream, which may have died meanwhile."""
        return bool(self._kept.get(peer))

    async def aclose(self) -> None:
        """Close what is kept."""
        kept = [conversation for entries in self._kept.values() for _, conversation in entries]
        self._kept.clear()
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_SECONDS):
            for conversation in kept:
                await conversation.stream.reset()

    async def _take(self, peer: PeerId) -> Conversation | None:
        while entries := self._kept.get(peer, []):
            since, conversation = entries.pop()
            if not entries:
                del self._kept[peer]
            if anyio.current_time() - since < _KEPT_SECONDS:
                return conversation
            await conversation.stream.reset()
        return None

    async def _keep(self, conversation: Conversation) -> None:
        unused: list[tuple[float, Conversation]] = []
        entries = self._kept.get(conversation.node)
        if entries is None:
            if len(self._kept) >= _KEPT_PEERS:
                unused = self._kept.pop(next(iter(self._kept)))
            entries = self._kept[conversation.node] = []
        entries.append((anyio.current_time(), conversation))
        if len(entries) > _KEPT_PER_PEER:
            unused.append(entries.pop(0))
        # Closing waits, and others keep their conversations meanwhile.
        for _, each in unused:
            await each.stream.reset()

    async def _open(self, found: Found) -> Conversation:
        problems = []
        for transport in self._transports:
            addresses = [address for address in found.addresses if transport.understands(address)]
            if not addresses:
                continue
            try:
                stream = await transport.open_stream(found.peer, addresses, PROTOCOL)
            except TransportError as error:
                problems.append(str(error))
                continue
            if stream.peer == found.peer:
                return Conversation(stream, self._patience)
            await stream.reset()
            problems.append("another identity answered")
        raise ConnectionLost("; ".join(problems) or f"no transport here understands {', '.join(found.addresses)}")

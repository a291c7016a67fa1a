"""The client's end: discoveries merged, and what they find asked where its HTTP server is."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import anyio
from anyio.abc import ObjectSendStream, TaskGroup

from plasm.drivers import AddressFilter
from plasm.ports import BootTopic, Discovery, DiscoveryError, Found, PeerId, PortError, StreamBroken, Transport
from plasm_finding.hosts import base_url, first_to_answer, hosts_of
from plasm_finding.info import PROTOCOL, InvalidBootInfo, read
from plasm_finding.turns import SearchBounds, Turn, Turns

MOST_RESTING: Final = 256
MOST_TOLD: Final = 1024

_LOG = logging.getLogger("plasm.finding")


@dataclass(frozen=True)
class ProviderFound:
    """A hint where a boot repository is served; nothing that is read there is believed unless it is signed."""

    peer: PeerId | None
    """Who announced it; ``None`` where a person named the URL."""
    base_url: str
    """``http://HOST:PORT/``; HOST is an IP address of the peer."""
    source: str
    """The discovery that found it (``"mdns"``, ``"dht"``), or ``"given"``."""
    seconds: float | None
    """How long a TCP connection to it took; ``None`` where none was made."""


class NoProvider(Exception):
    """The peer could not be reached, or does not serve what is looked for; the message is one line."""


async def find_providers(
    transports: Sequence[Transport],
    discoveries: Sequence[Discovery],
    topic: BootTopic,
    found: ObjectSendStream[ProviderFound],
    *,
    allows: AddressFilter,
    bounds: SearchBounds | None = None,
) -> None:
    """Send each provider of `topic` once its HTTP server has taken a connection, until cancelled.

    The same URL of the same peer comes once, another one of it again. Peers that do not answer, or answer nonsense, are
    passed over; a discovery that fails is logged, and the others go on. Slow takers are waited for.
    """
    search = _Search(transports, topic, found, allows, bounds or SearchBounds())
    async with anyio.create_task_group() as tasks:
        for discovery in discoveries:
            tasks.start_soon(search.by, discovery)
        await anyio.sleep_forever()


class _Search:
    def __init__(
        self,
        transports: Sequence[Transport],
        topic: BootTopic,
        found: ObjectSendStream[ProviderFound],
        allows: AddressFilter,
        bounds: SearchBounds,
    ) -> None:
        self._bounds = bounds
        self._transports = transports
        self._topic = topic
        self._found = found
        self._allows = allows
        self._told: OrderedDict[tuple[PeerId, str], None] = OrderedDict()

    async def by(self, discovery: Discovery) -> None:
        """Look by `discovery` until cancelled."""
        send, receive = anyio.create_memory_object_stream[Found]()
        turns = Turns(self._bounds)
        resting: set[PeerId] = set()

        async def line_up() -> None:
            async for found in receive:
                await turns.put(Turn(found))

        async with send, receive, anyio.create_task_group() as tasks:
            tasks.start_soon(line_up)
            tasks.start_soon(self._look_at_all, turns, resting, tasks)
            try:
                await discovery.find(self._topic, send)
            except DiscoveryError as error:
                _LOG.warning("a discovery cannot look for providers: %s", error)
            except Exception as error:
                # A driver that breaks costs what it would have found, and nothing else.
                _LOG.warning("a discovery broke while it looked for providers: %.300r", error)
                _LOG.debug("%s", type(discovery).__name__, exc_info=True)

    async def _look_at_all(self, turns: Turns, resting: set[PeerId], tasks: TaskGroup) -> None:
        while True:
            tasks.start_soon(self._look, await turns.take(), turns, resting, tasks)

    async def _look(self, turn: Turn, turns: Turns, resting: set[PeerId], tasks: TaskGroup) -> None:
        peer = turn.found.peer
        try:
            provider = await self._provider(turn.found)
        except Exception as error:
            # Whatever a peer makes a driver raise costs that peer its turn, and nothing else.
            level = logging.DEBUG if isinstance(error, NoProvider) else logging.WARNING
            _LOG.log(level, "%s, found by %s: %.300r", peer, turn.found.source, error)
            pauses = self._bounds.pauses_seconds
            again = turn.tries < len(pauses) and peer not in resting and len(resting) < MOST_RESTING
            if again and not turns.awaits(peer):
                resting.add(peer)
                tasks.start_soon(_rest, turn, pauses[turn.tries], turns, resting)
        else:
            await self._tell(provider)
        finally:
            turns.done(turn)

    async def _tell(self, provider: ProviderFound) -> None:
        assert provider.peer is not None
        name = (provider.peer, provider.base_url)
        if name in self._told:
            return
        self._told[name] = None
        if len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)
        await self._found.send(provider)

    async def _provider(self, found: Found) -> ProviderFound:
        hosts = hosts_of(found.peer, found.addresses, self._allows)
        if not hosts:
            raise NoProvider("it has no IP address that may be used here")
        port = _port(found.properties.get("http_port", "")) or await self._ask(found)
        answered = await first_to_answer(hosts, port)
        if answered is None:
            raise NoProvider(f"no HTTP server at port {port} of {', '.join(hosts)}")
        host, seconds = answered
        return ProviderFound(found.peer, base_url(host, port), found.source, seconds)

    async def _ask(self, found: Found) -> int:
        """The port of the HTTP server of `found`, from itself."""
        transport = next((each for each in self._transports if any(map(each.understands, found.addresses))), None)
        if transport is None:
            raise NoProvider("no transport here can dial it")
        seconds = self._bounds.ask_seconds
        try:
            with anyio.fail_after(seconds):
                stream = await transport.open_stream(found.peer, found.addresses, PROTOCOL)
                try:
                    # A provider may have answered and gone before it hears that there is nothing to hear.
                    with suppress(StreamBroken):
                        await stream.send_eof()
                    seconds = self._bounds.answer_seconds
                    with anyio.fail_after(seconds):
                        info = await read(stream.receive)
                finally:
                    await stream.reset()
        except TimeoutError:
            raise NoProvider(f"it did not answer over {PROTOCOL} within {seconds:g} s") from None
        except (PortError, InvalidBootInfo) as error:
            raise NoProvider(str(error)) from None
        if (self._topic.channel, self._topic.arch) not in info.channels:
            raise NoProvider(f"it does not serve {self._topic.channel} for {self._topic.arch}")
        return info.http_port


async def _rest(turn: Turn, seconds: float, turns: Turns, resting: set[PeerId]) -> None:
    await anyio.sleep(seconds)
    resting.discard(turn.found.peer)
    if not turns.awaits(turn.found.peer):
        await turns.put(Turn(turn.found, turn.tries + 1))


def _port(text: str) -> int | None:
    """A TXT record's ``http_port``; ``None`` for what is no port."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    return int(text) if 0 < int(text) < 65536 else None

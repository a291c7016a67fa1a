"""Says on the network what is offered here: by every discovery, for every channel and architecture."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
from plasm_finding.info import MOST_CHANNELS, BootInfo
from plasm_finding.serving import serve_boot_info

from plasm.ports import BootTopic, Discovery, PeerId, PortError, Transport
from plasm_provider.catalog import Catalog

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

RUNNING: Final = "running"
NOT_YET: Final = "nothing announced yet"
ANNOUNCE_SECONDS: Final = 10.0
"""For all first announcements; serving does not wait longer for a discovery that says nothing."""
RETRY_SECONDS: Final = 30.0
"""After a discovery could not announce."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """How others find this provider; nothing by default."""

    peer: PeerId | None = None
    """This node; ``None`` where no discovery is open."""
    transports: tuple[tuple[str, Transport], ...] = ()
    discoveries: tuple[tuple[str, Discovery], ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    """Discoveries that were asked for and could not be opened → why."""


class Advertising:
    """Announces what the catalog offers, anew where that changes, and takes it back when it ends."""

    def __init__(
        self, network: Network, catalog: Catalog, urls: Sequence[tuple[str, int]], port: int, log: logging.Logger
    ) -> None:
        self.states: dict[str, str] = dict(network.absent)
        """By discovery: :data:`RUNNING`, or how it is instead."""
        self.network = network
        self._catalog = catalog
        self._endpoints = urls
        self._port = port
        self._log = log

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; ``started()`` once each discovery has announced what is offered, or said why not."""
        async with anyio.create_task_group() as tasks:
            for name, transport in self.network.transports:
                await tasks.start(self._answer, name, transport)
            for name, discovery in self.network.discoveries:
                await tasks.start(self._announce, name, discovery)
            task_status.started()

    def addresses(self) -> list[str]:
        """Multiaddrs of this node, those of its HTTP server first: not every discovery needs a transport to be open."""
        peer = self.network.peer
        own = [
            f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}/http/p2p/{peer}" for host, port in self._endpoints
        ]
        return own + [address for _, transport in self.network.transports for address in transport.addresses]

    def info(self) -> BootInfo:
        """What a peer is told that asks over a transport."""
        return BootInfo(http_port=self._port, channels=tuple(self._catalog.offer.channels)[:MOST_CHANNELS])

    def _wanted(self) -> dict[BootTopic, dict[str, str]]:
        offered = list(self._catalog.offer.channels.items())[:MOST_CHANNELS]
        return {
            BootTopic(channel, arch): {"version": str(version), "http_port": str(self._port)}
            for (channel, arch), version in offered
        }

    async def _answer(self, name: str, transport: Transport, *, task_status: TaskStatus[None]) -> None:
        told = _Once(task_status.started)
        while True:
            try:
                await serve_boot_info(transport, self.info, task_status=told)
            except PortError as error:
                self._log.warning("%s does not say where the HTTP server is: %s", name, error)
                told.started()
            await anyio.sleep(RETRY_SECONDS)

    async def _announce(self, name: str, discovery: Discovery, *, task_status: TaskStatus[None]) -> None:
        running: dict[BootTopic, _Announcement] = {}
        told = _Once(task_status.started)
        self.states[name] = RUNNING
        async with anyio.create_task_group() as tasks:
            while True:
                news, wanted = self._catalog.news, self._wanted()
                for topic, announcement in list(running.items()):
                    if wanted.get(topic) != announcement.properties:
                        await running.pop(topic).end()
                for topic in wanted.keys() - running.keys():
                    self.states[name] = NOT_YET
                    running[topic] = _Announcement(topic, wanted[topic])
                    tasks.start_soon(self._keep, name, discovery, running[topic])
                with anyio.move_on_after(ANNOUNCE_SECONDS):
                    for announcement in running.values():
                        await announcement.told.wait()
                told.started()
                await news.wait()

    async def _keep(self, name: str, discovery: Discovery, announcement: _Announcement) -> None:
        def began() -> None:
            self.states[name] = RUNNING
            announcement.told.set()

        topic = announcement.topic
        try:
            with announcement.scope:
                while True:
                    try:
                        await discovery.advertise(
                            topic, self.addresses, announcement.properties, task_status=_Once(began)
                        )
                    except Exception as error:
                        # A driver that breaks costs the announcement, and not what is served.
                        self.states[name] = str(error) if isinstance(error, PortError) else repr(error)
                        self._log.warning("%s is not announced by %s: %s", topic.key, name, self.states[name])
                        announcement.told.set()
                    await anyio.sleep(RETRY_SECONDS)
        finally:
            announcement.ended.set()


class _Announcement:
    """One topic by one discovery, with properties that do not change."""

    def __init__(self, topic: BootTopic, properties: dict[str, str]) -> None:
        self.topic = topic
        self.properties = properties
        self.scope = anyio.CancelScope()
        self.told = anyio.Event()
        """Announced, or found not to be."""
        self.ended = anyio.Event()

    async def end(self) -> None:
        """Take it back: what comes next under the same name must not be contradicted by a late goodbye."""
        self.scope.cancel()
        await self.ended.wait()


class _Once:
    """A task status that may be told more than once."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def started(self, value: None = None) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

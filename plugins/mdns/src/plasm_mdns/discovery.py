"""The discovery ``mdns``: DNS-SD (RFC 6763) over multicast DNS (RFC 6762)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
from zeroconf import ServiceInfo

from plasm.drivers import Scope
from plasm.identity import peer_id
from plasm.ports import Discovery, DiscoveryError, Found, PeerId, Signer, Topic
from plasm.shares import Places, origin_of
from plasm_mdns.addresses import first_ip
from plasm_mdns.engine import Engine, open_engine
from plasm_mdns.hooks import MdnsOptions
from plasm_mdns.interfaces import usable_interfaces
from plasm_mdns.mailbox import Mailbox
from plasm_mdns.records import Announcement, announcement, host_name, instance_name, read, service_type

if TYPE_CHECKING:
    from anyio.abc import ObjectSendStream, TaskStatus

_SHORTEST_POLL = 0.05
"""Seconds; an option of nothing must not keep a core busy."""


class Mdns:
    """Who is on the same link. Nothing of it is proven: any machine there can say anything."""

    def __init__(self, engine: Engine, own: PeerId, scope: Scope, options: MdnsOptions) -> None:
        self._engine = engine
        self._own = own
        self._allows = scope.allows
        self._log = scope.log
        self._options = options

    async def advertise(
        self,
        topic: Topic,
        addresses: Callable[[], Sequence[str]],
        properties: Mapping[str, str],
        *,
        task_status: TaskStatus[None],
    ) -> None:
        current = announcement(topic, self._own, addresses(), properties, self._allows)
        try:
            await self._announce(topic, None, current)
            task_status.started()
            while True:
                await anyio.sleep(max(self._options.poll_seconds, _SHORTEST_POLL))
                wanted = announcement(topic, self._own, addresses(), properties, self._allows)
                if wanted == current:
                    continue
                try:
                    await self._announce(topic, current, wanted)
                    current = wanted
                except DiscoveryError as error:
                    self._log.warning("mdns: the new addresses are not announced yet: %s", error)
        finally:
            if current is not None:
                with suppress(DiscoveryError):
                    await self._announce(topic, current, None)

    async def _announce(self, topic: Topic, current: Announcement | None, wanted: Announcement | None) -> None:
        if current is None and wanted is not None:
            await self._engine.register(self._service(topic, wanted))
        elif current is not None and wanted is not None:
            await self._engine.update(self._service(topic, wanted))
        elif current is not None:
            await self._engine.unregister(self._service(topic, current))

    def _service(self, topic: Topic, announced: Announcement) -> ServiceInfo:
        return ServiceInfo(
            service_type(topic),
            instance_name(topic, self._own),
            port=announced.port,
            properties=announced.text,
            server=host_name(self._own),
            addresses=list(dict.fromkeys(where.ip.packed for where in announced.endpoints)),
        )

    async def find(self, topic: Topic, found: ObjectSendStream[Found]) -> None:
        limit = max(self._options.max_found, 1)
        known: dict[str, Found] = {}
        places: Places[str] = Places(limit)
        mailbox = Mailbox(limit)

        def appeared(name: str, text: bytes) -> None:
            news = read(text, topic, self._allows)
            if news is None or news.peer == self._own or known.get(name) == news:
                return
            gone(name)
            known[name] = news
            lost = places.enter(name, origin_of(first_ip(news.addresses), news.peer))
            if lost is not None:
                known.pop(lost)
            if lost != name:
                mailbox.put(name, news)

        def gone(name: str) -> None:
            known.pop(name, None)
            places.leave(name)

        try:
            async with self._engine.browse(service_type(topic), appeared, gone):
                while True:
                    for news in await mailbox.receive():
                        await found.send(news)
        finally:
            mailbox.close()


@asynccontextmanager
async def mdns_discovery(scope: Scope, options: MdnsOptions) -> AsyncIterator[Discovery]:
    """Discovery on the links that the scope allows, as the scope's signer.

    Raises :exc:`DiscoveryError` where no interface takes multicast or port 5353 cannot be shared.
    """
    own = peer_id(scope.require(Signer).public_key)
    interfaces = partial(usable_interfaces, options.interfaces, scope.allows)
    async with open_engine(interfaces, max(options.interface_poll_seconds, _SHORTEST_POLL), scope.log) as engine:
        yield Mdns(engine, own, scope, options)


_: type[Discovery] = Mdns

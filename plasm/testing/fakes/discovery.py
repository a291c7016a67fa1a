"""A discovery in which everyone who shares a directory finds everyone else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from plasm.drivers import Driver, Options, Scope
from plasm.identity import peer_id
from plasm.ports import Discovery, DiscoveryError, Found, PeerId, Signer, Topic

if TYPE_CHECKING:
    from anyio.abc import ObjectSendStream, TaskStatus

_MOST_RECORDS = 10_000


class StaticDirectory:
    """Who offers what. Share one object between discoveries; fill it beforehand for a fixed list."""

    def __init__(self) -> None:
        self._records: dict[str, dict[PeerId, Found]] = {}
        self._changed = anyio.Event()

    def put(self, topic: Topic, found: Found) -> None:
        """Say that `found.peer` offers `topic`, in place of what was said about it before."""
        records = self._records.setdefault(topic.key, {})
        if records.get(found.peer) == found:
            return
        if found.peer not in records and sum(map(len, self._records.values())) >= _MOST_RECORDS:
            raise DiscoveryError("the directory is full")
        records[found.peer] = found
        self._tell()

    def remove(self, topic: Topic, peer: PeerId) -> None:
        """Take back what was said about `peer`; fine where nothing was."""
        records = self._records.get(topic.key, {})
        if records.pop(peer, None) is not None:
            if not records:
                del self._records[topic.key]
            self._tell()

    def providers(self, topic: Topic) -> Sequence[Found]:
        """Who offers `topic` now."""
        return tuple(self._records.get(topic.key, {}).values())

    async def changed(self) -> None:
        """Wait for the next change of anything."""
        await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class StaticDiscovery:
    """Advertises `peer` in `directory`, and finds whoever else stands there."""

    def __init__(self, directory: StaticDirectory, peer: PeerId, *, renew_seconds: float = 1.0) -> None:
        self._directory = directory
        self._peer = peer
        self._renew_seconds = renew_seconds

    def sources(self) -> Sequence[str]:
        return ("a static directory",)

    async def advertise(
        self,
        topic: Topic,
        addresses: Callable[[], Sequence[str]],
        properties: Mapping[str, str],
        *,
        task_status: TaskStatus[None],
    ) -> None:
        def announce() -> None:
            self._directory.put(topic, Found(self._peer, tuple(addresses()), "static", dict(properties)))

        announce()
        try:
            task_status.started()
            while True:
                await anyio.sleep(self._renew_seconds)
                announce()
        finally:
            self._directory.remove(topic, self._peer)

    async def find(self, topic: Topic, found: ObjectSendStream[Found]) -> None:
        sent: dict[PeerId, Found] = {}
        while True:
            current = self._directory.providers(topic)
            news = [one for one in current if one.peer != self._peer and sent.get(one.peer) != one]
            sent = {peer: one for peer, one in sent.items() if one in current}
            for one in news:
                await found.send(one)
                sent[one.peer] = one
            # Without a wait since `current` was read nothing can have been missed.
            if not news:
                await self._directory.changed()


def static_driver(directory: StaticDirectory, *, name: str = "static") -> Driver[Discovery]:
    """A driver whose discoveries share `directory`; each advertises the identity of the scope's signer."""

    @asynccontextmanager
    async def open_static(scope: Scope, options: Options) -> AsyncIterator[StaticDiscovery]:
        yield StaticDiscovery(directory, peer_id(scope.require(Signer).public_key))

    return Driver(name=name, open=open_static, needs=frozenset({"signer"}), summary="everyone who shares one directory")


if TYPE_CHECKING:
    _: type[Discovery] = StaticDiscovery

"""Provider records that other nodes announced here: bounded, short-lived, the newest first to stay.

py-libp2p keeps twenty providers of a topic for two days and refuses the twenty-first, so that a topic that everybody
offers is full of nodes that left long ago, and it keeps any number of topics.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from libp2p.abc import IHost
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.peer.peerinfo import PeerInfo

MOST_TOPICS = 4096
MOST_PROVIDERS = 256
"""Of one topic; an answer that names them all stays under 64 KiB."""
MOST_ADDRESSES = 16


class BoundedRecords(ProviderStore):
    """Provider records by topic key; what is announced last pushes out what was announced first."""

    def __init__(self, host: IHost, seconds: float, changed: Callable[[], None]) -> None:
        super().__init__(host)
        self._seconds = seconds
        self._changed = changed
        self._topics: OrderedDict[bytes, OrderedDict[str, tuple[PeerInfo, float]]] = OrderedDict()

    def add_provider(self, key: bytes, provider: PeerInfo) -> None:
        records = self._topics.setdefault(key, OrderedDict())
        self._topics.move_to_end(key)
        name = str(provider.peer_id)
        records[name] = (PeerInfo(provider.peer_id, provider.addrs[:MOST_ADDRESSES]), time.monotonic())
        records.move_to_end(name)
        if len(records) > MOST_PROVIDERS:
            records.popitem(last=False)
        if len(self._topics) > MOST_TOPICS:
            self._topics.popitem(last=False)
        self._changed()

    def remove_provider(self, key: bytes, peer: str) -> None:
        """Forget what `peer` announced under `key`."""
        records = self._topics.get(key)
        if records is not None:
            records.pop(peer, None)
            if not records:
                del self._topics[key]

    def get_providers(self, key: bytes) -> list[PeerInfo]:
        self._forget_old(key)
        return [info for info, _ in reversed(self._topics.get(key, OrderedDict()).values())]

    def cleanup_expired(self) -> None:
        for key in list(self._topics):
            self._forget_old(key)

    def _forget_old(self, key: bytes) -> None:
        limit = time.monotonic() - self._seconds
        records = self._topics.get(key, OrderedDict())
        for name in [name for name, (_, announced) in records.items() if announced < limit]:
            self.remove_provider(key, name)

    def size(self) -> int:
        return sum(len(records) for records in self._topics.values())

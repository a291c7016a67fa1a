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

MOST_RECORDS = 16384
MOST_TOPICS_OF_PEER = 64
"""That one peer announces; honest ones announce a few."""
MOST_PROVIDERS = 256
"""Of one topic; an answer that names them all stays under 64 KiB."""
MOST_ADDRESSES = 16
_KEY_START = b"\x12\x20"
_KEY_SIZE = 34


class BoundedRecords(ProviderStore):
    """Provider records by topic key, which is a SHA-256 multihash; others are ignored.

    What is announced last pushes out what was announced first: by the same peer where that holds too many, else by the
    peer that holds most, so that nobody's announcements cost others theirs. The node's own records stay.
    """

    def __init__(self, host: IHost, seconds: float, changed: Callable[[], None]) -> None:
        super().__init__(host)
        self._own = str(host.get_id())
        self._seconds = seconds
        self._changed = changed
        self._topics: dict[bytes, OrderedDict[str, tuple[PeerInfo, float]]] = {}
        self._held: dict[str, OrderedDict[bytes, None]] = {}
        """The topics of each other peer, the one that it announced last at the end."""
        self._size = 0

    def add_provider(self, key: bytes, provider: PeerInfo) -> None:
        if len(key) != _KEY_SIZE or not key.startswith(_KEY_START):
            return
        name = str(provider.peer_id)
        self.remove_provider(key, name)
        records = self._topics.setdefault(key, OrderedDict())
        records[name] = (PeerInfo(provider.peer_id, provider.addrs[:MOST_ADDRESSES]), time.monotonic())
        self._size += 1
        if name != self._own:
            held = self._held.setdefault(name, OrderedDict())
            held[key] = None
            if len(held) > MOST_TOPICS_OF_PEER:
                self.remove_provider(next(iter(held)), name)
        if len(records) > MOST_PROVIDERS:
            self.remove_provider(key, next(other for other in records if other != self._own))
        if self._size > MOST_RECORDS and self._held:
            most = max(self._held, key=lambda other: len(self._held[other]))
            self.remove_provider(next(iter(self._held[most])), most)
        self._changed()

    def remove_provider(self, key: bytes, peer: str) -> None:
        """Forget what `peer` announced under `key`."""
        records = self._topics.get(key)
        if records is None or records.pop(peer, None) is None:
            return
        self._size -= 1
        if not records:
            del self._topics[key]
        held = self._held.get(peer)
        if held is not None:
            held.pop(key, None)
            if not held:
                del self._held[peer]

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
        return self._size

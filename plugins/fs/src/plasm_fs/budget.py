"""How much a store holds, what was used when, and what must go so that more fits."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from plasm.ports import Digest, Entry, StoreError, TooLarge

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


def hexadecimal(digest: Digest) -> str:
    """The 64 digits of a SHA-256 `digest`. Raises :exc:`StoreError` for any other text."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise StoreError(f"{digest[:80]!r} is not a digest: sha256: and 64 lower-case hexadecimal digits")
    return match[1]


@dataclass(frozen=True)
class _Use:
    size: int
    used: float


class Budget:
    """The account of a store: content held, oldest-used first, and bytes that are being written.

    Not safe for threads; the store locks around it.
    """

    def __init__(self, max_bytes: int, max_item_bytes: int, max_items: int) -> None:
        self._max_bytes = max_bytes
        self._max_item_bytes = min(max_item_bytes, max_bytes)
        self._max_items = max_items
        self._held: OrderedDict[Digest, _Use] = OrderedDict()
        self._bytes_held = 0
        self._bytes_arriving = 0

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._held

    def check_size(self, size: int) -> None:
        """Raises :exc:`TooLarge` where one item of `size` bytes is more than the store takes."""
        if size < 0:
            raise StoreError("a size cannot be negative")
        if size > self._max_item_bytes:
            raise TooLarge(f"{size} bytes are more than the {self._max_item_bytes} that the store takes for one item")

    def make_room(self, size: int) -> list[Digest]:
        """Account for `size` bytes more of what is being written; returns what must be removed for it.

        Raises :exc:`StoreError` where even without all that is held there is no room.
        """
        if self._bytes_arriving + size > self._max_bytes:
            raise StoreError("the store is full of content that is still being written; try again later")
        self._bytes_arriving += size
        return self.trim()

    def give_back(self, size: int) -> None:
        """`size` bytes that were being written will not be kept."""
        self._bytes_arriving -= size

    def keep(self, digest: Digest, size: int, used: float) -> list[Digest]:
        """`size` bytes that were being written are now held as `digest`; returns what must be removed for it."""
        self._bytes_arriving -= size
        self.found(digest, size, used)
        return self.trim()

    def found(self, digest: Digest, size: int, used: float) -> None:
        """`digest` is held; it counts as used last."""
        self.drop(digest)
        self._held[digest] = _Use(size, used)
        self._bytes_held += size

    def touch(self, digest: Digest, used: float) -> None:
        """`digest` was used, if it is held."""
        if digest in self._held:
            self._held[digest] = _Use(self._held[digest].size, used)
            self._held.move_to_end(digest)

    def drop(self, digest: Digest) -> None:
        """`digest` is not held any more; fine where it never was."""
        use = self._held.pop(digest, None)
        if use is not None:
            self._bytes_held -= use.size

    def trim(self) -> list[Digest]:
        """Forgets what was used longest ago until the rest fits; returns what must be removed for it."""
        victims = []
        while self._held and (
            self._bytes_held + self._bytes_arriving > self._max_bytes or len(self._held) > self._max_items
        ):
            digest, use = self._held.popitem(last=False)
            self._bytes_held -= use.size
            victims.append(digest)
        return victims

    def entries(self) -> list[Entry]:
        return [Entry(digest, use.size, use.used) for digest, use in self._held.items()]

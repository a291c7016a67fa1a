"""A module of the suites, and how a module is named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from plasm.ports import Digest


@dataclass(frozen=True)
class Module:
    """A module that does one thing, which `meaning` says in a sentence."""

    name: str
    meaning: str
    wat: str = field(repr=False)
    wasm: bytes = field(repr=False)

    @property
    def digest(self) -> Digest:
        return digest_of(self.wasm)


def digest_of(content: bytes) -> Digest:
    """The digest that `content` goes by."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def distinct(wasm: bytes, number: int) -> bytes:
    """A module that does the same as `wasm` and has another digest, by a custom section (core specification 5.5.3)."""
    payload = b"\x01n" + number.to_bytes(4, "big")
    return wasm + b"\x00" + bytes([len(payload)]) + payload

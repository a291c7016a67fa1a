"""The JSON documents of a provider; ``docs/openapi.json`` describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

NAME: Final = "plasm-provider"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """``/``"""

    name: str = NAME
    version: str
    """Of the software."""
    channel: str
    arch: str
    """Of what ``/manifest.json`` leads to."""
    uptime_seconds: float


class ChecksDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Each is true where all is well."""

    artifacts_readable: bool
    """The folder can be read, and every signed artifact is there."""
    disk_space_ok: bool
    metadata_current: bool
    """There is signed metadata, and it has not expired."""


class HealthDocument(msgspec.Struct, frozen=True, kw_only=True):
    """``/health``"""

    status: Literal["healthy", "unhealthy"]
    checks: ChecksDocument


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start."""

    requests_total: int
    bytes_served_total: int


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """One channel for one architecture."""

    channel: str
    arch: str
    version: int
    """Of the channel's metadata."""


class HashingDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The file that is being hashed."""

    path: str
    done_bytes: int
    total_bytes: int


class TrustDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What clients pin, and until when what follows from it holds."""

    root_sha256: str
    """Of the first root's metadata."""
    root_path: str
    """Where it is, below the provider's URL."""
    expires: str
    """RFC 3339."""


class Status(About, frozen=True, kw_only=True):
    """``/status``"""

    health: HealthDocument
    metrics: Metrics
    offers: tuple[Offered, ...]
    artifacts: Mapping[str, int]
    """How many signed artifacts are in each state."""
    refused: Mapping[str, str]
    """What is there and is not offered → why."""
    hashing: HashingDocument | None
    trust: TrustDocument | None
    advertised: Mapping[str, str]
    """By discovery: ``running``, or why it is not."""

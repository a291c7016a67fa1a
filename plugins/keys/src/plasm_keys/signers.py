"""The signers ``file`` and ``ephemeral``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio.to_thread

from plasm.drivers import DriverUnavailable
from plasm.ports import Signer, SignerError
from plasm_keys import keyfile

KEY_NAME = "identity.key"


def path_of(target: str) -> Path:
    """The path that a ``file:`` URI without a host (RFC 8089) or a plain path names. Raises :exc:`SignerError`."""
    if target.startswith("file:"):
        parts = urlsplit(target)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise SignerError(f"{target!r} names no local file; write file:///PATH")
        target = unquote(parts.path)
    if not target or "\0" in target or target.endswith("/"):
        raise SignerError(f"{target!r} names no file")
    return Path(target)


@asynccontextmanager
async def file_signer(home: Path | None, target: str = "") -> AsyncIterator[Signer]:
    """The key that `target` names, or ``identity.key`` in `home`; created where it is missing.

    Where `home` is ``None`` nothing may be written, so a missing key stays missing. Raises :exc:`DriverUnavailable`
    without `home` and `target`, else as :func:`plasm_keys.keyfile.load_or_create`.
    """
    if target:
        path = path_of(target)
    elif home is not None:
        path = home / KEY_NAME
    else:
        raise DriverUnavailable("a key file needs a home, and nothing may be written here", "--plugins ephemeral")
    open_key = keyfile.load if home is None else keyfile.load_or_create
    yield await anyio.to_thread.run_sync(open_key, path)


@asynccontextmanager
async def ephemeral_signer() -> AsyncIterator[Signer]:
    """A new key, never written, gone when the block is left."""
    yield keyfile.KeyInMemory.generate()

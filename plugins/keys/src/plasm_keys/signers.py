"""The signers ``file``, ``encrypted`` and ``ephemeral``."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import anyio.to_thread
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plasm.drivers import DriverUnavailable, Scope
from plasm.passphrases import obtain_secret
from plasm.ports import Signer, SignerError
from plasm_keys import agefile, keyfile
from plasm_keys.hooks import EncryptedOptions, FileOptions
from plasm_keys.private_file import publish_private, read_private, shown

KEY_NAME: Final = "identity.key"
LOCKED_KEY_NAME: Final = "identity.age"
VARIABLE: Final = "PLASM_PASSPHRASE_FILE"
"""The environment variable that names a file with the passphrase."""


def path_of(target: str, scheme: str = "file") -> Path:
    """The path that a URI of `scheme` without a host (RFC 8089) or a plain path names. Raises :exc:`SignerError`."""
    if target.startswith(f"{scheme}:"):
        parts = urlsplit(target)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise SignerError(f"{target!r} names no local file; write {scheme}:///PATH")
        target = unquote(parts.path)
    if not target or "\0" in target or target.endswith("/"):
        raise SignerError(f"{target!r} names no file")
    return Path(target)


@asynccontextmanager
async def file_signer(scope: Scope, options: FileOptions) -> AsyncIterator[Signer]:
    """The key that ``options.uri`` names, or ``identity.key`` in the driver's folder, created where it is missing.

    Raises :exc:`DriverUnavailable` without a folder and a URI, else as :mod:`plasm_keys.keyfile`.
    """
    if options.uri:
        path, create = path_of(options.uri), options.create
    else:
        path, create = _in_home(scope, KEY_NAME), "missing"
    open_key = {"never": keyfile.load, "missing": keyfile.load_or_create, "new": keyfile.create}[create]
    try:
        signer = await anyio.to_thread.run_sync(open_key, path)
    except keyfile.KeyMissing as error:
        raise _with_mend(error, options.uri) from None
    yield signer


@asynccontextmanager
async def encrypted_signer(scope: Scope, options: EncryptedOptions) -> AsyncIterator[Signer]:
    """The key in the age file that ``options.uri`` names, or in ``identity.age`` in the driver's folder, created there
    where it is missing.

    The passphrase comes from the file that ``PLASM_PASSPHRASE_FILE`` names, else from a person, who is asked once, and
    twice for a new key. Raises :exc:`DriverUnavailable` without a folder and a URI, :exc:`KeyMissing`,
    :exc:`KeyExists`, :exc:`KeyRefused` or :exc:`SignerError`.
    """
    if options.uri:
        path, create = path_of(options.uri, "encrypted"), options.create
    else:
        path, create = _in_home(scope, LOCKED_KEY_NAME), "missing"
    there = await anyio.to_thread.run_sync(os.path.lexists, path)
    if there and create == "new":
        raise keyfile.KeyExists(f"there is a file at {shown(path)} already; name another: an identity is in it")
    if there or create == "never":
        try:
            key = await _unlock(scope, path)
        except keyfile.KeyMissing as error:
            raise _with_mend(error, options.uri) from None
    else:
        key = await _create_locked(scope, path)
    yield keyfile.KeyInMemory(key)


@asynccontextmanager
async def ephemeral_signer() -> AsyncIterator[Signer]:
    """A new key, never written, gone when the block is left."""
    yield keyfile.KeyInMemory.generate()


def _in_home(scope: Scope, name: str) -> Path:
    if scope.home is None:
        raise DriverUnavailable("a key file needs a home, and nothing may be written here", "--plugins ephemeral")
    return scope.home / name


def _with_mend(missing: keyfile.KeyMissing, uri: str) -> keyfile.KeyMissing:
    return keyfile.KeyMissing(f"{missing}; make one: plasm key generate {shlex.quote(uri)}")


async def _unlock(scope: Scope, path: Path) -> Ed25519PrivateKey:
    file = agefile.readable(await anyio.to_thread.run_sync(read_private, path, agefile.MAX_FILE_BYTES), shown(path))
    # Before anybody is asked for a passphrase that cannot help.
    agefile.check_header(file, shown(path))
    passphrase = await obtain_secret(scope, f"passphrase of {path}", variable=VARIABLE)
    return keyfile.parse_pem(await agefile.unlock(file, passphrase, shown(path)), str(path))


async def _create_locked(scope: Scope, path: Path) -> Ed25519PrivateKey:
    passphrase = await obtain_secret(scope, f"new passphrase for {path}", variable=VARIABLE, twice=True)
    key = Ed25519PrivateKey.generate()
    file = await agefile.lock(keyfile.pem_of(key), passphrase)
    await anyio.to_thread.run_sync(publish_private, path, file)
    return key

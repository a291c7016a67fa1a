"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

from plasm.drivers import Driver, Options, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Signer

PLASM_API = 1


class FileOptions(Options, frozen=True, kw_only=True):
    """Options of the signer ``file``."""

    uri: str = ""
    """A ``file:`` URI (RFC 8089) or a path; empty for ``identity.key`` in the driver's own folder, which is made where
    it is missing."""
    create: Literal["never", "missing", "new"] = "never"
    """Whether the key that `uri` names is made: never, where it is missing, or always, failing where it is there."""


class EncryptedOptions(Options, frozen=True, kw_only=True):
    """Options of the signer ``encrypted``."""

    uri: str = ""
    """``encrypted:`` and what a ``file:`` URI has after its scheme, or a path; empty for ``identity.age`` in the
    driver's own folder, which is made where it is missing."""
    create: Literal["never", "missing", "new"] = "never"
    """Whether the key that `uri` names is made: never, where it is missing, or always, failing where it is there."""


def open_file(scope: Scope, options: FileOptions) -> AbstractAsyncContextManager[Signer]:
    """The key in a file. Raises as :func:`plasm_keys.signers.file_signer`."""
    from plasm_keys.signers import file_signer

    return file_signer(scope, options)


def open_encrypted(scope: Scope, options: EncryptedOptions) -> AbstractAsyncContextManager[Signer]:
    """The key in a file that a passphrase locks. Raises as :func:`plasm_keys.signers.encrypted_signer`."""
    from plasm_keys.signers import encrypted_signer

    return encrypted_signer(scope, options)


def open_ephemeral(scope: Scope, options: Options) -> AbstractAsyncContextManager[Signer]:
    """A new key that lives as long as the signer is open and is never written."""
    from plasm_keys.signers import ephemeral_signer

    return ephemeral_signer()


def check_library() -> None:
    """Raises :exc:`ImportError` where `cryptography` cannot be loaded."""
    import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401


def check_encrypted() -> None:
    """Raises :exc:`ImportError` where `cryptography` or `pyrage` cannot be loaded."""
    import pyrage.passphrase  # type: ignore[import-untyped]  # noqa: F401

    check_library()


@hookimpl
def plasm_signers() -> Sequence[Driver[Signer]]:
    return (
        Driver(
            name="file",
            open=open_file,
            offers=frozenset({"writes-disk"}),
            options=FileOptions,
            check=check_library,
            summary="an Ed25519 key in a file that only its owner can read",
        ),
        Driver(
            name="encrypted",
            open=open_encrypted,
            offers=frozenset({"writes-disk"}),
            options=EncryptedOptions,
            check=check_encrypted,
            summary="an Ed25519 key in an age file that a passphrase opens",
        ),
        Driver(name="ephemeral", open=open_ephemeral, check=check_library, summary="a new Ed25519 key each time"),
    )

"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from plasm.drivers import Driver, Options, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Signer

PLASM_API = 1


class FileOptions(Options, frozen=True, kw_only=True):
    """Options of the signer ``file``."""

    path: str = ""
    """A file path or a ``file:`` URI (RFC 8089); empty for ``identity.key`` in the driver's own folder."""


def open_file(scope: Scope, options: FileOptions) -> AbstractAsyncContextManager[Signer]:
    """The key in a file, created where there is none. Raises as :func:`plasm_keys.signers.file_signer`."""
    from plasm_keys.signers import file_signer

    return file_signer(scope.home, options.path)


def open_ephemeral(scope: Scope, options: Options) -> AbstractAsyncContextManager[Signer]:
    """A new key that lives as long as the signer is open and is never written."""
    from plasm_keys.signers import ephemeral_signer

    return ephemeral_signer()


def check_library() -> None:
    """Raises :exc:`ImportError` where `cryptography` cannot be loaded."""
    import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401


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
        Driver(name="ephemeral", open=open_ephemeral, check=check_library, summary="a new Ed25519 key each time"),
    )

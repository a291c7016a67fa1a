"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

from plasm.drivers import Driver, Options, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Signer

PLASM_API = 1


class Pkcs11Options(Options, frozen=True, kw_only=True):
    """Options of the signer ``pkcs11``."""

    uri: str = ""
    """The key (RFC 7512): ``pkcs11:token=TOKEN;object=KEY``."""
    create: Literal["never", "missing", "new"] = "never"
    """Whether the key that `uri` names is made: never, where it is missing, or always, failing where it is there."""
    module: str = ""
    """The absolute path of the PKCS#11 module; empty for what ``PLASM_PKCS11_MODULE`` names, else SoftHSM's."""


def open_pkcs11(scope: Scope, options: Pkcs11Options) -> AbstractAsyncContextManager[Signer]:
    """The key in a token. Raises as :func:`plasm_pkcs11.signer.pkcs11_signer`."""
    from plasm_pkcs11.signer import pkcs11_signer

    return pkcs11_signer(scope, options)


def check_module() -> None:
    """Raises :exc:`DriverUnavailable` where no PKCS#11 module can be loaded, :exc:`ImportError` without the library."""
    from plasm_pkcs11.modules import acquire, find_module, release

    release(acquire(find_module()))


@hookimpl
def plasm_signers() -> Sequence[Driver[Signer]]:
    return (
        Driver(
            name="pkcs11",
            open=open_pkcs11,
            options=Pkcs11Options,
            check=check_module,
            summary="an Ed25519 key in a token that never lets it out",
        ),
    )

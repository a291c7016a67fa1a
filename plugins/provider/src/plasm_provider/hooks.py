"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from plasm.drivers import Options, Scope, Service
from plasm.hookspecs import hookimpl

PLASM_API = 1


class ProviderOptions(Options, frozen=True, kw_only=True):
    """Options of the service ``provider``; those of ``plasm serve`` and ``plasm mirror``."""

    artifacts: str = ""
    """The plain folder ``CHANNEL/ARCH/NAME`` that is signed and served; empty for the platform's."""
    repository: str = ""
    """A publisher's repository to serve instead."""
    mirror: bool = False
    """Serve what is signed under a pinned root instead, from providers that are found or named in `mirror_from`."""
    mirror_from: tuple[str, ...] = ()
    """Base URLs of providers to mirror."""
    root: str = ""
    """File of the root that the mirror pins at its first start."""
    refresh_seconds: float = 60.0
    """How often a mirror asks for what is new."""
    bind: str = "0.0.0.0"  # noqa: S104 - it is there to be reached
    port: int = 8080
    channel: str = "stable"
    arch: str = ""
    """Of what ``/manifest.json`` leads to; empty for this machine's."""
    least_free_mb: int = 64
    """With less than that on the disk the provider says that it is unhealthy."""


def open_provider(scope: Scope, options: ProviderOptions) -> AbstractAsyncContextManager[object]:
    """The provider beside a node. Raises :exc:`plasm.errors.PlasmError` where it cannot listen or has no source."""
    from plasm_provider.service import provider_service

    return provider_service(scope, options)


@hookimpl
def plasm_services() -> Sequence[Service]:
    return (
        Service(
            name="provider",
            open=open_provider,
            needs=frozenset({"signer", "transport", "discovery"}),
            offers=frozenset({"lan"}),
            options=ProviderOptions,
            summary="serves signed boot artifacts over HTTP, or mirrors them",
        ),
    )

"""What this distribution offers to Plasm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated

from msgspec import Meta

from plasm.drivers import Driver, Options, Scope
from plasm.hookspecs import hookimpl
from plasm.ports import Store

PLASM_API = 1


class HttpOptions(Options, frozen=True, kw_only=True):
    """Options of the store ``http``."""

    providers: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """Where content is served as ``sha256/HEX``: ``http://HOST:PORT/``, the one to be asked first in front."""
    channel: Annotated[str, Meta(max_length=63)] = "stable"
    """Besides, whoever is found to serve this boot channel for `arch`, where a discovery is open; empty for nobody."""
    arch: Annotated[str, Meta(max_length=63)] = ""
    """``x86_64`` or ``arm64``; empty for this machine's."""
    tries: Annotated[int, Meta(ge=1, le=64)] = 3
    """How many providers are asked for one content."""
    timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    """For which a provider may stay silent. Long content may take longer in all, at 64 KiB a second."""
    max_bytes: Annotated[int, Meta(ge=0, le=2**32)] = 256 * 2**20
    """Of one content; as much memory may be taken by each of the four that are fetched at once."""
    absent_seconds: Annotated[float, Meta(ge=0, le=86400)] = 15.0
    """For which content that no provider has is not asked for again."""


def open_http(scope: Scope, options: HttpOptions) -> AbstractAsyncContextManager[Store]:
    """Content at the providers. Raises as :func:`plasm_http.store.http_store`."""
    from plasm_http.store import http_store

    return http_store(scope, options)


@hookimpl
def plasm_stores() -> Sequence[Driver[Store]]:
    return (
        Driver(
            name="http",
            open=open_http,
            # It offers nothing that a profile may ban. It writes nothing, so that ``writes-disk`` is no matter. Under
            # ``local`` the scope's address filter stands before each connection: a provider on the link can be used,
            # which a ban of the driver as a whole would take away, and one elsewhere cannot.
            offers=frozenset(),
            # Not needed: who runs a program here, and has providers named, opens no network for it.
            after=frozenset({"transport", "discovery"}),
            options=HttpOptions,
            summary="content by its digest from providers on the network",
        ),
    )

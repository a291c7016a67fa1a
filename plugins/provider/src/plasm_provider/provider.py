"""A provider: a source, the HTTP server over what it offers, and what says so on the network."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import anyio
import anyio.to_thread

from plasm.drivers import AddressFilter
from plasm.errors import PlasmError, ungrouped
from plasm_provider.advertising import Advertising, Network
from plasm_provider.catalog import Catalog
from plasm_provider.health import Health
from plasm_provider.httpd.limits import Limits
from plasm_provider.httpd.listening import base_url, listen, reachable
from plasm_provider.httpd.server import Server, serving
from plasm_provider.known import KnownHashes
from plasm_provider.meter import Exposition, Meter
from plasm_provider.report import Reporter
from plasm_provider.site import Site
from plasm_provider.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator may say of a provider, whatever its source is."""

    bind: str = "0.0.0.0"  # noqa: S104 - it is there to be reached
    """IP address; a wildcard takes every interface."""
    port: int = 8080
    """0 for any free one."""
    channel: str = "stable"
    arch: str = "x86_64"
    """What ``/manifest.json`` leads to."""
    least_free_bytes: int = 64 * 2**20
    """Below it the disk counts as full."""
    look_seconds: float = 1.0
    """Between two looks at the disk."""
    limits: Limits = field(default_factory=Limits)


class Provider:
    """A running provider."""

    def __init__(
        self, urls: tuple[str, ...], catalog: Catalog, source: Source, advertising: Advertising, reporter: Reporter
    ) -> None:
        self.urls = urls
        """Where its HTTP server is reached, as ``http://HOST:PORT/``; the best first."""
        self.catalog = catalog
        self.source = source
        self.advertising = advertising
        self.reporter = reporter
        self.offering = anyio.Event()
        """Set once all that was there at the start is offered and said to be."""


@asynccontextmanager
async def open_provider(
    source: Source,
    settings: Settings,
    *,
    home: Path | None,
    network: Network,
    allows: AddressFilter,
    log: logging.Logger,
) -> AsyncIterator[Provider]:
    """Serve what `source` brings, until the block is left; `home` keeps what is known of files.

    What was there at the start is hashed meanwhile: :attr:`Provider.offering`. Raises
    :exc:`~plasm.errors.PlasmError` where it cannot listen or `source` cannot work.
    """
    catalog = Catalog(KnownHashes(home / "hashes.json" if home is not None else None), log)
    health = Health((home,) if home is not None else (), settings.least_free_bytes, lambda: catalog.offer)
    meter = Meter()
    default = (settings.channel, settings.arch)
    with ungrouped():
        async with source.open():
            with listen(settings.bind, settings.port) as listener:
                endpoints = reachable(listener, allows)
                if not endpoints:
                    raise PlasmError(f"{settings.bind} may not be used here", "name another address, or profile")
                port = listener.getsockname()[1]
                advertising = Advertising(network, catalog, endpoints, port, log)
                reporter = Reporter(version("plasm-provider"), default, catalog, health, meter)
                reporter.advertised = lambda: advertising.states
                reporter.refused = lambda: source.refused
                exposition = Exposition(meter, lambda: catalog.offer, lambda: health.checks().healthy)
                site = Site(catalog, default, health, reporter, exposition)
                server = Server([listener], site, limits=settings.limits, observer=meter, allows=allows, log=log)
                urls = tuple(base_url(host, port) for host, port in endpoints)
                provider = Provider(urls, catalog, source, advertising, reporter)
                async with serving(server), anyio.create_task_group() as tasks:
                    tasks.start_soon(_offer, provider)
                    tasks.start_soon(_watch, health, settings.look_seconds)
                    yield provider
                    tasks.cancel_scope.cancel()


async def _offer(provider: Provider) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(provider.source.follow, provider.catalog)
        await tasks.start(provider.advertising.run)
        provider.offering.set()


async def _watch(health: Health, every: float) -> None:
    while True:
        await anyio.to_thread.run_sync(health.look, abandon_on_cancel=True)
        await anyio.sleep(every)

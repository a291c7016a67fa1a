"""The service ``provider``: the same as the commands, inside a node."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from plasm_trust import layout

from plasm.drivers import DriverUnavailable, Scope
from plasm.identity import peer_id
from plasm.ports import BootTopic, Discovery, Signer, Transport
from plasm_provider.advertising import Network
from plasm_provider.defaults import artifacts_folder, machine_arch
from plasm_provider.hooks import ProviderOptions
from plasm_provider.provider import Provider, Settings, open_provider
from plasm_provider.searching import search
from plasm_provider.sources.bases import Bases
from plasm_provider.sources.mirrored import Mirrored
from plasm_provider.sources.plain_folder import PlainFolder
from plasm_provider.sources.repository import SignedRepository
from plasm_provider.sources.source import Source


@asynccontextmanager
async def provider_service(scope: Scope, options: ProviderOptions) -> AsyncIterator[Provider]:
    """A provider that is found by all that the node has open.

    Raises :exc:`DriverUnavailable` for options that cannot be, and :exc:`plasm.errors.PlasmError` as
    :func:`open_provider`.
    """
    if sum(map(bool, (options.artifacts, options.repository, options.mirror))) > 1:
        raise DriverUnavailable(
            "artifacts, repository and mirror exclude each other", "keep one of them under [service.provider]"
        )
    settings = _settings(options)
    network = Network(
        peer=peer_id(scope.require(Signer).public_key),
        transports=tuple(("transport", each) for each in scope.require_all(Transport)),
        discoveries=tuple((type(each).__name__.lower(), each) for each in scope.require_all(Discovery)),
    )
    bases = Bases(options.mirror_from)
    async with open_provider(
        _source(scope, options, bases),
        settings,
        home=scope.home,
        network=network,
        allows=scope.allows,
        log=scope.log,
    ) as provider:
        if not options.mirror or options.mirror_from:
            yield provider
            return
        async with anyio.create_task_group() as tasks:
            topic = BootTopic(settings.channel, settings.arch)
            tasks.start_soon(partial(search, network, topic, bases, allows=scope.allows))
            yield provider
            tasks.cancel_scope.cancel()


def _settings(options: ProviderOptions) -> Settings:
    try:
        return Settings(
            bind=str(ipaddress.ip_address(options.bind)),
            port=options.port,
            channel=layout.channel_name(options.channel),
            arch=layout.arch_name(options.arch) if options.arch else machine_arch(),
            least_free_bytes=options.least_free_mb * 2**20,
        )
    except ValueError as error:
        raise DriverUnavailable(str(error), "mend the options under [service.provider]") from None


def _source(scope: Scope, options: ProviderOptions, bases: Bases) -> Source:
    if options.repository:
        return SignedRepository(Path(options.repository), scope.log)
    if not options.mirror:
        folder = Path(options.artifacts) if options.artifacts else artifacts_folder()
        return PlainFolder(folder.absolute(), scope.home, scope.log)
    return Mirrored(
        scope.home,
        bases,
        scope.log,
        how_to_pin="root under [service.provider] names the file of the publisher's root",
        root=Path(options.root) if options.root else None,
        refresh_seconds=options.refresh_seconds,
        allows=scope.allows,
    )

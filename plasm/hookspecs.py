"""The hooks of the entry-point group ``plasm``: synchronous, and they describe; the objects described do the work."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from plasm.drivers import Driver, ProfileFile, Service
from plasm.ports import Discovery, Runtime, Signer, Store, Transport

hookspec = pluggy.HookspecMarker("plasm")
hookimpl = pluggy.HookimplMarker("plasm")


@hookspec
def plasm_transports() -> Sequence[Driver[Transport]]:  # type: ignore[empty-body]
    """Drivers of the transport port."""


@hookspec
def plasm_discoveries() -> Sequence[Driver[Discovery]]:  # type: ignore[empty-body]
    """Drivers of the discovery port."""


@hookspec
def plasm_runtimes() -> Sequence[Driver[Runtime]]:  # type: ignore[empty-body]
    """Drivers of the runtime port."""


@hookspec
def plasm_signers() -> Sequence[Driver[Signer]]:  # type: ignore[empty-body]
    """Drivers of the signer port."""


@hookspec
def plasm_stores() -> Sequence[Driver[Store]]:  # type: ignore[empty-body]
    """Drivers of the store port."""


@hookspec
def plasm_services() -> Sequence[Service]:  # type: ignore[empty-body]
    """Services that a node can host."""


@hookspec
def plasm_profiles() -> Sequence[ProfileFile]:  # type: ignore[empty-body]
    """Profiles that the distribution ships."""

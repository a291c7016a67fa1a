"""A plugin that offers what it is given, for a registry that finds nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plasm.drivers import Driver, ProfileFile, Service
from plasm.hookspecs import hookimpl
from plasm.ports import Discovery, Runtime, Signer, Store, Transport


@dataclass(frozen=True, kw_only=True, eq=False)
class FakePlugin:
    """Register it with pluggy where an installed plugin's ``hooks.py`` would stand."""

    transports: Sequence[Driver[Transport]] = ()
    discoveries: Sequence[Driver[Discovery]] = ()
    runtimes: Sequence[Driver[Runtime]] = ()
    signers: Sequence[Driver[Signer]] = ()
    stores: Sequence[Driver[Store]] = ()
    services: Sequence[Service] = ()
    profiles: Sequence[ProfileFile] = ()

    @hookimpl
    def plasm_transports(self) -> Sequence[Driver[Transport]]:
        return self.transports

    @hookimpl
    def plasm_discoveries(self) -> Sequence[Driver[Discovery]]:
        return self.discoveries

    @hookimpl
    def plasm_runtimes(self) -> Sequence[Driver[Runtime]]:
        return self.runtimes

    @hookimpl
    def plasm_signers(self) -> Sequence[Driver[Signer]]:
        return self.signers

    @hookimpl
    def plasm_stores(self) -> Sequence[Driver[Store]]:
        return self.stores

    @hookimpl
    def plasm_services(self) -> Sequence[Service]:
        return self.services

    @hookimpl
    def plasm_profiles(self) -> Sequence[ProfileFile]:
        return self.profiles

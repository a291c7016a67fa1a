"""The three boot modes as profiles."""

from __future__ import annotations

import pytest
from plasm_boot import hooks

from plasm.drivers import ProfileFile
from plasm.profiles import Profile, load_profile
from plasm.registry import Registry


@pytest.fixture
def registry() -> Registry:
    return Registry(profiles={each.name: each for each in hooks.plasm_profiles()})


def profile(registry: Registry, name: str) -> Profile:
    return load_profile(registry, name)


def test_the_three_modes_are_shipped(registry: Registry) -> None:
    assert list(registry.profiles) == ["internet", "local", "private"]
    assert all(isinstance(each, ProfileFile) for each in registry.profiles.values())


def test_every_mode_selects_a_driver_for_each_port(registry: Registry) -> None:
    for name in registry.profiles:
        assert set(profile(registry, name).drivers) == {"signer", "store", "transport", "discovery", "runtime"}


def test_internet_finds_over_the_dht_with_a_lasting_identity(registry: Registry) -> None:
    internet = profile(registry, "internet")
    assert (internet.drivers["discovery"], internet.drivers["signer"]) == (("dht",), ("file",))
    assert (internet.bans, internet.addresses) == (frozenset(), "any")


def test_local_finds_on_the_link_alone_and_reaches_no_public_address(registry: Registry) -> None:
    local = profile(registry, "local")
    assert (local.drivers["discovery"], local.drivers["signer"]) == (("mdns",), ("file",))
    assert (local.bans, local.addresses) == (frozenset({"public-network"}), "local")


def test_private_has_a_new_identity_each_time_and_writes_nothing(registry: Registry) -> None:
    private = profile(registry, "private")
    assert (private.drivers["signer"], private.drivers["store"]) == (("ephemeral",), ("memory",))
    assert private.drivers["discovery"] == ("dht",)
    assert not private.writes

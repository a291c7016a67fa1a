"""What the registry makes of good and bad plugins."""

from __future__ import annotations

from typing import Any

import pytest

from plasm import __version__
from plasm.drivers import PLUGIN_API, Driver, Options, ProfileFile, Service
from plasm.hookspecs import hookimpl
from plasm.registry import load_registry
from tests.toolkit.conftest import Plugins, driver


class NeedsValue(Options):
    value: int  # without a default


def with_good_neighbour(plugins: Plugins) -> Plugins:
    plugins.add("good", {"store": [driver("kept")]})
    return plugins


def test_every_kind_of_offer_is_found_with_its_distribution(plugins: Plugins) -> None:
    ports = ("signer", "store", "transport", "discovery", "runtime")
    offers: dict[str, Any] = {port: [driver(f"my-{port}")] for port in ports}
    offers["service"] = [Service(name="my-service", open=driver("x").open)]
    offers["profile"] = [ProfileFile("mine", "package", "mine.toml")]
    plugins.add("plasm-mine", offers, version="2.3")
    registry = plugins.registry()
    assert not registry.broken
    assert {each.qualified for each in registry.drivers} == {f"{port}:my-{port}" for port in (*ports, "service")}
    assert {(each.distribution, each.version) for each in registry.drivers} == {("plasm-mine", "2.3")}
    assert registry.profiles["mine"].resource == "mine.toml"


def test_each_registry_is_new(plugins: Plugins) -> None:
    plugins.add("good", {"store": [driver("kept")]})
    first = plugins.registry()
    assert load_registry([]).drivers == ()
    assert plugins.registry() == first


def test_of_two_copies_of_a_distribution_the_first_counts(plugins: Plugins) -> None:
    plugins.add("good", {"store": [driver("kept")]})
    plugins.made.append(plugins.made[0])
    registry = plugins.registry()
    assert [each.name for each in registry.drivers] == ["kept"]
    assert not registry.broken


def test_the_installed_plugins_are_found_without_being_named() -> None:
    assert isinstance(load_registry().drivers, tuple)


def _raises() -> Any:
    raise RuntimeError("first line\nsecond line")


def _exits() -> Any:
    raise SystemExit(3)


BAD_HOOKS: list[tuple[str, Any, str]] = [
    ("raises", _raises, "RuntimeError: first line second line"),
    ("exits", _exits, "SystemExit"),
    ("none", lambda: None, "returned None"),
    ("text", lambda: "fs", "returned str"),
    ("generator", lambda: (each for each in [driver("x")]), "returned generator"),
    ("wrong-thing", lambda: ["fs"], "offers str, where Driver is expected"),
    ("service-as-driver", lambda: [Service(name="x", open=print)], "offers Service"),
    ("bad-name", lambda: [driver("No Spaces!")], "'No Spaces!' is no name"),
    ("name-no-text", lambda: [driver(3)], "3 is no name"),  # type: ignore[arg-type]
    ("unknown-need", lambda: [driver("x", needs=frozenset({"printer"}))], "x: needs is not"),
    ("unknown-backend", lambda: [driver("x", backends=frozenset({"curio"}))], "x: backends is not"),
    ("no-backend", lambda: [driver("x", backends=frozenset())], "x: backends is not"),
    ("offers-a-set", lambda: [driver("x", offers={"lan"})], "x: offers is not"),
    ("options-no-class", lambda: [driver("x", options=dict)], "x: options is not"),
    ("options-without-default", lambda: [driver("x", options=NeedsValue)], "x: options is not"),
    ("open-no-callable", lambda: [Driver(name="x", open=None)], "x: open is not"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("hook", "reason"), [each[1:] for each in BAD_HOOKS], ids=[each[0] for each in BAD_HOOKS])
def test_a_bad_answer_breaks_its_plugin_and_no_other(plugins: Plugins, hook: Any, reason: str) -> None:
    def plasm_stores() -> Any:
        return hook()

    with_good_neighbour(plugins).add("bad", version="0.3", plasm_stores=hookimpl(plasm_stores))
    registry = plugins.registry()
    assert [each.name for each in registry.drivers] == ["kept"]
    (broken,) = registry.broken
    assert (broken.distribution, broken.version) == ("bad", "0.3")
    assert reason in broken.reason
    assert "\n" not in broken.reason
    assert broken.mend
    assert broken.traceback.startswith("Traceback")


def test_a_plugin_that_cannot_be_imported_breaks_alone(plugins: Plugins) -> None:
    with_good_neighbour(plugins).add_missing("bad", "a_module_that_is_not_there")
    registry = plugins.registry()
    assert [each.name for each in registry.drivers] == ["kept"]
    (broken,) = registry.broken
    assert "a_module_that_is_not_there" in broken.reason
    assert broken.mend == "install the distribution bad 1.0 anew, with all that it needs"


def test_a_misspelt_hook_is_named_with_the_one_that_was_meant(plugins: Plugins) -> None:
    def plasm_store() -> Any:
        return ()

    with_good_neighbour(plugins).add("bad", plasm_store=hookimpl(plasm_store))
    (broken,) = plugins.registry().broken
    assert broken.reason == "there is no hook plasm_store; perhaps plasm_stores is meant"


def test_a_hook_without_its_mark_is_not_overlooked(plugins: Plugins) -> None:
    def plasm_stores() -> Any:
        return ()

    plugins.add("bad", plasm_stores=plasm_stores)
    (broken,) = plugins.registry().broken
    assert broken.reason == "plasm_stores is not marked with @hookimpl"


def test_a_hook_that_takes_arguments_breaks_its_plugin(plugins: Plugins) -> None:
    def plasm_stores(manager: Any) -> Any:
        return ()

    plugins.add("bad", plasm_stores=hookimpl(plasm_stores))
    (broken,) = plugins.registry().broken
    assert "arguments" in broken.reason


def test_a_plugin_for_a_newer_interface_says_to_upgrade_plasm(plugins: Plugins) -> None:
    with_good_neighbour(plugins).add("new", {"store": [driver("future")]}, PLASM_API=PLUGIN_API + 1)
    registry = plugins.registry()
    assert [each.name for each in registry.drivers] == ["kept"]
    assert registry.broken[0].mend.startswith(f"install a later plasm than {__version__}")
    assert f"version {PLUGIN_API + 1}" in registry.broken[0].reason


@pytest.mark.parametrize("stated", ["1", 0, True, None, 1.0])
def test_an_interface_version_that_is_no_number_breaks_its_plugin(plugins: Plugins, stated: object) -> None:
    plugins.add("bad", {"store": [driver("x")]}, PLASM_API=stated)
    assert "PLASM_API" in plugins.registry().broken[0].reason


def test_a_duplicate_names_both_and_spares_their_other_drivers(plugins: Plugins) -> None:
    plugins.add("one", {"store": [driver("both"), driver("first")]})
    plugins.add("two", {"store": [driver("both"), driver("second")]})
    registry = plugins.registry()
    assert {each.name for each in registry.drivers} == {"first", "second"}
    assert {each.distribution for each in registry.broken} == {"one", "two"}
    for broken in registry.broken:
        assert broken.reason == "store:both is offered by one 1.0 and by two 1.0"
        assert "pip uninstall two" in broken.mend


def test_one_name_on_two_ports_is_no_duplicate(plugins: Plugins) -> None:
    plugins.add("one", {"store": [driver("http")]})
    plugins.add("two", {"service": [Service(name="http", open=driver("x").open)]})
    registry = plugins.registry()
    assert not registry.broken
    assert {each.qualified for each in registry.named("http")} == {"store:http", "service:http"}


def test_a_duplicate_profile_is_refused(plugins: Plugins) -> None:
    plugins.add("one", {"profile": [ProfileFile("p", "one", "p.toml")]})
    plugins.add("two", {"profile": [ProfileFile("p", "two", "p.toml")]})
    registry = plugins.registry()
    assert "p" not in registry.profiles
    assert registry.breakage("profile", "p") is not None


def test_what_a_plugin_offers_beside_its_broken_hook_is_known_by_name(plugins: Plugins) -> None:
    plugins.add("plasm-half", {"transport": [driver("whole")]}, plasm_stores=hookimpl(_named_raises()))
    registry = plugins.registry()
    assert not registry.drivers
    assert registry.breakage("transport", "whole") is registry.broken[0]


def test_the_broken_plugin_of_a_known_driver_is_found_though_it_could_not_be_asked(plugins: Plugins) -> None:
    plugins.add_missing("plasm-libp2p", "a_module_that_is_not_there")
    registry = plugins.registry()
    assert registry.breakage("discovery", "dht") is registry.broken[0]
    assert registry.breakage(None, "mdns") is None


def _named_raises() -> Any:
    def plasm_stores() -> Any:
        raise RuntimeError("no")

    return plasm_stores

"""From a selection to a plan, or to one line that says what would mend it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.addresses import allow_any, allow_local
from plasm.config import ConfigError, read_config
from plasm.drivers import Driver, Options, ProfileFile, Service
from plasm.home import Home
from plasm.hookspecs import hookimpl
from plasm.plan import Plan, PlanError, make_plan
from plasm.registry import Registered, Registry
from tests.toolkit.conftest import Plugins, driver


class DiskOptions(Options):
    size: int = 1
    mode: str = "fast"


PROFILES = {
    "internet": """
        name = "internet"
        [drivers]
        signer = ["file"]
        store = ["fs"]
        transport = ["tcp"]
        discovery = ["dht"]
        runtime = ["engine"]
        [options.store.fs]
        size = 5
        """,
    "local": """
        name = "local"
        bans = ["public-network"]
        addresses = "local"
        [drivers]
        signer = ["file"]
        store = ["fs"]
        transport = ["tcp"]
        discovery = ["mdns"]
        runtime = ["engine"]
        """,
    "private": """
        name = "private"
        bans = ["writes-disk"]
        [drivers]
        signer = ["ephemeral"]
        store = ["memory"]
        transport = ["tcp"]
        discovery = ["dht"]
        runtime = ["engine"]
        """,
}


@pytest.fixture
def stocked(plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """The usual drivers, each as a fake, and the three profiles."""
    package = tmp_path / "stocked_profiles"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in PROFILES.items():
        (package / f"{name}.toml").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    writes = frozenset({"writes-disk"})
    plugins.add("profiles", {"profile": [ProfileFile(name, "stocked_profiles", f"{name}.toml") for name in PROFILES]})
    plugins.add("keys", {"signer": [driver("file", offers=writes), driver("ephemeral")]})
    plugins.add("stores", {"store": [driver("fs", offers=writes, options=DiskOptions), driver("memory")]})
    plugins.add("engines", {"runtime": [driver("engine"), driver("other")]})
    plugins.add(
        "net",
        {
            "transport": [
                driver("tcp", needs=frozenset({"signer"}), backends=frozenset({"trio"})),
                driver("quic", needs=frozenset({"signer"})),
            ],
            "discovery": [
                driver(
                    "dht",
                    needs=frozenset({"transport:tcp"}),
                    offers=frozenset({"public-network"}),
                    backends=frozenset({"trio"}),
                ),
                driver("mdns", offers=frozenset({"lan"})),
            ],
        },
    )
    return plugins


NODE = ("transport", "discovery", "runtime", "signer", "store")


def plan_of(plugins: Plugins, *, ports: Sequence[str] = NODE, config: str = "", **rest: Any) -> Plan:
    home = rest.pop("home", Home(None))
    return make_plan(plugins.registry(), ports=ports, config=read_config(config), home=home, **rest)


def names(plan: Plan) -> list[str]:
    return [each.registered.qualified for each in plan.selected]


def refusal(plugins: Plugins, **rest: Any) -> PlanError:
    with pytest.raises(PlanError) as caught:
        plan_of(plugins, **rest)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_profile_internet_is_the_default(stocked: Plugins) -> None:
    plan = plan_of(stocked)
    assert names(plan) == ["signer:file", "store:fs", "transport:tcp", "discovery:dht", "runtime:engine"]
    assert plan.profile.name == "internet"


def test_only_the_ports_that_are_asked_for_are_planned(stocked: Plugins) -> None:
    assert names(plan_of(stocked, ports=["runtime"])) == ["runtime:engine"]


def test_each_source_comes_before_the_next_port_by_port(stocked: Plugins) -> None:
    sources: dict[str, Any] = {
        "cli": ["mdns"],
        "environ": "dht,quic",
        "config": "plugins = ['tcp', 'dht', 'memory']",
    }
    plan = plan_of(stocked, **sources)
    assert set(names(plan)) == {"discovery:mdns", "transport:quic", "store:memory", "signer:file", "runtime:engine"}


def test_naming_a_driver_replaces_that_ports_selection_and_leaves_the_others(stocked: Plugins) -> None:
    plan = plan_of(stocked, cli=["memory,other"])
    assert names(plan) == ["signer:file", "store:memory", "transport:tcp", "discovery:dht", "runtime:other"]


def test_several_drivers_of_a_port_keep_the_order_they_were_named_in(stocked: Plugins) -> None:
    plan = plan_of(stocked, ports=["runtime"], cli=["other", "engine", "other"])
    assert [(each.registered.name, each.rank) for each in plan.selected] == [("other", 0), ("engine", 1)]


def test_what_a_command_prefers_stands_in_for_the_profile_and_for_nothing_that_was_named(stocked: Plugins) -> None:
    both = ("discovery:dht", "discovery:mdns")
    assert names(plan_of(stocked, ports=["discovery"], preferred=both))[-2:] == list(both)
    assert names(plan_of(stocked, ports=["discovery"], preferred=both, cli=["mdns"])) == ["discovery:mdns"]


def test_what_a_command_prefers_is_left_out_where_it_is_banned_or_missing(stocked: Plugins) -> None:
    wanted = ("discovery:dht", "discovery:mdns", "discovery:carrier-pigeon")
    assert names(plan_of(stocked, ports=["discovery"], preferred=wanted, profile="local")) == ["discovery:mdns"]


def test_a_command_may_leave_drivers_out_and_then_do_without_their_port(stocked: Plugins) -> None:
    both = ("discovery:dht", "discovery:mdns")
    assert names(plan_of(stocked, ports=["discovery"], preferred=both, without=["discovery:dht"])) == ["discovery:mdns"]
    assert names(plan_of(stocked, ports=["discovery", "store"], without=["discovery:dht"])) == ["store:fs"]


def test_the_profile_of_the_configuration_gives_way_to_the_one_that_is_asked_for(stocked: Plugins) -> None:
    assert plan_of(stocked, config="profile = 'local'").profile.name == "local"
    assert plan_of(stocked, config="profile = 'local'", profile="private").profile.name == "private"


def test_an_unknown_profile_is_refused(stocked: Plugins) -> None:
    assert "installed: internet, local, private" in str(refusal(stocked, profile="intranet"))


def test_without_any_profile_what_is_named_suffices(plugins: Plugins) -> None:
    plugins.add("engines", {"runtime": [driver("engine")]})
    assert names(plan_of(plugins, ports=["runtime"], cli=["engine"])) == ["runtime:engine"]


def test_a_port_without_a_selection_says_what_could_be_named(plugins: Plugins) -> None:
    plugins.add("engines", {"runtime": [driver("engine")]})
    error = refusal(plugins, ports=["runtime"])
    assert error.message == "nothing is selected for the port runtime (the command needs one)"
    assert error.mend == "name one with --plugins: engine"


def test_a_port_that_does_not_exist_is_refused(stocked: Plugins) -> None:
    assert "'printer' is no port" in str(refusal(stocked, ports=["printer"]))


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_name_on_two_ports_wants_to_be_qualified(stocked: Plugins) -> None:
    stocked.add("web", {"store": [driver("http")], "discovery": [driver("http")]})
    error = refusal(stocked, cli=["http"])
    assert error.mend == "say which: store:http or discovery:http"
    assert "store:http" in names(plan_of(stocked, cli=["store:http"]))


def test_an_unknown_name_lists_what_is_installed_and_what_was_perhaps_meant(stocked: Plugins) -> None:
    error = refusal(stocked, cli=["engin"])
    assert "no driver engin is installed" in error.message
    assert "engine" in error.message
    assert error.mend == "did you mean engine?"


def test_a_known_name_says_which_distribution_brings_it(stocked: Plugins) -> None:
    assert "plugins/wasmtime of Plasm's repository" in refusal(stocked, cli=["wasmtime"]).mend


def test_a_name_on_another_port_says_which(stocked: Plugins) -> None:
    assert refusal(stocked, cli=["store:engine"]).mend == "did you mean runtime:engine?"


@pytest.mark.parametrize("name", ["printer:x", "store:", ":fs", "a b", "UP", "\x1b[2J", "x" * 65])
def test_what_is_no_name_is_refused(stocked: Plugins, name: str) -> None:
    assert "is neither a driver's name nor port:name" in str(refusal(stocked, cli=[name]))


def test_a_selection_of_any_length_is_not_taken(stocked: Plugins) -> None:
    assert "PLASM_PLUGINS is longer than" in str(refusal(stocked, environ="a," * 10_000))


@given(st.text(max_size=60))
def test_any_text_is_a_selection_or_refused(text: str) -> None:
    registry = Registry((Registered("runtime", driver("engine"), "engines", "1"),))
    try:
        plan = make_plan(registry, ports=["runtime"], cli=[text], home=Home(None))
    except PlanError:
        return
    assert names(plan) == ["runtime:engine"]


# --- needs ----------------------------------------------------------------------------------------------------------


def test_what_a_driver_needs_is_pulled_in_and_opened_before_it(stocked: Plugins) -> None:
    assert names(plan_of(stocked, ports=["discovery"])) == ["signer:file", "transport:tcp", "discovery:dht"]


def test_a_needed_driver_joins_the_one_that_was_named_for_its_port(stocked: Plugins) -> None:
    plan = plan_of(stocked, ports=["discovery", "transport"], cli=["quic"])
    assert names(plan) == ["signer:file", "transport:quic", "transport:tcp", "discovery:dht"]


def test_a_driver_that_comes_after_a_port_waits_for_it_only_where_it_is_opened(stocked: Plugins) -> None:
    stocked.add("network-store", {"store": [driver("http", after=frozenset({"discovery"}))]})
    ordered = names(plan_of(stocked, ports=NODE, cli=["fs", "http"]))
    assert ordered.index("store:fs") < ordered.index("discovery:dht") < ordered.index("store:http")
    assert names(plan_of(stocked, ports=["store"], cli=["fs", "http"])) == ["store:fs", "store:http"]


def test_what_is_banned_is_not_pulled_in(stocked: Plugins) -> None:
    stocked.add("cache", {"runtime": [driver("caching", needs=frozenset({"store:fs"}))]})
    error = refusal(stocked, ports=["runtime"], cli=["caching"], profile="private")
    assert "bans writes-disk, which store:fs does (caching needs it)" in error.message


def test_a_need_that_is_not_installed_is_named(stocked: Plugins) -> None:
    stocked.add("odd", {"runtime": [driver("odd", needs=frozenset({"store:mdb"}))]})
    assert "no driver store:mdb is installed (odd needs it" in refusal(stocked, ports=["runtime"], cli=["odd"]).message


def test_drivers_that_need_each_other_are_refused(stocked: Plugins) -> None:
    first = driver("first", needs=frozenset({"runtime:second"}))
    stocked.add("round", {"runtime": [first, driver("second", needs=frozenset({"runtime:first"}))]})
    error = refusal(stocked, ports=["runtime"], cli=["first"])
    assert "runtime:first needs runtime:second needs runtime:first" in error.message


def test_a_node_has_one_signer(stocked: Plugins) -> None:
    assert "exactly one signer" in refusal(stocked, cli=["file,ephemeral"]).message


# --- bans -----------------------------------------------------------------------------------------------------------


def test_what_a_profile_bans_is_refused_even_by_name(stocked: Plugins) -> None:
    error = refusal(stocked, cli=["fs"], profile="private")
    assert error.message == "the profile private bans writes-disk, which store:fs does (--plugins asks for it)"
    assert error.mend == "choose store:memory, or another profile"


@pytest.mark.parametrize("source", [{"environ": "dht"}, {"config": "plugins = ['dht']"}])
def test_a_ban_holds_for_every_source(stocked: Plugins, source: dict[str, Any]) -> None:
    assert "bans public-network" in refusal(stocked, profile="local", **source).message


def test_a_banned_name_that_a_nearer_source_replaces_stops_nothing(stocked: Plugins) -> None:
    plan = plan_of(stocked, cli=["mdns"], config="plugins = ['dht']", profile="local")
    assert "discovery:mdns" in names(plan)


def test_where_nothing_may_be_written_the_plan_has_no_home(stocked: Plugins, tmp_path: Path) -> None:
    private = plan_of(stocked, profile="private", home=Home(tmp_path))
    assert (private.writes, private.home.path) == (False, None)
    assert plan_of(stocked, home=Home(tmp_path)).writes


def test_the_profile_says_which_addresses_are_allowed(stocked: Plugins) -> None:
    assert plan_of(stocked, profile="local").allows is allow_local
    assert plan_of(stocked).allows is allow_any


# --- event loops ----------------------------------------------------------------------------------------------------


def test_trio_is_preferred_and_asyncio_taken_where_a_driver_needs_it(stocked: Plugins) -> None:
    assert plan_of(stocked, ports=["runtime"]).backend == "trio"
    stocked.add("loop", {"runtime": [driver("looped", backends=frozenset({"asyncio"}))]})
    assert plan_of(stocked, ports=["runtime"], cli=["looped"]).backend == "asyncio"


def test_drivers_on_different_event_loops_are_refused_by_name(stocked: Plugins) -> None:
    stocked.add("loop", {"runtime": [driver("looped", backends=frozenset({"asyncio"}))]})
    assert "tcp needs trio, looped needs asyncio" in refusal(stocked, cli=["looped"]).message


# --- options --------------------------------------------------------------------------------------------------------


def option_of(plan: Plan, name: str) -> Any:
    return next(each.options for each in plan.selected if each.registered.name == name)


def test_the_users_options_stand_over_the_profiles_key_by_key(stocked: Plugins) -> None:
    assert option_of(plan_of(stocked), "fs") == DiskOptions(size=5)
    assert option_of(plan_of(stocked, config="[store.fs]\nmode = 'slow'"), "fs") == DiskOptions(size=5, mode="slow")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[store.fs]\nsiz = 1", r"\[store\.fs\]: unknown key 'siz' \(known: mode, size\); did you mean size\?"),
        ("[store.memory]\nsize = 1", r"\[store\.memory\]: unknown key 'size' \(known: there are none\)"),
        ("[store.fs]\nsize = '1'", r"\[store\.fs\] size: expected a whole number, got a text in quotes"),
        ("[store.memry]\nx = 1", r"\[store\]: unknown key 'memry' \(known: fs, memory\); did you mean memory\?"),
    ],
)
def test_a_wrong_option_is_refused_also_of_a_driver_that_is_not_opened(
    stocked: Plugins, config: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(stocked, ports=["runtime"], config=config)


def test_options_of_a_broken_plugin_stop_nothing(stocked: Plugins) -> None:
    stocked.add_missing("plasm-broken", "a_module_that_is_not_there")
    plan_of(stocked, config="[store.broken]\nsize = 1")


# --- broken plugins -------------------------------------------------------------------------------------------------


def test_a_broken_plugin_stops_the_plan_only_if_it_is_selected(stocked: Plugins) -> None:
    stocked.add_missing("plasm-broken", "a_module_that_is_not_there")
    plan_of(stocked)
    error = refusal(stocked, cli=["broken"])
    assert "plasm-broken 1.0 is broken" in error.message
    assert error.mend == "install the distribution plasm-broken 1.0 anew, with all that it needs"


def test_a_broken_plugin_that_the_profile_selects_is_named(plugins: Plugins, stocked: Plugins) -> None:
    stocked.made = [each for each in stocked.made if each.name != "engines"]
    stocked.add_missing("engine", "a_module_that_is_not_there")
    assert "engine 1.0 is broken" in refusal(stocked).message


def test_a_duplicate_is_refused_where_it_is_selected_and_nowhere_else(stocked: Plugins) -> None:
    stocked.add("engines-too", {"runtime": [driver("engine"), driver("third")]})
    error = refusal(stocked, ports=["runtime"])
    assert "offered by engines 1.0 and by engines-too 1.0" in error.message
    assert "pip uninstall" in error.mend
    assert names(plan_of(stocked, ports=["runtime"], cli=["third"])) == ["runtime:third"]


def test_a_driver_whose_plugin_has_another_hook_that_raises_is_refused_with_the_reason(stocked: Plugins) -> None:
    def plasm_stores() -> Any:
        raise RuntimeError("no disk")

    stocked.add("half", {"runtime": [driver("half-engine")]}, plasm_stores=hookimpl(plasm_stores))
    assert "RuntimeError: no disk" in refusal(stocked, ports=["runtime"], cli=["half-engine"]).message
    assert names(plan_of(stocked, ports=["signer"], cli=["half-engine"])) == ["signer:file"]


# --- services -------------------------------------------------------------------------------------------------------


def service(name: str, **facts: Any) -> Service:
    return Service(name=name, open=driver("x").open, **facts)


def test_services_of_a_command_are_opened_last(stocked: Plugins) -> None:
    stocked.add("web", {"service": [service("gateway", needs=frozenset({"signer"}))]})
    assert names(plan_of(stocked, ports=["store"], services=["gateway"])) == [
        "store:fs",
        "signer:file",
        "service:gateway",
    ]


def test_a_service_that_is_not_installed_is_refused(stocked: Plugins) -> None:
    assert "no driver service:gateway is installed" in refusal(stocked, services=["gateway"]).message


def test_a_node_may_host_no_service(stocked: Plugins) -> None:
    assert names(plan_of(stocked, ports=["runtime", "service"])) == ["runtime:engine"]


def test_a_service_is_selected_by_name_where_services_are_hosted(stocked: Plugins) -> None:
    stocked.add("web", {"service": [service("gateway")]})
    assert names(plan_of(stocked, ports=["service"], cli=["gateway"])) == ["service:gateway"]
    assert names(plan_of(stocked, ports=["runtime"], cli=["gateway"])) == ["runtime:engine"]


def test_a_driver_is_typed_by_what_it_opens() -> None:
    assert isinstance(driver("x"), Driver)

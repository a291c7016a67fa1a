"""The schemas are valid, and say of the code's types what the code says."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner

from plasm.config import NodeSettings, read_config
from plasm.errors import PlasmError
from plasm.jobs import messages
from plasm.jobs.receipt import Statement
from plasm.profiles import read_profile
from plasm.registry import BACKENDS, PORTS, Broken, load_registry

Schema = Callable[..., jsonschema.Draft202012Validator]


def document(specs: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((specs / "schemas" / f"{name}.json").read_text())
    return loaded


def test_every_schema_is_one_of_2020_12(specs: Path) -> None:
    for path in (specs / "schemas").glob("*.json"):
        loaded = json.loads(path.read_text())
        assert loaded["$schema"] == "https://json-schema.org/draft/2020-12/schema", path.name
        jsonschema.Draft202012Validator.check_schema(loaded)


BOUNDS = ("minimum", "maximum", "maxLength", "minLength", "maxItems", "minItems", "maxProperties", "default")


def bounds_of(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The bounds of a field, its `null` left aside, looked up where it is a reference to a text or a byte string."""
    merged = dict(field)
    for each in field.get("anyOf", [field]):
        target = definitions.get(each.get("$ref", "").removeprefix("#/$defs/"), {})
        if target.get("type") != "object" or "hex" in target.get("properties", {}):
            merged |= target
        merged |= {name: value for name, value in each.items() if name != "description"}
    found = {name: merged[name] for name in BOUNDS if name in merged}
    if isinstance(found.get("default"), tuple):
        found["default"] = list(found["default"])
    if "pattern" in merged:
        if found.get("minLength", 0) == found.get("maxLength"):
            # A pattern of one length says it.
            found = {name: value for name, value in found.items() if name not in ("minLength", "maxLength")}
        found["pattern"] = merged["pattern"].replace("\\A", "^").replace("\\Z", "$")
    if "const" in merged and isinstance(merged["const"], int):
        found |= {"minimum": merged["const"], "maximum": merged["const"]}
    if merged.get("contentEncoding") == "base64":
        return {"bytes": merged["maxLength"]} | ({"default": merged["default"]} if "default" in merged else {})
    if "hex" in merged.get("properties", {}):
        most = merged["properties"]["hex"]["maxLength"] // 2
        empty: dict[str, Any] = {"default": ""} if merged.get("default") == {"hex": ""} else {}
        empty |= {"default": None} if "default" in field and field["default"] is None else {}
        return {"bytes": 4 * math.ceil(most / 3)} | empty
    return found


def compare(
    ours: dict[str, Any], code: dict[str, Any], definitions: dict[str, Any], components: dict[str, Any]
) -> None:
    assert list(ours["properties"]) == list(code["properties"]), code["title"]
    assert set(ours["required"]) == set(code.get("required", ())) | {"_type", "predicateType"} & set(code["properties"])
    assert ours.get("additionalProperties", True) == code.get("additionalProperties", True)
    for name, field in code["properties"].items():
        if name in ("type", "version", "_type", "predicateType", "client", "node", "startedAt", "finishedAt"):
            continue  # constants, and what the schema describes more closely than the code
        assert bounds_of(ours["properties"][name], definitions) == bounds_of(field, components), (code["title"], name)


def test_the_schema_of_messages_has_every_message_with_its_fields_and_bounds(specs: Path) -> None:
    kinds = [*messages.AnyRequest.__args__, *messages.AnyReply.__args__]
    _, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    definitions = document(specs, "messages")["$defs"]
    for title, component in components.items():
        compare(definitions[title[0].lower() + title[1:]], component, definitions, components)
    named = {each["$ref"] for side in ("request", "reply") for each in definitions[side]["oneOf"]}
    assert named == {f"#/$defs/{kind.__name__.lower()}" for kind in kinds}


def test_the_schema_of_statements_has_every_member_with_its_bounds(specs: Path) -> None:
    _, components = msgspec.json.schema_components([Statement], ref_template="#/$defs/{name}")
    loaded = document(specs, "receipt-statement")
    definitions = loaded["$defs"] | {"statement": loaded}
    for title, component in components.items():
        ours = definitions[title[0].lower() + title[1:]]
        if "properties" in component:
            compare(ours, component, definitions, components)
        else:
            assert ours["enum"] == component["enum"]


def test_the_schema_of_the_configuration_has_every_key_of_the_node_with_its_default(specs: Path) -> None:
    table = document(specs, "config")["properties"]["node"]["properties"]
    defaults = msgspec.to_builtins(NodeSettings())
    assert {name: field.get("default") for name, field in table.items()} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()
    }


def test_the_schemas_know_every_port_and_back_end(specs: Path) -> None:
    assert set(PORTS) < set(document(specs, "config")["properties"])
    assert document(specs, "profile")["$defs"]["port"]["enum"] == list(PORTS)
    driver = document(specs, "plugins")["$defs"]["driver"]["properties"]
    assert driver["port"]["enum"] == list(PORTS)
    assert set(driver["backends"]["items"]["enum"]) == set(BACKENDS)


PEER = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
GOOD_CONFIGS = (
    "",
    'profile = "local"\nplugins = ["mdns", "store:fs"]\n',
    "[discovery.dht]\nlookup_seconds = 5.0\n[store.fs]\nmax_items = 3\n",
    f'[node]\nlisten = ["/ip4/0.0.0.0/tcp/4001"]\nbootstrap = ["/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"]\n'
    f'allow = ["{PEER}"]\nslots = 2\nmax_memory_mb = 512\n',
    '[node]\nallow = "nobody"\n',
)
BAD_CONFIGS = (
    "colour = 3",
    "profile = 3",
    "plugins = 'fs'",
    "[node]\nslots = 0",
    "[node]\nslots = 1.5",
    "[node]\ncolour = 3",
    "[node]\nallow = 'somebody'",
    "[node]\nmax_timeout_seconds = 3601",
    "[node]\nmax_memory_mb = 32769",
    "[node]\nlisten = ['0.0.0.0:4001']",
    "[node]\nbootstrap = ['/ip4/192.0.2.1/tcp/4001']",
    "[store]\nfs = 3",
)


@pytest.mark.parametrize("text", GOOD_CONFIGS)
def test_a_good_configuration_is_taken_by_reader_and_schema(schema: Schema, text: str) -> None:
    read_config(text)
    schema("config").validate(tomllib.loads(text))


@pytest.mark.parametrize("text", BAD_CONFIGS)
def test_a_bad_configuration_is_refused_by_reader_and_schema(schema: Schema, text: str) -> None:
    with pytest.raises(PlasmError):
        read_config(text)
    assert not schema("config").is_valid(tomllib.loads(text))


def test_every_shipped_profile_is_taken_by_the_schema(schema: Schema) -> None:
    profiles = load_registry().profiles
    assert profiles
    for profile in profiles.values():
        text = resources.files(profile.package).joinpath(profile.resource).read_text()
        schema("profile").validate(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "name = 'x'",
        "name = 'x'\ncolour = 3\n[drivers]",
        "name = 'x'\naddresses = 'some'\n[drivers]",
        "name = 'x'\n[drivers]\nprinter = ['laser']",
        "name = 'x'\n[drivers]\nstore = 'fs'",
        "name = 'x'\n[drivers]\nstore = ['FS']",
        "name = 'x'\n[drivers]\n[options.printer.laser]",
    ],
)
def test_a_bad_profile_is_refused_by_reader_and_schema(schema: Schema, text: str) -> None:
    with pytest.raises(ValueError):
        read_profile(text, "x")
    assert not schema("profile").is_valid(tomllib.loads(text))


@pytest.mark.parametrize("options", [["--json"], ["--check", "--json"]])
def test_the_list_of_plugins_is_what_the_schema_says(
    schema: Schema, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from plasm.cli.root import root

    quick = load_registry([metadata.distribution("plasm-fs"), metadata.distribution("plasm-keys")])
    broken = Broken("plasm-sad", "1.0", "sad", "it cannot be imported", "install a later one", "")
    monkeypatch.setattr("plasm.registry.load_registry", lambda: replace(quick, broken=(broken,)))
    result = CliRunner().invoke(root, ["plugins", *options])
    listed = json.loads(result.stdout)
    assert {each["port"] for each in listed["drivers"]} == {"signer", "store"}
    assert [each["distribution"] for each in listed["broken"]] == ["plasm-sad"]
    schema("plugins").validate(listed)
    assert all(("ok" in each) == ("--check" in options) for each in listed["drivers"])

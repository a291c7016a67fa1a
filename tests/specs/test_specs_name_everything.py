"""What the code has stands in the texts, so that neither changes without the other."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from plasm_mdns import records

from plasm import drivers, embedding, hookspecs, jobservice, ports
from plasm.control import messages as control
from plasm.jobs import framing, manifest, messages, responder
from plasm.jobs.conversation import Event
from plasm.jobs.receipt import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    EngineClaim,
    LimitsClaim,
    Predicate,
    UsageClaim,
)

Text = Callable[[str], str]


def section(text: str, name: str) -> str:
    match = re.search(rf"^### `{name}`\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    assert match, f"there is no section ### `{name}`"
    return match[1]


def rows(text: str) -> dict[str, str]:
    """The rows of tables whose first cell is one name, by that name."""
    return {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", text, re.MULTILINE)}


def in_code(text: str) -> set[str]:
    """Every word inside code marks or blocks."""
    return {word for code in re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL) for word in re.findall(r"\w+", code)}


KINDS = [*messages.AnyRequest.__args__, *messages.AnyReply.__args__]


@pytest.mark.parametrize("kind", [*KINDS, manifest.Job, manifest.Manifest], ids=lambda kind: kind.__name__)
def test_every_message_stands_in_the_job_protocol_with_all_its_fields(text: Text, kind: type[msgspec.Struct]) -> None:
    listed = rows(section(text("job-protocol.md"), kind.__name__.lower()))
    assert list(listed) == [field.encode_name for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize("kind", [*KINDS, manifest.Job, manifest.Manifest], ids=lambda kind: kind.__name__)
def test_every_default_stands_in_the_job_protocol(text: Text, kind: type[msgspec.Struct]) -> None:
    listed = rows(section(text("job-protocol.md"), kind.__name__.lower()))
    words = {None: "null", True: "true", (): "empty", b"": "empty", "": "empty", (1,): "`[1]`"}
    for field in msgspec.structs.fields(kind):
        said = listed[field.encode_name].rstrip(" |").rsplit("|", 1)[1].strip()
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if default is msgspec.NODEFAULT:
            assert said == "must be there", (kind, field.name)
        elif default == manifest.sha256(b""):
            assert said == "the digest of nothing"
        elif isinstance(default, int) and not isinstance(default, bool):
            assert said == str(default), (kind, field.name)
        else:
            assert said == ("empty" if default == {} else words[default]), (kind, field.name)


@pytest.mark.parametrize("kind", [*KINDS, manifest.Manifest], ids=lambda kind: kind.__name__)
def test_every_bound_of_a_number_stands_in_the_job_protocol(text: Text, kind: type[msgspec.Struct]) -> None:
    listed = rows(section(text("job-protocol.md"), kind.__name__.lower()))
    _, components = msgspec.json.schema_components([kind])
    for name, field in components[kind.__name__]["properties"].items():
        for each in field.get("anyOf", [field]):
            for bound in ("minimum", "maximum"):
                if bound in each:
                    assert re.search(rf"\b{each[bound]}\b", listed[name]), (kind, name, each[bound])


def test_the_constants_of_the_job_protocol_stand_in_its_text(text: Text) -> None:
    said = text("job-protocol.md")
    for number in (framing.MAX_FRAME, framing.MAX_CHUNK, messages.INLINE_BYTES, manifest.MAX_TEXT_BYTES):
        assert re.search(rf"\b{number}\b", said), number
    for seconds in (
        responder.IDLE_SECONDS,
        responder.SEND_SECONDS,
        responder.PIECE_SECONDS,
        responder.HEARTBEAT_SECONDS,
    ):
        assert f"{seconds} s" in said
    assert f"| {responder.STREAMS_PER_PEER}; {responder.STREAMS};" in said
    assert messages.PROTOCOL in said


def test_how_nodes_are_found_stands_in_the_job_protocol(text: Text) -> None:
    said = section(text("job-protocol.md").replace("### Finding nodes", "### `finding`"), "finding")
    topic = ports.CapabilityTopic(arch="x86_64", runtime="wasmtime")
    assert f"{topic.key} →\n1220{hashlib.sha256(topic.key.encode()).hexdigest()}\n" in said
    assert f"`{records.service_type(topic)}`" in said
    assert {"txtvers", "peer", *records.parts(topic), "addr0", f"addr{records.MAX_ADDRESSES - 1}"} <= in_code(said)
    assert f"than {records.MAX_TXT_READ} bytes" in " ".join(said.split())


def test_every_reason_stands_in_the_job_protocol(text: Text) -> None:
    listed = rows(text("job-protocol.md"))
    failures = set(re.findall(r'Failed\(reason="(\w+)"', inspect.getsource(responder)))
    assert failures
    assert {*messages.REASONS, *failures} <= set(listed)


def test_every_member_of_a_receipt_stands_in_its_text(text: Text) -> None:
    said = text("receipt.md")
    listed = rows(said)
    assert [name for name in listed if name in {f.encode_name for f in msgspec.structs.fields(Predicate)}] == [
        field.encode_name for field in msgspec.structs.fields(Predicate)
    ]
    for name, kind in (("engine", EngineClaim), ("limits", LimitsClaim), ("usage", UsageClaim)):
        for field in msgspec.structs.fields(kind):
            assert f"`{field.encode_name}`" in listed[name], (name, field.encode_name)
    assert all(constant in said for constant in (PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE))


@pytest.mark.parametrize("name", ["receipt.md", "plugins.md"])
def test_every_verdict_is_explained(text: Text, name: str) -> None:
    assert {verdict.value for verdict in ports.Verdict} <= in_code(text(name))


def test_the_receipts_text_says_which_verdicts_are_repeatable(text: Text) -> None:
    listed = rows(text("receipt.md"))
    for verdict in ports.Verdict:
        assert listed[verdict.value].rstrip(" |").endswith("yes" if verdict.repeatable else "no"), verdict


def test_every_hook_stands_in_the_plugins_text(text: Text) -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("plasm_")}
    assert hooks <= set(rows(text("plugins.md")))


def test_every_port_and_all_of_its_members_stand_in_the_plugins_text(text: Text) -> None:
    named = in_code(text("plugins.md"))
    for name, thing in vars(ports).items():
        if inspect.isclass(thing) and thing.__module__ == ports.__name__ and not name.startswith("_"):
            assert name in named, name
            if getattr(thing, "_is_protocol", False):
                assert {member for member in vars(thing) if not member.startswith("_")} <= named, name


def test_all_that_a_plugin_describes_stands_in_the_plugins_text(text: Text) -> None:
    said = text("plugins.md")
    named = in_code(said)
    for kind in (drivers.Driver, drivers.Scope, drivers.ProfileFile):
        assert {field.name for field in fields(kind)} - {"provided", "every"} <= named, kind
    for thing in (drivers.DriverUnavailable, drivers.Options, drivers.Service, drivers.AddressFilter):
        assert thing.__name__ in named
    assert f"PLASM_API = {drivers.PLUGIN_API}" in said


def test_all_that_is_for_embedding_stands_in_the_plugins_text(text: Text) -> None:
    listed = rows(text("plugins.md"))
    assert set(embedding.__all__) <= set(listed)
    for kind in (embedding.EmbeddedNode, embedding.Jobs):
        members = {name for name in vars(kind) if not name.startswith("_")}
        assert members <= in_code(listed[kind.__name__]), kind
    assert {field.name for field in fields(embedding.JobResult)} <= in_code(listed["JobResult"])
    for function in (embedding.embedded_node, embedding.Jobs.submit):
        named = in_code(listed[{"submit": "Jobs"}.get(function.__name__, function.__name__)])
        assert set(inspect.signature(function).parameters) - {"self"} <= named, function


def test_every_message_and_event_stands_in_the_control_sockets_text(text: Text) -> None:
    named = in_code(text("control-socket.md"))
    for kind in (*control.Request.__args__, *control.Reply.__args__):
        assert kind.__name__ in named
    described = (Event.__doc__ or "").partition("`kind`")[2]
    assert set(re.findall(r"``(\w+)``", described)) <= named
    assert str(jobservice.MAX_LISTED) in text("control-socket.md")


def test_links_lead_somewhere(specs: Path) -> None:
    for path in specs.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_index_names_every_text_schema_and_vector(specs: Path, text: Text) -> None:
    index = text("README.md")
    for path in [*specs.glob("*.md"), *specs.glob("schemas/*.json"), *specs.glob("vectors/*.json")]:
        assert path.name in index or path.name == "README.md", path.name
    for path in specs.glob("decisions/*.md"):
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)
        assert path.read_text().startswith(f"# {int(path.name[:4])}. ")

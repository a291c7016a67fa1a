"""Every path, status and shape of ``docs/openapi.json``, held against a server."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from plasm_provider.sources.repository import SignedRepository

OPENAPI = json.loads((Path(__file__).parents[3] / "docs/openapi.json").read_text())
PATHS = sorted(OPENAPI["paths"])
LOG = logging.getLogger("plasm.service.provider")


def resolved(thing: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in thing:
        found: Any = OPENAPI
        for part in thing["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        thing = found
    return thing


def response_of(path: str, method: str, status: int) -> dict[str, Any]:
    responses = OPENAPI["paths"][path][method]["responses"]
    assert str(status) in responses, f"{method} {path} answered {status}, which is not documented"
    return resolved(responses[str(status)])


def check(path: str, answer, method: str = "get") -> None:
    """That `answer` is as documented: its status, its fields and its content."""
    documented = response_of(path, method, answer.status)
    for name, header in documented.get("headers", {}).items():
        if name == "Content-Range" and answer.fields["content-type"].startswith("multipart/"):
            continue
        if name == "Retry-After" and name.lower() not in answer.fields:
            continue  # where waiting does not help
        value = answer.fields[name.lower()]
        schema = resolved(header)["schema"]
        jsonschema.validate(int(value) if schema.get("type") == "integer" else value, schema)
    content = documented.get("content")
    if content is None:
        assert answer.body == b""
        return
    media_type = answer.fields["content-type"].partition(";")[0]
    assert media_type in content
    if media_type == "application/json":
        schema = {**content[media_type]["schema"], "components": OPENAPI["components"]}
        jsonschema.validate(json.loads(answer.body), schema, format_checker=jsonschema.FormatChecker())


def example(served, path: str) -> str:
    """`path` with its parameters filled in."""
    digest = served.get("/stable/x86_64/kernel").sha256
    values = {
        "channel": "stable",
        "arch": "x86_64",
        "name": "kernel",
        "digest": digest,
        "target": f"{digest}.kernel",
        "file": "timestamp.json",
    }
    for name, value in values.items():
        schema = OPENAPI["components"]["parameters"][name]["schema"]
        assert re.search(schema["pattern"], value)
    return re.sub(r"\{([a-z]+)\}", lambda match: values[match[1]], path)


def requests(path: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Methods and fields for all that is documented of `path`."""
    for method in OPENAPI["paths"][path]:
        yield method, {}
        names = [resolved(each)["name"] for each in OPENAPI["paths"][path][method].get("parameters", ())]
        if "If-None-Match" in names:
            yield method, {"If-None-Match": "*"}
            yield method, {"If-Match": '"x"'}
        if "Range" in names:
            yield method, {"Range": "bytes=0-9"}
            yield method, {"Range": "bytes=0-9,5000-5009"}
            yield method, {"Range": "bytes=99999999-"}


def test_the_document_is_one_of_openapi() -> None:
    assert OPENAPI["openapi"].startswith("3.1")
    names = [op["operationId"] for methods in OPENAPI["paths"].values() for op in methods.values()]
    assert len(set(names)) == len(names)
    for schema in OPENAPI["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for path, methods in OPENAPI["paths"].items():
        for operation in methods.values():
            given = {each["name"] for each in map(resolved, operation.get("parameters", ())) if each["in"] == "path"}
            assert given == set(re.findall(r"\{([a-z]+)\}", path))


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_as_documented(served, path: str) -> None:
    for method, fields in requests(path):
        answer = served.get(example(served, path), fields, method=method.upper())
        assert answer.status in (200, 206, 304, 412, 416)
        check(path, answer, method)


@pytest.mark.parametrize("path", PATHS)
def test_every_refusal_is_as_documented(served, path: str) -> None:
    check(path, served.get(example(served, path), method="POST"))
    check(path, served.get(f"{example(served, path)}%00"))
    check(path, served.get(example(served, path), {"X": "x" * 40_000}))
    if "{" in path:
        check(path, served.get(re.sub(r"\{[a-z]+\}", "absent", path)))


def test_about(served) -> None:
    about = json.loads(served.get("/").body)
    assert {key: type(value) for key, value in about.items()} == {
        "name": str,
        "version": str,
        "channel": str,
        "arch": str,
        "uptime_seconds": float,
    }


def test_the_status_counts(served) -> None:
    before = json.loads(served.get("/status").body)
    size = len(served.get("/stable/x86_64/kernel").body)
    after = json.loads(served.get("/status").body)
    assert after["metrics"]["requests_total"] == before["metrics"]["requests_total"] + 2
    assert after["metrics"]["bytes_served_total"] > before["metrics"]["bytes_served_total"] + size
    assert after["offers"] == [{"channel": "stable", "arch": "x86_64", "version": 1}]
    assert after["artifacts"] == {"verified": 2, "waiting": 0, "changed": 0, "missing": 0}


def test_the_status_names_what_clients_pin(served) -> None:
    trust = json.loads(served.get("/status").body)["trust"]
    assert served.get(f"/{trust['root_path']}").sha256 == trust["root_sha256"]


def test_metrics_are_prometheus_text(served) -> None:
    served.get("/nothing")
    text = served.get("/metrics").body.decode()
    assert re.search(r'^plasm_provider_requests_total\{status="404"\} \d', text, re.MULTILINE)
    assert re.search(r"^plasm_provider_served_bytes_total \d", text, re.MULTILINE)
    assert re.search(r"^plasm_provider_healthy 1\.0$", text, re.MULTILINE)


def test_an_artifact_has_several_names(served) -> None:
    kernel = served.get("/stable/x86_64/kernel")
    for path in (
        "/targets/stable/x86_64/kernel",
        f"/targets/stable/x86_64/{kernel.sha256}.kernel",
        f"/sha256/{kernel.sha256}",
    ):
        assert served.get(path).body == kernel.body
    assert served.get(f"/targets/stable/x86_64/{'0' * 64}.kernel").status == 404


def test_the_manifest_leads_to_what_it_names(served) -> None:
    manifest = json.loads(served.get("/stable/x86_64/manifest.json").body)
    for artifact in manifest["artifacts"].values():
        answer = served.get(f"/stable/x86_64/{artifact['download_url']}")
        assert f"sha256:{answer.sha256}" == artifact["hash"]
        assert len(answer.body) == artifact["size_bytes"]


def test_the_manifest_and_metadata_come_as_they_were_signed(own, publisher) -> None:
    manifest = publisher.folder / "manifests/stable/x86_64/manifest.json"
    assert own.get("/stable/x86_64/manifest.json").body == manifest.read_bytes()
    for file in (publisher.folder / "metadata").iterdir():
        answer = own.get(f"/metadata/{file.name}")
        assert (answer.body, answer.sha256) == (file.read_bytes(), hashlib.sha256(file.read_bytes()).hexdigest())


def test_aarch64_is_arm64(publisher, serve) -> None:
    publisher.publish({"stable/arm64/kernel": b"another kernel"})
    served = serve(SignedRepository(publisher.folder, LOG), arch="arm64")
    assert served.get("/stable/aarch64/kernel").body == b"another kernel"
    assert served.get("/manifest.json").body == served.get("/stable/aarch64/manifest.json").body
    assert json.loads(served.get("/manifest.json").body)["arch"] == "arm64"


def test_what_never_changes_may_be_kept(served) -> None:
    kernel = served.get("/stable/x86_64/kernel")
    assert kernel.fields["cache-control"] == "no-cache"
    assert "immutable" in served.get(f"/sha256/{kernel.sha256}").fields["cache-control"]
    assert "immutable" in served.get("/metadata/1.root.json").fields["cache-control"]
    assert served.get("/metadata/timestamp.json").fields["cache-control"] == "no-cache"

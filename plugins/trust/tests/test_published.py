"""What a repository offers is verified from its first root on, whatever lies in its folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plasm_fetching.http import Absent
from plasm_trust import layout
from plasm_trust.client import TrustClient, pin
from plasm_trust.keys import TufSigner
from plasm_trust.published import Published, offer
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.tufapi import MetaFile
from plasm_trust.verifying import verify_repository

from plasm.testing import FakeSigner

KERNEL = "stable/x86_64/kernel"
SIGNERS = {"root": 1, "targets": 2, "snapshot": 3, "timestamp": 3, "stable": 4, "beta": 5}


def test_everything_that_is_signed_is_offered(publisher):
    published = Published.load(publisher.folder)
    assert set(published.artifacts) == {KERNEL, "beta/arm64/kernel"}
    assert set(published.manifests) == {("stable", "x86_64"), ("beta", "arm64")}
    assert published.root_fingerprint == hashlib.sha256(published.metadata["1.root.json"]).hexdigest()
    assert {"1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.stable.json"} <= set(
        published.metadata
    )


def test_the_earliest_expiry_is_told(publisher, begin):
    published = Published.load(publisher.folder)
    assert (published.expires - begin).days == 7


def test_what_has_expired_is_loaded_all_the_same(publisher):
    """Who serves it may renew it; a client refuses it by its own clock."""
    publisher.later(days=4000)
    assert KERNEL in Published.load(publisher.folder).artifacts


def test_the_versions_before_are_served_on(publisher):
    publisher.publish({KERNEL: b"newer"})
    assert {"1.stable.json", "2.stable.json", "1.snapshot.json"} <= set(Published.load(publisher.folder).metadata)


def test_artifacts_and_plain_names_are_where_the_text_says(publisher):
    publisher.publish({KERNEL: b"newer"})
    artifact = Published.load(publisher.folder).artifacts[KERNEL]
    targets = publisher.folder / "targets"
    assert (targets / KERNEL).read_bytes() == (targets / layout.hashed_name(artifact)).read_bytes() == b"newer"
    assert layout.artifact_file(targets, artifact) == targets / layout.hashed_name(artifact)
    old = hashlib.sha256(b"a kernel").hexdigest()
    assert (targets / f"stable/x86_64/{old}.kernel").exists()
    publisher.publish({KERNEL: b"newest"})
    assert not (targets / f"stable/x86_64/{old}.kernel").exists()


def test_an_artifact_that_is_removed_has_neither_file_nor_manifest(publisher):
    published = publisher.publish(removed=[KERNEL])
    assert KERNEL not in published.artifacts
    assert ("stable", "x86_64") not in published.manifests
    assert not (publisher.folder / "targets" / KERNEL).exists()


def test_content_that_is_missing_is_not_signed_away(publisher):
    with publisher.open() as repository:
        file = publisher.folder.parent / "content"
        file.write_bytes(b"newer")
        repository.add(KERNEL, file)
        repository.sign(publisher.signers)
        for path in (publisher.folder / "staged/targets").rglob("*.kernel"):
            path.unlink()
        with pytest.raises(TrustRefused, match="content of stable/x86_64/kernel") as refused:
            repository.publish(publisher.signers)
    assert refused.value.reason is Reason.INCOMPLETE
    assert Published.load(publisher.folder).artifacts[KERNEL].size == 8


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "a link", "a folder", "another's"])
def test_a_damaged_repository_is_refused(publisher, name: str, damage: str):
    path = publisher.folder / "metadata" / name
    data = path.read_bytes()
    path.unlink()
    match damage:
        case "cut":
            path.write_bytes(data[:-5])
        case "a link":
            (publisher.folder / "moved").write_bytes(data)
            path.symlink_to(publisher.folder / "moved")
        case "a folder":
            path.mkdir()
        case "another's":
            path.write_bytes((publisher.folder / "metadata/1.beta.json").read_bytes())
    with pytest.raises((TrustRefused, OSError)):
        Published.load(publisher.folder)


def test_a_damaged_channel_concerns_no_other(publisher):
    (publisher.folder / "metadata/1.beta.json").write_bytes(b"{}")
    published = Published.load(publisher.folder)
    assert set(published.artifacts) == {KERNEL}
    assert "beta" in published.refused
    assert ("beta", "arm64") not in published.manifests


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * 300_000])
def test_a_manifest_that_is_not_what_was_signed_is_not_offered(publisher, data: bytes):
    folder = publisher.folder / "manifests/stable/x86_64"
    (folder / "1.manifest.json").write_bytes(data)
    assert ("stable", "x86_64") in Published.load(publisher.folder).manifests
    (folder / "manifest.json").write_bytes(data)
    assert ("stable", "x86_64") not in Published.load(publisher.folder).manifests


def test_an_earlier_manifest_is_not_offered_as_the_newest(publisher):
    old = (publisher.folder / "manifests/stable/x86_64/manifest.json").read_bytes()
    publisher.publish({KERNEL: b"newer"})
    for path in (publisher.folder / "manifests/stable/x86_64").iterdir():
        path.write_bytes(old)
    assert ("stable", "x86_64") not in Published.load(publisher.folder).manifests


def test_other_files_in_the_folder_are_nobodys_business(publisher):
    metadata = publisher.folder / "metadata"
    (metadata / "../README").write_text("")
    (metadata / ".new-0123").write_bytes(b"half")
    (metadata / "0.root.json").write_bytes(b"{}")
    (metadata / "1.Root.json").write_bytes(b"{}")
    assert set(Published.load(publisher.folder).metadata) == {
        "1.root.json",
        "timestamp.json",
        "1.snapshot.json",
        "1.targets.json",
        "1.stable.json",
        "1.beta.json",
    }


@pytest.mark.parametrize("role", ["snapshot", "targets", "stable"])
def test_what_only_the_online_keys_have_signed_is_not_offered(provider, role: str):
    """They can name anything, and sign nothing but snapshot and timestamp."""
    data = provider.edit(f"1.{role}.json", signed_by=[99 if role == "snapshot" else 3])
    if role != "snapshot":
        named = MetaFile.from_data(1, data, ["sha256"]).to_dict()
        data = provider.edit(
            "1.snapshot.json", lambda signed: signed["meta"].update({f"{role}.json": named}), signed_by=[3]
        )
    newest = MetaFile.from_data(1, data, ["sha256"]).to_dict()
    provider.edit("timestamp.json", lambda signed: signed["meta"].update({"snapshot.json": newest}), signed_by=[3])

    def read(name: str) -> bytes | None:
        found: bytes | None = provider.files.get(f"metadata/{name}")
        return found

    if role == "stable":
        assert set(verify_repository(1, read).refused) == {"stable"}
        return
    with pytest.raises(TrustRefused) as refused:
        verify_repository(1, read)
    assert refused.value.reason is Reason.BAD_SIGNATURE


def test_a_version_that_is_named_must_be_the_one_that_is_said(provider):
    """Hashes are not all that counts: other publishers may leave them out."""
    provider.edit(
        "timestamp.json", lambda signed: signed["meta"].update({"snapshot.json": {"version": 2}}), signed_by=[3]
    )
    provider.files["metadata/2.snapshot.json"] = provider.files["metadata/1.snapshot.json"]
    with pytest.raises(TrustRefused) as refused:
        verify_repository(1, lambda name: provider.files.get(f"metadata/{name}"))
    assert refused.value.reason is Reason.MIX_AND_MATCH


@pytest.mark.parametrize("signer", [1, 40])
def test_a_root_is_signed_by_the_keys_before_it_and_by_its_own(provider, signer: int):
    new = TufSigner(FakeSigner(40)).public_key

    def rotate(signed):
        signed["version"] = 2
        signed["keys"][new.keyid] = new.to_dict()
        signed["roles"]["root"]["keyids"] = [new.keyid]

    provider.edit("1.root.json", rotate, signed_by=[signer], under="2.root.json")
    with pytest.raises(TrustRefused) as refused:
        verify_repository(1, lambda name: provider.files.get(f"metadata/{name}"))
    assert refused.value.reason is Reason.BAD_SIGNATURE


def test_a_folder_that_is_no_repository_is_told_apart(tmp_path: Path):
    with pytest.raises(TrustRefused) as refused:
        Published.load(tmp_path)
    assert refused.value.reason is Reason.INCOMPLETE


# --- metadata of any form, signed by those who may ------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def put_anywhere(signed: dict[str, Any], path: list[int], value: object) -> None:
    place: Any = signed
    for step in path[:-1]:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = place[keys[step % len(keys)]]
        if not isinstance(inner, dict | list) or not inner:
            break
        place = inner
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[keys[path[-1] % len(keys)]] = value


@pytest.fixture
def lookups(publisher, provider, tmp_path: Path):
    """Serves changed metadata; every file above it names what is served, and is signed as it must be."""
    honest = dict(provider.files)
    root = provider.files["metadata/1.root.json"]
    count = 0

    def serve(role: str, path: list[int], value: object):
        nonlocal count
        provider.files = dict(honest)
        name = "timestamp.json" if role == "timestamp" else f"1.{role}.json"
        under = "2.root.json" if role == "root" else name

        def change(signed: dict[str, Any]) -> None:
            if role == "root":
                signed["version"] = 2
            put_anywhere(signed, path, value)

        data = provider.edit(name, change, signed_by=[SIGNERS[role]], under=under)
        digest = {"hashes": {"sha256": hashlib.sha256(data).hexdigest()}, "length": len(data), "version": 1}
        if role in ("targets", "stable"):
            data = provider.edit(
                "1.snapshot.json", lambda signed: signed["meta"].update({f"{role}.json": digest}), signed_by=[3]
            )
            digest = {"hashes": {"sha256": hashlib.sha256(data).hexdigest()}, "length": len(data), "version": 1}
        if role in ("targets", "stable", "snapshot"):
            provider.edit(
                "timestamp.json", lambda signed: signed["meta"].update({"snapshot.json": digest}), signed_by=[3]
            )
        count += 1
        folder = tmp_path / f"client{count}"
        pin(folder, root)
        return TrustClient(folder, provider.read, now=lambda: publisher.now), provider

    return serve


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "stable"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(path=st.lists(st.integers(0, 5), min_size=1, max_size=5), value=JSON)
def test_any_metadata_is_believed_or_refused_and_nothing_else_happens(
    lookups, base, role: str, path: list[int], value: object
):
    client, provider = lookups(role, path, value)
    with contextlib.suppress(TrustRefused, Absent):
        client.refresh(base)
        for artifact in (*client.artifacts("stable", "x86_64"), client.artifact(KERNEL)):
            assert layout.target_path(artifact.path).channel == "stable"
            assert 0 <= artifact.size < 2**53

    def read(name: str) -> bytes | None:
        data: bytes | None = provider.files.get(f"metadata/{name}")
        return data

    with contextlib.suppress(TrustRefused):
        for path_offered in offer(verify_repository(1, read)).artifacts:
            assert str(layout.target_path(path_offered)) == path_offered


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_in_the_place_of_metadata_are_refused(data: bytes):
    with pytest.raises(TrustRefused):
        verify_repository(1, lambda name: data)


def test_a_folder_with_very_many_files_is_refused(publisher, monkeypatch):
    from plasm_trust import metadata_folder

    monkeypatch.setattr(metadata_folder, "MAX_FILES", 5)
    with pytest.raises(OSError, match="more than 5 files"):
        Published.load(publisher.folder)
    assert len(os.listdir(publisher.folder / "metadata")) == 6

"""A repository's folder is handed around on media that nobody trusts: what may be in it, and what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from plasm_trust import changes
from plasm_trust.published import Published
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.repository import RepositoryUnusable
from plasm_trust.settings import SettingsError

KERNEL = "stable/x86_64/kernel"


@pytest.fixture
def waiting(publisher, tmp_path: Path):
    """A new kernel is staged, and nobody has signed it."""
    file = tmp_path / "content"
    file.write_bytes(b"a newer kernel")
    with publisher.open() as repository:
        repository.add(KERNEL, file)
    return publisher


def test_a_manifest_that_does_not_say_what_is_shown_is_not_signed(waiting):
    path = waiting.folder / "staged/manifests/stable/x86_64/manifest.json"
    document = json.loads(path.read_bytes())
    document["artifacts"]["kernel"]["hash"] = "sha256:" + "66" * 32
    path.write_text(json.dumps(document))
    with waiting.open() as repository, pytest.raises(TrustRefused, match="manifests") as refused:
        repository.sign(waiting.signers)
    assert refused.value.reason is Reason.MIX_AND_MATCH


def test_an_earlier_manifest_is_not_published_in_the_place_of_a_new_one(waiting):
    with waiting.open() as repository:
        repository.sign(waiting.signers)
    staged = waiting.folder / "staged/manifests/stable/x86_64/manifest.json"
    staged.write_bytes((waiting.folder / "manifests/stable/x86_64/manifest.json").read_bytes())
    with waiting.open() as repository:
        assert repository.choice().new == frozenset()


def test_content_that_is_not_what_was_signed_is_not_published(waiting):
    (path,) = (waiting.folder / "staged/targets").rglob("*.kernel")
    path.write_bytes(b"A NEWER KERNEL")
    with waiting.open() as repository:
        repository.sign(waiting.signers)
        with pytest.raises(TrustRefused, match="not what was signed") as refused:
            repository.publish(waiting.signers)
    assert refused.value.reason is Reason.WRONG_TARGET
    assert Published.load(waiting.folder).artifacts[KERNEL].size == 8


@pytest.mark.parametrize("name", ["targets", "targets/stable", "staged", "staged/metadata", "manifests", "metadata"])
def test_a_folder_that_leads_elsewhere_is_refused_and_nothing_there_is_removed(waiting, tmp_path: Path, name: str):
    elsewhere = tmp_path / "elsewhere"
    for deep in ("a/b", "b"):
        (elsewhere / deep).mkdir(parents=True)
        (elsewhere / deep / "precious").write_text("precious")
    folder = waiting.folder / name
    folder.rename(tmp_path / "real")
    folder.symlink_to(elsewhere)
    with pytest.raises(RepositoryUnusable, match="symbolic link"), waiting.open():
        pass
    assert len(list(elsewhere.rglob("precious"))) == 2


def test_a_file_that_leads_elsewhere_is_refused(waiting, tmp_path: Path):
    (waiting.folder / "targets" / KERNEL).unlink()
    (waiting.folder / "targets" / KERNEL).symlink_to(tmp_path / "content")
    with pytest.raises(RepositoryUnusable, match="symbolic link"), waiting.open():
        pass


def test_settings_do_not_name_a_module_that_would_be_loaded(waiting):
    path = waiting.folder / "repository.toml"
    path.write_text(path.read_text().replace('= ""', '= "pkcs11:token=release?module-path=evil.so"', 1))
    with pytest.raises(SettingsError, match="question mark"), waiting.open():
        pass


def test_whoever_signs_can_see_all_and_not_only_what_differs_from_what_came_along(publisher):
    with publisher.open() as repository:
        repository.stage(renewed=["root", "stable"])
        whole = changes.changes(repository.staging, repository.current(), whole=True)
        assert len(changes.changes(repository.staging, repository.current())) == 2
    for role, number in (("root", 1), ("targets", 2), ("snapshot", 3), ("timestamp", 3)):
        assert f"  {role}:   {publisher.did(number)}" in whole
    assert any(line.startswith(f"    {KERNEL} kernel 6.1 (8 bytes") for line in whole)


def test_a_damaged_channel_does_not_begin_anew(publisher):
    """At version 1, which no client would take."""
    path = publisher.folder / "metadata/1.beta.json"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(RepositoryUnusable, match="beta is damaged"), publisher.open():
        pass
    path.write_bytes(data)
    publisher.publish()

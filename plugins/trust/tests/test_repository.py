"""What a publisher's repository takes, and what it refuses before anybody has signed it."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from plasm_fetching.artifact import PIECE_BYTES, Artifact
from plasm_trust import manifest
from plasm_trust.refusal import Reason, TrustRefused

from plasm.ports import SignerError
from plasm.testing import FakeSigner

KERNEL = "stable/x86_64/kernel"
HUGE = Artifact(path="stable/x86_64/rootfs", size=75_000 * PIECE_BYTES, sha256="0" * 64, pieces=("0" * 64,) * 75_000)


class Locked(FakeSigner):
    """A token that has been pulled out."""

    def sign(self, message: bytes) -> bytes:
        raise SignerError("the token is gone; put it back")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * PIECE_BYTES + b"y")
    return path


def test_an_artifact_is_hashed_by_piece_and_whole(publisher, file):
    told = []
    with publisher.open() as repository:
        artifact = repository.add(KERNEL, file, progress=lambda *step: told.append(step))
    data = file.read_bytes()
    assert artifact.sha256 == hashlib.sha256(data).hexdigest()
    assert artifact.pieces == tuple(
        hashlib.sha256(data[start : start + PIECE_BYTES]).hexdigest() for start in (0, PIECE_BYTES)
    )
    assert told == [(KERNEL, PIECE_BYTES, len(data)), (KERNEL, len(data), len(data))]


def test_nothing_but_the_content_is_left_of_an_artifact(publisher, file):
    with publisher.open() as repository:
        repository.add(KERNEL, file)
        repository.add(KERNEL, file)
    staged = [path.name for path in (publisher.folder / "staged/targets").rglob("*") if path.is_file()]
    assert staged == [f"{hashlib.sha256(file.read_bytes()).hexdigest()}.kernel"]


def test_a_file_that_is_replaced_before_it_was_signed_leaves_nothing(publisher, file):
    with publisher.open() as repository:
        repository.add(KERNEL, file)
        file.write_bytes(b"another")
        repository.add(KERNEL, file)
    with publisher.open():
        pass
    assert len(list((publisher.folder / "staged/targets").rglob("*.kernel"))) == 1


def test_an_empty_artifact_has_no_pieces(publisher, file):
    file.write_bytes(b"")
    with publisher.open() as repository:
        assert repository.add(KERNEL, file).pieces == ()
    published = publisher.publish()
    assert published.artifacts[KERNEL].size == 0
    assert ("stable", "x86_64") in published.manifests


def test_metadata_that_no_client_would_take_is_not_staged(publisher):
    with publisher.open() as repository:
        with pytest.raises(TrustRefused) as refused:
            repository.stage(artifacts={"stable": [HUGE]})
        assert refused.value.reason is Reason.ENDLESS_DATA
        assert repository.wanted() == ()


def test_a_manifest_that_no_client_would_take_is_not_staged(publisher):
    artifact = replace(HUGE, size=1, pieces=())
    many = [replace(artifact, path=f"stable/x86_64/a{number}") for number in range(manifest.MAX_ARTIFACTS + 1)]
    with publisher.open() as repository:
        with pytest.raises(TrustRefused, match="at most 256"):
            repository.stage(artifacts={"stable": many})
        assert repository.wanted() == ()


def test_a_key_that_cannot_be_used_is_told_in_its_own_words(publisher):
    with publisher.open() as repository:
        repository.stage(renewed=["stable"])
        with pytest.raises(SignerError, match="the token is gone"):
            repository.sign([Locked(4)])
        with pytest.raises(SignerError, match="the token is gone"):
            repository.publish([Locked(3)])


def test_a_copy_without_hashed_names_gets_them_back(publisher):
    for path in (publisher.folder / "targets").rglob("*.kernel"):
        path.unlink()
    published = publisher.publish()
    assert len(list((publisher.folder / "targets").rglob("*.kernel"))) == len(published.artifacts)


def test_where_there_are_no_hard_links_names_are_copies(publisher, monkeypatch):
    def unsupported(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", unsupported)
    publisher.publish({KERNEL: b"a newer kernel"})
    assert (publisher.folder / "targets" / KERNEL).read_bytes() == b"a newer kernel"
    assert len(list((publisher.folder / "targets/stable/x86_64").iterdir())) == 3
    publisher.publish()


def test_what_a_killed_process_left_is_swept(publisher):
    for folder in ("", "metadata", "staged", "targets/stable/x86_64"):
        (publisher.folder / folder).mkdir(exist_ok=True)
        (publisher.folder / folder / ".new-0123456789abcdef").write_bytes(b"half")
    with publisher.open():
        pass
    assert not list(publisher.folder.rglob(".new-*"))


def test_manifests_and_the_list_of_commands_are_read_without_tuf():
    code = (
        "import sys, plasm_trust.manifest, plasm_trust.commands; print([m for m in sys.modules if m.startswith('tuf')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

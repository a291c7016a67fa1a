"""A plain folder of artifacts is signed by whoever serves it, again whenever it changes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from plasm_trust import layout
from plasm_trust.folder_repository import FolderSigned, FolderSigners, sign_folder
from plasm_trust.published import Published
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.renewing import renew

from plasm.testing import FakeSigner

SIGNERS = FolderSigners(root=FakeSigner(1), channels=FakeSigner(4), online=FakeSigner(3))
KERNEL = "stable/x86_64/kernel"


class Folder:
    """A folder in the layout of artifacts; its files are old enough to be remembered."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str, content: bytes, age: float = 60) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        facts = file.stat()
        os.utime(file, (facts.st_atime - age, facts.st_mtime - age))
        return file


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "artifacts")
    made.put(KERNEL, b"a kernel")
    made.put("stable/x86_64/initramfs", b"files")
    return made


@pytest.fixture
def sign(folder: Folder, tmp_path: Path, begin):
    hashed: list[str] = []

    def sign(days: float = 0, signers: FolderSigners = SIGNERS) -> FolderSigned:
        sign.hashed.clear()
        return sign_folder(
            tmp_path / "repository",
            folder.path,
            signers,
            begin + timedelta(days=days),
            lambda path, done, total: sign.hashed.append(path),
        )

    sign.hashed = hashed
    return sign


def test_what_a_folder_holds_is_signed(sign, folder):
    signed = sign()
    assert set(signed.changed) == set(signed.published.artifacts) == {KERNEL, "stable/x86_64/initramfs"}
    kernel = signed.published.artifacts[KERNEL]
    assert (kernel.sha256, kernel.kind) == (hashlib.sha256(b"a kernel").hexdigest(), "kernel")
    assert ("stable", "x86_64") in signed.published.manifests
    assert layout.artifact_file(folder.path, kernel) == folder.path / KERNEL


def test_nothing_is_copied(sign, tmp_path: Path):
    sign()
    assert not list((tmp_path / "repository").rglob("*kernel*"))


def test_what_has_not_changed_is_neither_hashed_nor_signed_again(sign):
    first = sign()
    again = sign(days=1)
    assert sign.hashed == []
    assert (again.changed, again.removed) == ((), ())
    assert again.published == first.published


def test_a_file_of_a_moment_ago_is_hashed_again(sign, folder):
    """Its next write may leave the same size and time."""
    folder.put(KERNEL, b"KERNEL A", age=0)
    sign()
    sign()
    assert sign.hashed == [KERNEL]


@pytest.mark.parametrize("content", [b"a longer kernel", b"A KERNEL"])
def test_a_changed_file_is_signed_as_it_is_now(sign, folder, content: bytes):
    before = sign()
    folder.put(KERNEL, content)
    signed = sign()
    assert signed.changed == (KERNEL,)
    assert signed.published.artifacts[KERNEL].sha256 == hashlib.sha256(content).hexdigest()
    assert signed.published.versions["stable"] == before.published.versions["stable"] + 1


def test_a_file_with_an_old_time_and_another_content_is_noticed(sign, folder):
    sign()
    old = (folder.path / KERNEL).stat()
    replaced = folder.put("new", b"A KERNEL")
    os.utime(replaced, ns=(old.st_atime_ns, old.st_mtime_ns))
    replaced.replace(folder.path / KERNEL)
    assert sign().changed == (KERNEL,)


def test_a_file_that_is_gone_is_signed_no_longer(sign, folder):
    sign()
    (folder.path / KERNEL).unlink()
    signed = sign()
    assert signed.removed == (KERNEL,)
    assert set(signed.published.artifacts) == {"stable/x86_64/initramfs"}


def test_a_channel_that_is_gone_is_empty(sign, folder):
    folder.put("beta/arm64/board.dtb", b"tree")
    assert "beta/arm64/board.dtb" in sign().published.artifacts
    (folder.path / "beta/arm64/board.dtb").unlink()
    (folder.path / "beta/arm64").rmdir()
    (folder.path / "beta").rmdir()
    signed = sign()
    assert "beta/arm64/board.dtb" not in signed.published.artifacts
    assert ("beta", "arm64") not in signed.published.manifests


def test_a_new_channel_is_signed(sign, folder):
    sign()
    folder.put("beta/aarch64/board.dtb", b"tree")
    signed = sign()
    artifact = signed.published.artifacts["beta/arm64/board.dtb"]
    assert artifact.kind == "dtb"
    assert layout.artifact_file(folder.path, artifact) == folder.path / "beta/aarch64/board.dtb"


def test_what_cannot_be_signed_is_said_and_keeps_nothing_else_back(sign, folder):
    folder.put("stable/x86_64/Kernel", b"")
    folder.put("stable/riscv64/kernel", b"")
    folder.put("README", b"")
    folder.put("targets/x86_64/kernel", b"")
    (folder.path / "stable/x86_64/rootfs").symlink_to(folder.path / KERNEL)
    (folder.path / "beta").symlink_to(folder.path / "stable")
    os.mkfifo(folder.path / "stable/x86_64/pipe")
    (folder.path / "stable/x86_64/modules").mkdir()
    folder.put("stable/x86_64/.hidden", b"")
    folder.put("stable/x86_64/manifest.json", b"{}")
    folder.put("stable/aarch64/kernel", b"one")
    folder.put("stable/arm64/kernel", b"two")
    signed = sign()
    assert set(signed.published.artifacts) == {KERNEL, "stable/x86_64/initramfs", "stable/arm64/kernel"}
    assert set(signed.refused) == {
        "stable/x86_64/Kernel",
        "stable/riscv64",
        "README",
        "targets",
        "stable/x86_64/rootfs",
        "beta",
        "stable/x86_64/pipe",
        "stable/x86_64/modules",
        "stable/arm64/kernel",
    }
    assert "symbolic link" in signed.refused["stable/x86_64/rootfs"]


def test_names_that_cannot_be_shown_are_shown_escaped(sign, folder):
    folder.put("stable/x86_64/\x1b[2J", b"")
    os.close(os.open(os.fsencode(folder.path) + b"/stable/x86_64/\xff", os.O_CREAT))
    assert set(sign().refused) == {"stable/x86_64/\\x1b[2J", "stable/x86_64/\\udcff"}


def test_a_folder_with_very_many_files_is_not_looked_through(sign, folder, monkeypatch):
    monkeypatch.setattr("plasm_trust.scanning.MAX_ENTRIES", 3)
    for number in range(3):
        folder.put(f"beta/x86_64/a{number}", b"")
    assert set(sign().published.artifacts) >= {KERNEL, "beta/x86_64/a0"}
    folder.put("beta/x86_64/a3", b"")
    signed = sign()
    assert "more than 3 entries" in signed.refused["beta/x86_64"]
    assert KERNEL in signed.published.artifacts


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_time(folder, tmp_path: Path, begin, mode: str):
    def write(path: str, done: int, total: int) -> None:
        if path == KERNEL:
            with (folder.path / KERNEL).open(mode) as file:
                file.write(b"more")

    signed = sign_folder(tmp_path / "repository", folder.path, SIGNERS, begin, write)
    assert "changed while it was read" in signed.refused[KERNEL]
    assert set(signed.published.artifacts) == {"stable/x86_64/initramfs"}


def test_an_empty_folder_is_a_repository_too(tmp_path: Path, begin):
    (tmp_path / "empty").mkdir()
    assert sign_folder(tmp_path / "repository", tmp_path / "empty", SIGNERS, begin).published.artifacts == {}


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, begin):
    with pytest.raises(FileNotFoundError):
        sign_folder(tmp_path / "repository", tmp_path / "none", SIGNERS, begin)


def test_what_is_about_to_expire_is_signed_anew(sign):
    first = sign().published
    later = sign(days=80).published
    assert later.versions["stable"] == first.versions["stable"] + 1
    assert later.versions["root"] == first.versions["root"]
    year = sign(days=360).published
    assert year.versions["root"] == first.versions["root"] + 1
    assert year.expires > first.expires


@pytest.mark.parametrize("role", ["root", "channels", "online"])
def test_the_keys_of_another_home_are_refused(sign, role: str):
    sign()
    others = replace(SIGNERS, **{role: FakeSigner(50)})
    with pytest.raises(TrustRefused) as refused:
        sign(signers=others)
    assert refused.value.reason is Reason.OTHER_ROOT


def test_a_folder_that_moved_is_followed(sign, folder, tmp_path: Path, begin):
    before = sign().published
    folder.path.rename(tmp_path / "moved")
    signed = sign_folder(tmp_path / "repository", tmp_path / "moved", SIGNERS, begin)
    assert signed.published == before


def test_one_key_can_do_all(folder, tmp_path: Path, begin):
    one = FakeSigner(7)
    signers = FolderSigners(root=one, channels=one, online=one)
    assert KERNEL in sign_folder(tmp_path / "repository", folder.path, signers, begin).published.artifacts


def test_who_was_interrupted_before_the_first_publication_begins_again(sign, folder, tmp_path: Path, begin):
    sign()
    for path in (tmp_path / "repository/metadata").iterdir():
        path.unlink()
    assert KERNEL in sign().published.artifacts


def test_the_timestamp_is_renewed_with_the_online_key_alone(sign, tmp_path: Path, begin):
    first = sign().published
    renewed = renew(tmp_path / "repository", [SIGNERS.online], begin + timedelta(days=5))
    assert renewed.versions == {**first.versions, "timestamp": 2}
    assert renewed.expires > first.expires
    renewed = renew(tmp_path / "repository", [SIGNERS.online], begin + timedelta(days=25))
    assert renewed.versions["snapshot"] == 2


def test_other_keys_renew_nothing(sign, tmp_path: Path, begin):
    before = sign().published
    with pytest.raises(TrustRefused, match="online keys"):
        renew(tmp_path / "repository", [SIGNERS.root, SIGNERS.channels], begin + timedelta(days=1))
    assert Published.load(tmp_path / "repository") == before


def test_renewing_publishes_what_waited_for_the_online_keys(publisher, begin):
    with publisher.open() as repository:
        repository.stage(renewed=["stable"])
        repository.sign(publisher.signers)
    assert renew(publisher.folder, [FakeSigner(3)], begin).versions["stable"] == 2

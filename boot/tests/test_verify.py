"""``phase-verify``: against which keys, and what does not pass."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@pytest.fixture
def machine(same_process: Any) -> Any:
    return same_process


@dataclass
class Files:
    """A manifest and a kernel, as somebody handed them over."""

    manifest: Path
    kernel: Path

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        document = json.loads(self.manifest.read_text())
        edit(document)
        self.manifest.write_text(json.dumps(document))


@pytest.fixture
def files(tmp_path: Path, published: Any, contents: dict[str, bytes]) -> Files:
    manifest, kernel = tmp_path / "manifest.json", tmp_path / "kernel"
    shutil.copy(published.today / "manifests" / "stable" / "x86_64" / "manifest.json", manifest)
    kernel.write_bytes(contents["kernel"])
    return Files(manifest, kernel)


@pytest.fixture
def key(tmp_path: Path, published: Any) -> Path:
    """The channel's public key in a file."""
    path = tmp_path / "stable.pub"
    path.write_text(published.publisher.signer("channel").public_key.hex() + "\n")
    return path


def told(machine: Any, *arguments: str | Path, patch: str = "") -> str:
    """What is said where something is not verified."""
    done = machine("phase-verify", *arguments, patch=patch)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return str(done.stderr)


# --- keys -----------------------------------------------------------------------------------------------------------


def test_under_the_pinned_root_with_what_an_earlier_fetch_has_kept(
    pinned: Any, honest: Any, files: Files, published: Any
) -> None:
    assert pinned("phase-fetch", "-q", "-a", "kernel", honest.manifest_url).returncode == 0
    said = pinned.json("phase-verify", files.manifest, files.kernel)
    assert (said["verified"], said["path"], said["version"]) == (True, "stable/x86_64/kernel", 3)
    assert len(said["signed_by"]) == 1


def test_without_kept_metadata_it_says_what_is_missing_and_what_mends_it(pinned: Any, files: Files) -> None:
    said = told(pinned, files.manifest, files.kernel)
    assert "targets.json is missing" in said
    for mend in ("phase-fetch", "--metadata", "--key"):
        assert mend in said


@pytest.mark.parametrize("folder", [".", "metadata"])
def test_with_metadata_that_was_brought_along(machine: Any, files: Files, published: Any, folder: str) -> None:
    root = published.publisher.root
    done = machine("phase-verify", "--root", root, "--metadata", published.today / folder, files.manifest, files.kernel)
    assert (done.returncode, done.stderr) == (0, "")
    assert "verified: stable/x86_64/kernel, version 3" in done.stdout
    assert not machine.home.exists()


def test_metadata_of_another_publisher_proves_nothing(machine: Any, files: Files, published: Any) -> None:
    for root, brought in (
        (published.stranger.root, published.today),
        (published.publisher.root, published.stranger.folder),
    ):
        assert "targets.json is missing" in told(
            machine, "--root", root, "--metadata", brought, files.manifest, files.kernel
        )
    stranger = published.stranger
    said = told(machine, "--root", stranger.root, "--metadata", stranger.folder, files.manifest, files.kernel)
    assert "0 of the 1 keys" in said


def test_without_any_root_it_says_which_command_pins_one(machine: Any, files: Files) -> None:
    assert "phase-fetch --pin" in told(machine, files.manifest, files.kernel)


def test_metadata_that_has_expired_is_not_enough(
    machine: Any, files: Files, published: Any, clock: Callable[[timedelta], str]
) -> None:
    arguments = ("--root", published.publisher.root, "--metadata", published.today, files.manifest, files.kernel)
    said = told(machine, *arguments, patch=clock(timedelta(days=3650)))
    assert "expired on" in said
    assert "or the clock is wrong" in said


def test_a_clock_that_is_behind_is_told_and_does_not_matter(
    machine: Any, files: Files, published: Any, clock: Callable[[timedelta], str]
) -> None:
    arguments = ("--root", published.publisher.root, "--metadata", published.today, files.manifest, files.kernel)
    patch = clock(timedelta(days=-3650))
    done = machine("phase-verify", *arguments, patch=patch)
    assert done.returncode == 0
    assert "this machine's clock says" in done.stderr


def test_under_a_key(machine: Any, files: Files, key: Path) -> None:
    assert machine("phase-verify", "--key", key, files.manifest, files.kernel).returncode == 0


def test_every_key_that_is_named_must_have_signed(machine: Any, files: Files, key: Path, published: Any) -> None:
    other = published.publisher.did("root")
    assert "1 of the 2 keys" in told(machine, "--key", key, "--key", other, files.manifest, files.kernel)
    assert "0 of the 1 keys" in told(machine, "--key", other, files.manifest, files.kernel)


def test_a_key_from_inside_the_manifest_is_never_taken(machine: Any, files: Files, published: Any) -> None:
    """Signed as it should be, by a key that came along."""
    from plasm_trust import manifest as manifests

    def sign(document: dict[str, Any]) -> None:
        document["signatures"] = []
        signer = published.stranger.signer("channel")
        document["public_key"] = signer.public_key.hex()
        manifests.sign(document, signer, published.publisher.now)

    files.change(sign)
    arguments = ("--root", published.publisher.root, "--metadata", published.today, files.manifest, files.kernel)
    assert "0 of the 1 keys" in told(machine, *arguments)


# --- manifests and artifacts ----------------------------------------------------------------------------------------


def test_an_artifact_with_another_byte_does_not_pass(machine: Any, files: Files, key: Path) -> None:
    content = files.kernel.read_bytes()
    files.kernel.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "is not what was signed as stable/x86_64/kernel" in told(machine, "--key", key, files.manifest, files.kernel)
    files.kernel.write_bytes(content + b"\0")
    assert f"has {len(content) + 1} bytes" in told(machine, "--key", key, files.manifest, files.kernel)


@pytest.mark.parametrize(
    "edit",
    [
        lambda document: document.update(version="4"),
        lambda document: document["artifacts"]["kernel"].update(cmdline="init=/bin/sh"),
        lambda document: document["artifacts"]["kernel"].update(hash="sha256:" + "00" * 32),
        lambda document: document.update(signatures=[]),
        lambda document: document.update(note=1.5),
        lambda document: document.pop("channel"),
    ],
    ids=["version", "command line", "hash", "no signature", "a float", "no channel"],
)
def test_a_manifest_that_was_changed_does_not_pass(
    machine: Any, files: Files, key: Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    files.change(edit)
    assert "not verified" in told(machine, "--key", key, files.manifest, files.kernel)


def test_an_older_version_than_was_asked_for_does_not_pass(machine: Any, files: Files, key: Path) -> None:
    arguments = ("--key", key, files.manifest, files.kernel)
    assert machine("phase-verify", "--check-version", "3", *arguments).returncode == 0
    assert "is version 3 of stable, older than 4" in told(machine, "--check-version", "4", *arguments)


def test_a_file_of_another_name_is_named(machine: Any, files: Files, key: Path) -> None:
    other = files.kernel.rename(files.kernel.with_name("vmlinuz"))
    assert "--name" in told(machine, "--key", key, files.manifest, other)
    assert machine("phase-verify", "--key", key, "--name", "kernel", files.manifest, other).returncode == 0
    assert "bytes" in told(machine, "--key", key, "--name", "initramfs", files.manifest, other)
    assert "names no 'dtb'" in told(machine, "--key", key, "--name", "dtb", files.manifest, other)


def test_failures_are_json_where_that_is_asked_for(machine: Any, files: Files, published: Any) -> None:
    done = machine("phase-verify", "--json", "--key", published.publisher.did("root"), files.manifest, files.kernel)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["none.json", "none"],
        ["--check-version", "0", __file__, __file__],
        ["--key", "none.pub", __file__, __file__],
        ["--key", "did:key:z6Mk", __file__, __file__],
        ["--key", "did:key:z6Mk", "--root", __file__, __file__, __file__],
    ],
    ids=lambda arguments: " ".join(arguments).replace(__file__, "FILE"),
)
def test_wrong_usage(machine: Any, arguments: list[str]) -> None:
    assert machine("phase-verify", *arguments).returncode == 2


# --- public keys ----------------------------------------------------------------------------------------------------

PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
"""RFC 8032, section 7.1, test 1."""
PEM = Ed25519PublicKey.from_public_bytes(PUBLIC).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
RSA_PEM = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


@pytest.mark.parametrize(
    "text",
    [
        PUBLIC.hex(),
        PUBLIC.hex().upper(),
        f"  {PUBLIC.hex()}\n",
        base64.b64encode(PUBLIC).decode(),
        base64.b64encode(PUBLIC).decode().rstrip("="),
        PEM,
        "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw",
    ],
)
def test_a_public_key_may_be_written_in_several_ways(text: str) -> None:
    from plasm_boot.publickeys import parse_public_key

    assert parse_public_key(text) == PUBLIC


@pytest.mark.parametrize(
    "text",
    [
        "",
        PUBLIC.hex()[:-1],
        PUBLIC.hex() + "00",
        "zz" * 32,
        PEM.replace("MC", "MD"),
        RSA_PEM,
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAA\n-----END PRIVATE KEY-----\n",
        "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMs",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_public_key_is_refused_and_not_repeated(text: str) -> None:
    from plasm_boot.publickeys import InvalidKey, parse_public_key

    with pytest.raises(InvalidKey) as refusal:
        parse_public_key(text)
    assert "MC4CAQ" not in str(refusal.value)

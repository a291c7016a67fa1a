from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from plasm_keys import keyfile

KEY_OF_33_BYTES = (
    b"-----BEGIN PRIVATE KEY-----\n"
    + base64.b64encode(bytes.fromhex("302f020100300506032b657004230421") + bytes(33))
    + b"\n-----END PRIVATE KEY-----\n"
)
"""A well-formed PKCS#8 document whose key has one byte too many."""


def pem_of(key: Ed25519PrivateKey | X25519PrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def test_a_created_key_is_readable_by_its_owner_alone(key_path: Path) -> None:
    old = os.umask(0)
    try:
        keyfile.create(key_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_path.parent.stat().st_mode) == 0o700


def test_a_key_that_an_editor_saved_anew_is_read_and_utf_16_is_named() -> None:
    key = Ed25519PrivateKey.generate()
    pem = pem_of(key)
    for saved in (b"\xef\xbb\xbf" + pem, pem.replace(b"\n", b"\r\n")):
        assert keyfile.parse_pem(saved, "it").public_key() == key.public_key()
    with pytest.raises(keyfile.KeyRefused, match="it is UTF-16: save it as UTF-8"):
        keyfile.parse_pem(pem.decode().encode("utf-16"), "it")


def test_a_created_key_is_the_only_file_left(key_path: Path) -> None:
    keyfile.create(key_path)
    assert os.listdir(key_path.parent) == [key_path.name]


def test_a_loaded_key_signs_what_its_public_key_verifies(key_path: Path) -> None:
    created = keyfile.create(key_path)
    loaded = keyfile.load(key_path)
    assert loaded.public_key == created.public_key
    Ed25519PublicKey.from_public_bytes(created.public_key).verify(loaded.sign(b"message"), b"message")


def test_openssl_form_is_pkcs8_pem(key_path: Path) -> None:
    keyfile.create(key_path)
    assert key_path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_create_never_overwrites(key_path: Path) -> None:
    keyfile.create(key_path)
    before = key_path.read_bytes()
    with pytest.raises(keyfile.KeyExists):
        keyfile.create(key_path)
    assert key_path.read_bytes() == before
    assert os.listdir(key_path.parent) == [key_path.name]


def test_create_does_not_follow_a_dangling_symbolic_link(key_path: Path) -> None:
    key_path.parent.mkdir(mode=0o700)
    key_path.symlink_to(key_path.parent / "elsewhere")
    with pytest.raises(keyfile.KeyExists):
        keyfile.create(key_path)
    assert not (key_path.parent / "elsewhere").exists()


def test_a_missing_key_is_named(key_path: Path) -> None:
    with pytest.raises(keyfile.KeyMissing, match=r"identity\.key"):
        keyfile.load(key_path)


def test_a_symbolic_link_is_refused(key_path: Path) -> None:
    keyfile.create(key_path)
    link = key_path.parent / "link"
    link.symlink_to(key_path)
    with pytest.raises(keyfile.KeyRefused, match="symbolic link"):
        keyfile.load(link)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_open_to_others_is_refused_with_the_chmod_that_mends_it(key_path: Path, mode: int) -> None:
    keyfile.create(key_path)
    key_path.chmod(mode)
    with pytest.raises(keyfile.KeyRefused, match=r"chmod 600 .*identity.key"):
        keyfile.load(key_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_key_is_refused(key_path: Path) -> None:
    keyfile.create(key_path)
    os.chown(key_path, 12345, -1)
    with pytest.raises(keyfile.KeyRefused, match="another user"):
        keyfile.load(key_path)


def test_a_fifo_is_refused_without_waiting_for_its_writer(key_path: Path) -> None:
    key_path.parent.mkdir(mode=0o700)
    os.mkfifo(key_path, 0o600)
    with pytest.raises(keyfile.KeyRefused, match="regular file"):
        keyfile.load(key_path)


def test_a_huge_file_is_refused(key_path: Path) -> None:
    keyfile.create(key_path)
    with key_path.open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(keyfile.KeyRefused, match="too large"):
        keyfile.load(key_path)


def test_an_exported_key_installs_as_the_same_identity(key_path: Path, tmp_path: Path) -> None:
    original = keyfile.create(key_path)
    copy = tmp_path / "other" / "identity.key"
    keyfile.install(copy, keyfile.export(key_path))
    assert keyfile.load(copy).public_key == original.public_key
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_install_never_overwrites(key_path: Path) -> None:
    keyfile.create(key_path)
    before = key_path.read_bytes()
    with pytest.raises(keyfile.KeyExists):
        keyfile.install(key_path, pem_of(Ed25519PrivateKey.generate()))
    assert key_path.read_bytes() == before


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "no private key"),
        (b"not a key", "no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        (KEY_OF_33_BYTES, "no private key"),
        (pem_of(X25519PrivateKey.generate()), "not an Ed25519 key"),
        (pem_of(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")), "encrypted"),
        (b"#" * 5000 + pem_of(Ed25519PrivateKey.generate()), "too large"),
    ],
    ids=["empty", "text", "broken", "of 33 bytes", "x25519", "encrypted", "large"],
)
def test_install_refuses_what_is_no_ed25519_key(key_path: Path, pem: bytes, reason: str) -> None:
    with pytest.raises(keyfile.KeyRefused, match=reason):
        keyfile.install(key_path, pem)
    assert not key_path.exists()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=120).map(lambda b: b"-----BEGIN PRIVATE KEY-----\n" + b))
def test_arbitrary_bytes_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(keyfile.KeyRefused) as caught:
        keyfile.install(Path("/nonexistent/never/written"), data)
    assert "\n" not in str(caught.value)


def test_processes_that_race_to_create_end_with_one_key(key_path: Path) -> None:
    code = (
        "import sys, pathlib; from plasm_keys import keyfile\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(keyfile.load_or_create(pathlib.Path(sys.argv[1])).public_key.hex())"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(key_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()
        keys = {racer.communicate(timeout=30)[0].strip() for racer in racers}
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert keys == {keyfile.load(key_path).public_key.hex()}
    assert os.listdir(key_path.parent) == [key_path.name]

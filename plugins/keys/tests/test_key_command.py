from __future__ import annotations

import json
import stat
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plasm_keys import keyfile
from plasm_keys.command import key

from plasm.commands import Context
from plasm.identity import did_key, peer_id

PEM = keyfile.pem_of(Ed25519PrivateKey.generate())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def call(home: Path, *arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(key, list(arguments), obj=Context(home_path=home), input=stdin)


def test_the_command_is_found_by_its_entry_point() -> None:
    (entry,) = entry_points(group="plasm.commands", name="key")
    assert entry.load() is key


def test_show_prints_the_names_of_the_key_that_the_signer_uses(home: Path) -> None:
    peer = peer_id(keyfile.create(home / "keys" / "identity.key").public_key)
    assert call(home, "show").stdout == f"{peer}\n{did_key(peer)}\n"
    assert json.loads(call(home, "show", "--json").stdout) == {"peer_id": peer, "did_key": did_key(peer)}


def test_show_without_a_key_says_how_to_make_one(home: Path) -> None:
    result = call(home, "show")
    assert result.exit_code == 125
    assert "plasm key generate" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_generate_keeps_an_existing_key(home: Path) -> None:
    made = call(home, "generate").stdout
    again = call(home, "generate")
    assert again.exit_code == 125
    assert "already" in again.stderr
    assert call(home, "show").stdout == made


def test_a_backup_restores_the_identity(home: Path, tmp_path: Path) -> None:
    made = call(home, "generate").stdout
    exported = call(home, "export")
    assert "warning" in exported.stderr
    restored = call(tmp_path / "new", "import", "-", stdin=exported.stdout_bytes)
    assert restored.exit_code == 0
    assert restored.stdout == made


def test_export_to_a_file_is_private_and_never_overwrites(home: Path, tmp_path: Path) -> None:
    call(home, "generate")
    backup = tmp_path / "backup.pem"
    result = call(home, "export", "--output", str(backup))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    backup.write_bytes(b"precious")
    assert call(home, "export", "--output", str(backup)).exit_code == 125
    assert backup.read_bytes() == b"precious"


def test_import_keeps_an_existing_key(home: Path, tmp_path: Path) -> None:
    call(home, "generate")
    backup = tmp_path / "backup.pem"
    keyfile.create(backup)
    before = call(home, "show").stdout
    result = call(home, "import", str(backup))
    assert result.exit_code == 125
    assert "name another" in result.stderr
    assert call(home, "show").stdout == before


def test_import_reads_a_bounded_amount(home: Path) -> None:
    result = call(home, "import", "-", stdin=b"x" * 100_000)
    assert result.exit_code == 125
    assert "too large" in result.stderr


def test_import_of_a_missing_file_is_wrong_usage(home: Path) -> None:
    assert call(home, "import", "/nonexistent").exit_code == 2


def test_a_key_that_a_uri_names_is_made_and_shown(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "release key.pem"
    made = call(home, "generate", path.as_uri())
    assert made.exit_code == 0
    peer = peer_id(keyfile.load(path).public_key)
    assert made.stdout == f"{peer}\n{did_key(peer)}\n"
    assert json.loads(call(home, "show", str(path), "--json").stdout) == {"peer_id": peer, "did_key": did_key(peer)}
    assert not home.exists()


def test_a_key_that_a_uri_names_is_never_made_anew(home: Path, tmp_path: Path) -> None:
    keyfile.create(tmp_path / "release.key")
    before = (tmp_path / "release.key").read_bytes()
    result = call(home, "generate", f"file:{tmp_path}/release.key")
    assert isinstance(result.exception, keyfile.KeyExists)
    assert (tmp_path / "release.key").read_bytes() == before


def test_a_missing_key_that_a_uri_names_is_not_made_by_looking(home: Path, tmp_path: Path) -> None:
    result = call(home, "show", f"file:{tmp_path}/release.key")
    assert isinstance(result.exception, keyfile.KeyMissing)
    assert list(tmp_path.iterdir()) == []


def test_a_locked_key_is_shown_once_its_passphrase_is_known(
    home: Path, tmp_path: Path, lock_cheaply: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (("release.age", lock_cheaply(PEM, "secret")), ("passphrase", b"secret\n")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("PLASM_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    peer = peer_id(keyfile.KeyInMemory(keyfile.parse_pem(PEM, "it")).public_key)
    assert call(home, "show", f"encrypted:{tmp_path}/release.age").stdout == f"{peer}\n{did_key(peer)}\n"

from __future__ import annotations

import json
import stat
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from plasm_keys import keyfile
from plasm_keys.command import key

from plasm.identity import did_key, peer_id


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def call(home: Path | None, *arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(key, list(arguments), obj=SimpleNamespace(home=home), input=stdin)


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
    assert "move it away" in result.stderr
    assert call(home, "show").stdout == before


def test_import_reads_a_bounded_amount(home: Path) -> None:
    result = call(home, "import", "-", stdin=b"x" * 100_000)
    assert result.exit_code == 125
    assert "too large" in result.stderr


def test_import_of_a_missing_file_is_wrong_usage(home: Path) -> None:
    assert call(home, "import", "/nonexistent").exit_code == 2


@pytest.mark.parametrize("arguments", [("show",), ("generate",), ("export",), ("import", "-")])
def test_without_a_home_each_command_fails_in_one_line(arguments: tuple[str, ...]) -> None:
    result = call(None, *arguments)
    assert result.exit_code == 125
    assert len(result.stderr.splitlines()) == 1

"""repository.toml is read as it is written, and refused with what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_trust import settings
from plasm_trust.keys import did_of
from plasm_trust.settings import Settings, SettingsError, role_settings

from plasm.testing import FakeSigner

ONE, TWO = (did_of(FakeSigner(number).public_key) for number in (1, 2))
GOOD = Settings(
    keys={ONE: "file:/keys/one.key", TWO: ""},
    roles={name: role_settings(name, (ONE,)) for name in ("root", "targets", "snapshot", "timestamp")},
    channels={"stable": role_settings("stable", (ONE, TWO), 2), "a.b": role_settings("a.b", (TWO,))},
)


def test_what_is_saved_is_loaded(tmp_path: Path):
    settings.save(tmp_path, GOOD)
    assert settings.load(tmp_path) == GOOD


def test_a_byte_order_mark_is_passed_over_and_utf_16_is_named(tmp_path: Path):
    settings.save(tmp_path, GOOD)
    file = tmp_path / settings.FILE
    text = file.read_text()
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert settings.load(tmp_path) == GOOD
    file.write_bytes(text.encode("utf-16"))
    with pytest.raises(SettingsError, match="it is UTF-16: save it as UTF-8"):
        settings.load(tmp_path)


@given(st.text(st.characters(exclude_characters="?"), max_size=60).filter(str.isprintable))
def test_any_uri_survives(tmp_path_factory: pytest.TempPathFactory, uri: str):
    folder = tmp_path_factory.mktemp("repository")
    wanted = msgspec.structs.replace(GOOD, keys={ONE: uri}, artifacts=uri)
    settings.save(folder, wanted)
    assert settings.load(folder) == wanted


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 2}, "version 2"),
        ({"roles": {}}, "must have the roles"),
        ({"keys": {"did:web:x": ""}}, "not the did:key"),
        ({"keys": {ONE: "file:/a\nb"}}, "not printable"),
        ({"keys": {ONE: "pkcs11:token=x?pin-value=1234"}}, "question mark"),
        ({"keys": {ONE: "pkcs11:token=x?module-path=evil.so"}}, "question mark"),
        ({"channels": {"../x": role_settings("x", (ONE,))}}, "not the name of a channel"),
        ({"channels": {"root": role_settings("x", (ONE,))}}, "not the name of a channel"),
        ({"channels": {"x": role_settings("x", ())}}, "needs 1 to 32 keys"),
        ({"channels": {"x": role_settings("x", (ONE, ONE))}}, "each once"),
        ({"channels": {"x": role_settings("x", (ONE,), 2)}}, "2 of them must sign"),
        ({"channels": {"x": msgspec.structs.replace(role_settings("x", (ONE,)), valid_days=0)}}, "hold for"),
        ({"channels": {"x": msgspec.structs.replace(role_settings("x", (ONE,)), warning_days=90)}}, "warn within"),
        ({"channels": {f"c{number}": role_settings("x", (ONE,)) for number in range(65)}}, "more than 64"),
    ],
)
def test_what_makes_no_repository_is_refused(tmp_path: Path, change: dict[str, object], why: str):
    with pytest.raises(SettingsError, match=why):
        settings.save(tmp_path, msgspec.structs.replace(GOOD, **change))
    assert not (tmp_path / settings.FILE).exists()


@pytest.mark.parametrize("text", ["", "version = 1", "[roles", "x = 1", "\0", "version = 1\nmore = 2"])
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str):
    (tmp_path / settings.FILE).write_text(text)
    with pytest.raises(SettingsError) as refused:
        settings.load(tmp_path)
    assert str(refused.value).isprintable()


def test_a_folder_without_one_says_how_to_begin(tmp_path: Path):
    with pytest.raises(SettingsError, match="plasm repo init"):
        settings.load(tmp_path)


def test_endless_data_is_not_read(tmp_path: Path):
    (tmp_path / settings.FILE).write_bytes(b"#" * 300_000)
    with pytest.raises(SettingsError, match="larger than"):
        settings.load(tmp_path)

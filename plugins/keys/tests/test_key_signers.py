from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from plasm_keys import hooks, keyfile
from plasm_keys.signers import path_of

from plasm.drivers import DriverUnavailable, Options, Scope
from plasm.ports import SignerError

pytestmark = pytest.mark.anyio


def scope(home: Path | None) -> Scope:
    return Scope(home=home, allows=lambda ip: True, log=logging.getLogger("test"))


async def test_the_file_signer_keeps_its_identity(tmp_path: Path) -> None:
    async with hooks.open_file(scope(tmp_path), hooks.FileOptions()) as first:
        pass
    async with hooks.open_file(scope(tmp_path), hooks.FileOptions()) as second:
        assert second.public_key == first.public_key
    assert (tmp_path / "identity.key").exists()


async def test_the_file_signer_takes_a_path_and_a_file_uri(tmp_path: Path) -> None:
    path = tmp_path / "release key.pem"
    key = keyfile.create(path)
    for target in (str(path), path.as_uri()):
        async with hooks.open_file(scope(None), hooks.FileOptions(uri=target)) as signer:
            assert signer.public_key == key.public_key


async def test_the_file_signer_writes_nothing_without_a_home(tmp_path: Path) -> None:
    with pytest.raises(DriverUnavailable) as caught:
        async with hooks.open_file(scope(None), hooks.FileOptions()):
            pass
    assert "ephemeral" in caught.value.mend
    with pytest.raises(keyfile.KeyMissing):
        async with hooks.open_file(scope(None), hooks.FileOptions(uri=str(tmp_path / "none"))):
            pass
    assert os.listdir(tmp_path) == []


async def test_a_named_file_is_made_only_where_that_is_asked_for(tmp_path: Path) -> None:
    uri = (tmp_path / "release.key").as_uri()
    with pytest.raises(keyfile.KeyMissing, match=f"plasm key generate {uri}"):
        async with hooks.open_file(scope(tmp_path), hooks.FileOptions(uri=uri)):
            pass
    async with hooks.open_file(scope(None), hooks.FileOptions(uri=uri, create="missing")) as made:
        pass
    async with hooks.open_file(scope(None), hooks.FileOptions(uri=uri, create="missing")) as again:
        assert again.public_key == made.public_key
    with pytest.raises(keyfile.KeyExists):
        async with hooks.open_file(scope(None), hooks.FileOptions(uri=uri, create="new")):
            pass


async def test_an_ephemeral_identity_is_new_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with hooks.open_ephemeral(scope(tmp_path), Options()) as first:
        pass
    async with hooks.open_ephemeral(scope(tmp_path), Options()) as second:
        assert second.public_key != first.public_key
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["file://host/key", "file:", "file:///", "a\0b", "file:///key?x=1"])
def test_what_names_no_local_file_is_refused(target: str) -> None:
    with pytest.raises(SignerError):
        path_of(target)


def test_a_profile_can_ban_the_signers_that_write() -> None:
    drivers = {driver.name: driver for driver in hooks.plasm_signers()}
    assert "writes-disk" in drivers["file"].offers
    assert "writes-disk" in drivers["encrypted"].offers
    assert not drivers["ephemeral"].offers

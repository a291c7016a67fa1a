"""Profiles are read strictly: a misread ban would be one that does not hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from plasm.drivers import ProfileFile
from plasm.errors import PlanError
from plasm.profiles import load_profile, read_profile
from tests.toolkit.conftest import Plugins

GOOD = """
name = "mine"
bans = ["writes-disk"]
addresses = "local"
[drivers]
store = ["memory", "other"]
[options.store.memory]
max_items = 3
"""


def test_a_profile_holds_what_its_file_says() -> None:
    profile = read_profile(GOOD, "mine")
    assert profile.drivers["store"] == ("memory", "other")
    assert profile.options["store"]["memory"] == {"max_items": 3}
    assert profile.bans == {"writes-disk"}
    assert profile.addresses == "local"
    assert not profile.writes


@pytest.mark.parametrize(
    "text",
    [
        "name = 'mine'",
        "name = 'other'\n[drivers]",
        "name = 'mine'\nban = ['writes-disk']\n[drivers]",
        "name = 'mine'\nbans = 'writes-disk'\n[drivers]",
        "name = 'mine'\naddresses = 'lan'\n[drivers]",
        "name = 'mine'\n[drivers]\nstores = ['fs']",
        "name = 'mine'\n[drivers]\nstore = 'fs'",
        "name = 'mine'\n[drivers]\nstore = ['F S']",
        "name = 'mine'\n[drivers]\n[options.stores.fs]\nx = 1",
        "name = 'mine'\n[drivers]\n[options.store]\nx = 1",
        "name = ",
    ],
)
def test_a_file_that_says_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_profile(text, "mine")


def test_an_unknown_profile_lists_the_known_ones(plugins: Plugins) -> None:
    plugins.add("p", {"profile": [ProfileFile("alpha", "p", "a.toml"), ProfileFile("beta", "p", "b.toml")]})
    with pytest.raises(PlanError, match=r"no profile 'alpa' is installed \(installed: alpha, beta\)") as caught:
        load_profile(plugins.registry(), "alpa")
    assert caught.value.mend == "did you mean alpha?"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> Path:
    (tmp_path / "shipping_profiles").mkdir()
    (tmp_path / "shipping_profiles" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shipping_profiles", raising=False)
    plugins.add("p", {"profile": [ProfileFile("mine", "shipping_profiles", "mine.toml")]})
    return tmp_path / "shipping_profiles"


def test_a_profile_is_read_from_the_package_that_ships_it(package: Path, plugins: Plugins) -> None:
    (package / "mine.toml").write_text(GOOD)
    assert load_profile(plugins.registry(), "mine").addresses == "local"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * 70_000, b"name = 1\n[drivers]"])
def test_a_shipped_file_that_cannot_be_read_is_one_line(package: Path, plugins: Plugins, content: bytes | None) -> None:
    if content is not None:
        (package / "mine.toml").write_bytes(content)
    with pytest.raises(PlanError, match=r"the profile mine .* cannot be read"):
        load_profile(plugins.registry(), "mine")

"""The advice on what to install leads nowhere but to a checkout, or to a distribution by its name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from plasm import __version__
from plasm.distributions import BRINGS, FOLDERS, install, install_all, install_anew, upgrade
from plasm.registry import load_registry

ROOT = Path(__file__).parents[2]


def project(distribution: str) -> dict[str, object]:
    read: dict[str, object] = tomllib.loads((ROOT / FOLDERS[distribution] / "pyproject.toml").read_text())["project"]
    return read


STAND_ALONE = {"plasm-fetching"}
"""Those that an initramfs takes without plasm."""


def needs_of_ours(distribution: str) -> set[str]:
    """What an installer would have to find, with what that needs in turn."""
    named = (re.split(r"[^\w-]", need)[0] for need in project(distribution).get("dependencies", ()))  # type: ignore[attr-defined]
    found = {each for each in named if each in FOLDERS}
    return found.union(*(needs_of_ours(each) for each in found)) if found else found


def test_every_distribution_of_the_repository_is_known_under_its_folder() -> None:
    there = {path.parent for path in [*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("boot/pyproject.toml")]}
    assert {ROOT / folder for folder in FOLDERS.values()} == {*there, ROOT}
    for distribution in FOLDERS:
        assert project(distribution)["name"] == distribution


@pytest.mark.parametrize("distribution", [each for each in FOLDERS if each != "plasm"])
def test_each_carries_its_licence_and_readme_and_fits_this_plasm(distribution: str) -> None:
    folder, said = ROOT / FOLDERS[distribution], project(distribution)
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (said["license-files"], said["readme"]) == (["LICENSE"], "README.md")
    assert (folder / "README.md").read_text().startswith(f"# {distribution}\n")
    major, minor = (int(number) for number in __version__.split(".")[:2])
    if needs_of_ours(distribution) or distribution not in STAND_ALONE:
        assert f"plasm>={major}.{minor},<{major}.{minor + 1}" in said["dependencies"]  # type: ignore[operator]


@pytest.mark.parametrize("distribution", FOLDERS)
def test_a_command_names_a_folder_for_all_of_ours_that_is_needed(distribution: str) -> None:
    for text in (install(distribution), install_anew(distribution, "1"), upgrade(distribution, "1")):
        command = text[text.index("pip install") :]
        for needed in {distribution, *needs_of_ours(distribution)}:
            folder = FOLDERS[needed]
            assert f" {'.' if folder == '.' else './' + folder} " in command, (distribution, needed)


@pytest.mark.parametrize("distribution", FOLDERS)
def test_no_command_takes_a_name_from_an_index(distribution: str) -> None:
    for text in (install_all(), install(distribution), install_anew(distribution, "1"), upgrade(distribution, "1")):
        command = re.search(r"pip install ((?:--\S+ |\.\S* )+)in a", text)
        assert command, text


def test_of_a_third_party_the_distribution_is_named_with_its_version_and_no_command() -> None:
    for text in (install_anew("plasm-card", "4.2"), upgrade("plasm-card", "4.2")):
        assert "plasm-card" in text
        assert "4.2" in text
        assert "pip" not in text


def test_every_driver_and_profile_of_ours_is_known_by_what_brings_it() -> None:
    registry = load_registry()
    ours = {each.name: each.distribution for each in registry.drivers if each.distribution in FOLDERS}
    assert ours | dict.fromkeys(registry.profiles, "plasm-boot") == dict(BRINGS)


def test_no_text_of_ours_has_anyone_install_our_names_from_an_index() -> None:
    places = ("plasm", "plugins", "boot", "specs", "examples", "README.md", "CONTRIBUTING.md")
    files = [file for place in places for file in ([ROOT / place] if "." in place else (ROOT / place).rglob("*"))]
    for file in files:
        if file.suffix in (".py", ".md", ".sh", ".toml") and not {"tests", ".venv"} & {*file.parts}:
            assert not re.search(r"pip install [^\n`\"&]*(?<![./\w])plasm\b", file.read_text()), file

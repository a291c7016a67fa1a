"""Names are checked before they become part of a path or a URL."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plasm_fetching.artifact import Artifact
from plasm_trust import layout

ARTIFACT = Artifact(path="stable/arm64/kernel", size=3, sha256="ab" * 32)


@pytest.mark.parametrize("text", ["stable", "testing", "a", "0", "a.b_c-d", "x" * 63])
def test_channels_have_plain_names(text: str):
    assert layout.channel_name(text) == text
    assert layout.is_channel(text)


BAD = ["", ".", "..", "-a", ".hidden", "A", "a/b", "a b", "a\0", "a\n", "stable\n", "é", "x" * 64, "a%2f", "a\\b"]


@pytest.mark.parametrize("text", [*BAD, "root", "targets", "snapshot", "timestamp", "metadata", "sha256", "health"])
def test_what_names_no_channel_is_refused(text: str):
    with pytest.raises(layout.BadName, match="is not the name of a channel"):
        layout.channel_name(text)


@pytest.mark.parametrize("text", [*BAD, "manifest.json"])
def test_what_names_no_artifact_is_refused(text: str):
    with pytest.raises(layout.BadName, match="is not the name of an artifact"):
        layout.artifact_name(text)


@pytest.mark.parametrize("text", ["", "x86", "ARM64", "riscv64", "../x86_64", "arm64/"])
def test_what_names_no_architecture_is_refused(text: str):
    with pytest.raises(layout.BadName):
        layout.arch_name(text)


@pytest.mark.parametrize(
    "text", ["kernel", "a/b", "a/x86_64/b/c", "/x86_64/kernel", "a//kernel", "a/x86_64/", "x" * 300]
)
def test_what_is_no_target_path_is_refused(text: str):
    with pytest.raises(layout.BadName):
        layout.target_path(text)


def test_a_target_path_has_the_architectures_own_name():
    assert str(layout.target_path("stable/aarch64/kernel")) == "stable/arm64/kernel"


@pytest.mark.parametrize("name", ["timestamp.json", "1.root.json", "10.stable.json", "3.a.b.json"])
def test_metadata_files_have_a_version_or_are_the_timestamp(name: str):
    assert layout.metadata_file(name) == name


@pytest.mark.parametrize(
    "name", ["root.json", "0.root.json", "1.root", "1..json", "1./x.json", "../1.root.json", "1.R.json"]
)
def test_other_files_are_no_metadata(name: str):
    with pytest.raises(layout.BadName):
        layout.metadata_file(name)


@given(st.text(max_size=80))
def test_what_is_accepted_stays_where_it_is_put(text: str):
    try:
        parts = layout.target_path(text)
    except layout.BadName:
        return
    path = Path("/base", *parts)
    assert path.parts == ("/", "base", *parts)
    assert str(path).isascii()


def test_a_manifests_url_says_where_its_repository_is():
    url = layout.manifest_url("http://10.0.0.1:8080", "stable", "x86_64")
    assert url == "http://10.0.0.1:8080/stable/x86_64/manifest.json"
    assert layout.split_manifest_url(url) == ("http://10.0.0.1:8080/", "stable", "x86_64")
    assert layout.split_manifest_url("https://h/sub/stable/aarch64/manifest.json") == (
        "https://h/sub/",
        "stable",
        "arm64",
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "manifest.json",
        "http://h/manifest.json",
        "http://h/stable/x86_64/kernel",
        "http://h/../x86_64/manifest.json",
    ],
)
def test_other_urls_are_no_manifests(url: str):
    with pytest.raises(layout.BadName):
        layout.split_manifest_url(url)


def test_an_artifact_has_one_url_that_names_its_content():
    assert layout.artifact_url("http://h", ARTIFACT) == f"http://h/targets/stable/arm64/{'ab' * 32}.kernel"


@pytest.mark.parametrize("name", [f"stable/arm64/{'ab' * 32}.kernel", "stable/arm64/kernel", "stable/aarch64/kernel"])
def test_the_file_of_an_artifact_is_found_under_each_of_its_names(tmp_path: Path, name: str):
    assert layout.artifact_file(tmp_path, ARTIFACT) is None
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"abc")
    assert layout.artifact_file(tmp_path, ARTIFACT) == tmp_path / name


def test_a_file_of_another_size_or_behind_a_link_is_not_the_artifact(tmp_path: Path):
    folder = tmp_path / "stable/arm64"
    folder.mkdir(parents=True)
    (folder / "kernel").write_bytes(b"abcd")
    assert layout.artifact_file(tmp_path, ARTIFACT) is None
    (folder / "kernel").unlink()
    (tmp_path / "elsewhere").write_bytes(b"abc")
    (folder / "kernel").symlink_to(tmp_path / "elsewhere")
    assert layout.artifact_file(tmp_path, ARTIFACT) is None
    folder.rename(tmp_path / "real")
    folder.symlink_to(tmp_path / "real")
    assert layout.artifact_file(tmp_path, ARTIFACT) is None


@pytest.mark.parametrize(
    ("name", "kind"), [("kernel", "kernel"), ("initramfs", "initramfs"), ("rpi.dtb", "dtb"), ("notes", "")]
)
def test_names_tell_kinds(name: str, kind: str):
    assert layout.kind_of(name) == kind

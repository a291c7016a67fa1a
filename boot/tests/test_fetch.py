"""``phase-fetch``: what is believed, what is fetched, and what it says."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def machine(same_process: Any) -> Any:
    return same_process


def test_without_a_root_it_refuses_and_says_which_command_pins_one(machine: Any, honest: Any, published: Any) -> None:
    done = machine("phase-fetch", honest.manifest_url)

    assert (done.returncode, done.stdout) == (1, "")
    command = f"phase-fetch --pin {honest.base_url}metadata/1.root.json --fingerprint HEX"
    assert command in done.stderr
    assert list(machine.folder.iterdir()) == []

    arguments = command.replace("HEX", published.publisher.fingerprint).split()[1:]
    assert machine("phase-fetch", *arguments).returncode == 0
    assert machine("phase-fetch", "-a", "kernel", honest.manifest_url).returncode == 0


def test_it_fetches_all_of_the_channel_as_it_was_signed(
    pinned: Any, honest: Any, published: Any, contents: dict[str, bytes]
) -> None:
    done = pinned("phase-fetch", "-o", "boot", honest.manifest_url)

    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["boot/initramfs", "boot/kernel"]
    assert {path.name: path.read_bytes() for path in (pinned.folder / "boot").iterdir()} == contents
    assert "kernel: verified" in done.stderr
    assert "\x1b" not in done.stderr


def test_one_artifact_may_have_a_name_of_its_own(pinned: Any, honest: Any, contents: dict[str, bytes]) -> None:
    said = pinned.json("phase-fetch", "-a", "kernel", "-o", "boot/vmlinuz", honest.manifest_url)

    assert [path.name for path in (pinned.folder / "boot").iterdir()] == ["vmlinuz"]
    assert (pinned.folder / "boot" / "vmlinuz").read_bytes() == contents["kernel"]
    (kernel,) = said["artifacts"]
    assert (kernel["path"], kernel["file"], kernel["version"]) == ("stable/x86_64/kernel", "boot/vmlinuz", "6.1")
    assert (kernel["cmdline"], kernel["kind"], kernel["size_bytes"]) == ("quiet", "kernel", len(contents["kernel"]))
    assert kernel["by_provider"] == {honest.origin: len(contents["kernel"])}


def test_a_root_may_be_named_each_time_and_is_then_not_pinned(machine: Any, honest: Any, published: Any) -> None:
    root = published.publisher.root
    assert machine("phase-fetch", "-a", "kernel", "--root", root, honest.manifest_url).returncode == 0
    assert machine("phase-fetch", "-a", "kernel", honest.manifest_url).returncode == 1


def test_where_nothing_may_be_written_a_named_root_is_enough(machine: Any, honest: Any, published: Any) -> None:
    root = published.publisher.root
    done = machine("phase-fetch", "--profile", "private", "-a", "kernel", "--root", root, honest.manifest_url)
    assert done.returncode == 0, done.stderr
    assert not machine.home.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-a", "vmlinuz"], "vmlinuz is not signed in stable/x86_64; there are initramfs, kernel"),
        (["--root", "other"], "is signed"),
    ],
)
def test_what_is_not_signed_is_not_fetched(
    pinned: Any, honest: Any, published: Any, arguments: list[str], said: str
) -> None:
    given = [str(published.stranger.root) if each == "other" else each for each in arguments]
    done = pinned("phase-fetch", *given, "--retry", "0", honest.manifest_url)

    assert (done.returncode, done.stdout) == (1, "")
    assert list(pinned.folder.iterdir()) == []
    assert done.stderr.count("\n") == 1


def test_a_channel_or_an_architecture_that_is_not_signed_is_told(pinned: Any, honest: Any) -> None:
    done = pinned("phase-fetch", f"{honest.base_url}beta/x86_64/manifest.json")
    assert (done.returncode, "no channel 'beta'" in done.stderr) == (1, True)
    said = pinned("phase-fetch", "--json", f"{honest.base_url}stable/riscv/manifest.json")
    assert said.returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["http://127.0.0.1/"],
        ["ftp://127.0.0.1/stable/x86_64/manifest.json"],
        ["http://127.0.0.1/stable/x86_64/manifest.json", "http://127.0.0.1/testing/x86_64/manifest.json"],
        ["--arch", "arm64", "http://127.0.0.1/stable/x86_64/manifest.json"],
        ["--retry", "-1", "http://127.0.0.1/stable/x86_64/manifest.json"],
        ["--fingerprint", "00" * 32, "http://127.0.0.1/stable/x86_64/manifest.json"],
        ["--pin", "http://127.0.0.1/metadata/1.root.json"],
        ["--pin", "root.json", "--fingerprint", "abc"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_before_anything_is_asked(machine: Any, arguments: list[str]) -> None:
    assert machine("phase-fetch", *arguments).returncode == 2


def test_a_root_is_pinned_once_and_not_replaced(machine: Any, published: Any) -> None:
    said = machine.json("phase-fetch", "--pin", published.publisher.root)
    assert said["root"] == published.publisher.fingerprint

    done = machine("phase-fetch", "--pin", published.stranger.root)
    assert (done.returncode, "another root is pinned" in done.stderr) == (1, True)
    assert machine("phase-fetch", "--pin", published.publisher.root).returncode == 0


def test_a_root_with_another_fingerprint_is_not_pinned(machine: Any, honest: Any, published: Any) -> None:
    url = f"{honest.base_url}metadata/1.root.json"
    done = machine("phase-fetch", "--pin", url, "--fingerprint", published.stranger.fingerprint)
    assert (done.returncode, published.publisher.fingerprint in done.stderr) == (1, True)
    assert not (machine.home / "boot").exists()


def test_a_profile_keeps_from_addresses_that_it_does_not_allow(pinned: Any) -> None:
    done = pinned("phase-fetch", "--profile", "local", "--retry", "0", "http://192.0.2.1/stable/x86_64/manifest.json")
    assert done.returncode == 1
    assert "192.0.2.1" in done.stderr


def test_what_is_there_already_is_verified_and_not_fetched_again(pinned: Any, honest: Any) -> None:
    assert pinned("phase-fetch", honest.manifest_url).returncode == 0
    before = honest.count()
    said = pinned.json("phase-fetch", honest.manifest_url)
    assert [each["received_bytes"] for each in said["artifacts"]] == [0, 0]
    assert honest.count() == before


def test_a_file_that_was_changed_is_fetched_anew(pinned: Any, honest: Any, contents: dict[str, bytes]) -> None:
    (pinned.folder / "kernel").write_bytes(contents["kernel"][:-1] + b"!")
    assert pinned("phase-fetch", "-a", "kernel", honest.manifest_url).returncode == 0
    assert (pinned.folder / "kernel").read_bytes() == contents["kernel"]

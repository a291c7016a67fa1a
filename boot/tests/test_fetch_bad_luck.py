"""Providers that are stale, lie, die or belong to somebody else, clocks that are wrong, and clients that are killed.

The artifact is right, or it is not there.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from plasm_boot import refreshing


@pytest.fixture
def machine(same_process: Any) -> Any:
    return same_process


def fetched(machine: Any, *providers: Any, options: tuple[str, ...] = ("-a", "kernel")) -> Any:
    """The JSON of a fetch from `providers`, which must succeed."""
    return machine.json("phase-fetch", *options, *(each.manifest_url for each in providers))


def reasons(said: Any) -> dict[str, str]:
    return {each["provider"]: each["reason"] for each in said["dropped"]}


def refused(machine: Any, *providers: Any, patch: str = "") -> str:
    """What is said where nothing is fetched."""
    done = machine("phase-fetch", "--retry", "0", *(each.manifest_url for each in providers), patch=patch)
    assert (done.returncode, done.stdout) == (1, "")
    assert [path.name for path in machine.folder.iterdir() if not path.name.endswith(".part")] == []
    return str(done.stderr)


# --- metadata -------------------------------------------------------------------------------------------------------


def test_last_months_metadata_is_refused_and_the_next_provider_is_asked(
    pinned: Any, serve: Any, honest: Any, published: Any, contents: dict[str, bytes]
) -> None:
    stale = serve(published.last_month)
    assert "expired on" in refused(pinned, stale)

    said = fetched(pinned, stale, honest)
    assert list(reasons(said)) == [stale.origin]
    assert said["providers"] == [honest.base_url]
    assert (pinned.folder / "kernel").read_bytes() == contents["kernel"]


def test_a_rolled_back_version_is_refused_once_the_newer_one_was_seen(
    pinned: Any, serve: Any, honest: Any, published: Any
) -> None:
    fetched(pinned, honest)
    (pinned.folder / "kernel").unlink()
    assert "older than what was seen" in refused(pinned, serve(published.yesterday))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newest_counts_in_whatever_order_providers_are_named(
    pinned: Any, serve: Any, honest: Any, published: Any, contents: dict[str, bytes], order: tuple[int, int]
) -> None:
    yesterday = serve(published.yesterday)
    providers = (yesterday, honest)
    said = fetched(pinned, *(providers[number] for number in order))
    assert list(reasons(said)) == [yesterday.origin]
    assert said["providers"] == [honest.base_url]
    assert (pinned.folder / "kernel").read_bytes() == contents["kernel"]


def test_who_shows_a_newer_timestamp_and_withholds_the_rest_does_not_spoil_what_others_show(
    pinned: Any, serve: Any, published: Any
) -> None:
    from plasm_fetching.standing import Standing

    older, withholding = serve(published.yesterday), serve(published.today, "without=snapshot")
    standing = Standing(pinned.home / "boot" / "trust" / "providers.json")
    standing.note_rate(older.origin, 2e6)
    standing.note_rate(withholding.origin, 1e6)
    standing.save()
    said = fetched(pinned, older, withholding)
    assert said["providers"] == [older.base_url]
    assert (pinned.folder / "kernel").stat().st_size == said["artifacts"][0]["size_bytes"]


def test_what_another_publisher_signed_is_not_believed(
    pinned: Any, serve: Any, honest: Any, published: Any, contents: dict[str, bytes]
) -> None:
    stranger = serve(published.stranger.folder)
    assert "sign" in refused(pinned, stranger)

    said = fetched(pinned, stranger, honest)
    assert list(reasons(said)) == [stranger.origin]
    assert (pinned.folder / "kernel").read_bytes() == contents["kernel"]


def test_metadata_that_lacks_a_part_or_never_comes_costs_one_provider(
    pinned: Any,
    serve: Any,
    honest: Any,
    published: Any,
    contents: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = serve(published.today, "without=snapshot")
    stalling = serve(published.today, "stall-metadata")
    gone = serve(published.today)
    gone.kill()
    monkeypatch.setattr(refreshing, "FILE_SECONDS", 0.3)
    urls = [each.manifest_url for each in (without, stalling, gone, honest)]
    done = pinned("phase-fetch", "-a", "kernel", *urls)

    assert done.returncode == 0, done.stderr
    assert gone.origin in done.stderr
    assert (pinned.folder / "kernel").read_bytes() == contents["kernel"]


def test_a_provider_that_was_refused_is_asked_last_the_next_time(
    pinned: Any, serve: Any, honest: Any, published: Any
) -> None:
    from plasm_fetching.standing import Standing

    stale = serve(published.last_month)
    fetched(pinned, stale, honest)
    standing = Standing(pinned.home / "boot" / "trust" / "providers.json")
    assert standing.ranked([stale.origin, honest.origin]) == [honest.origin, stale.origin]


# --- artifacts ------------------------------------------------------------------------------------------------------


def test_a_lie_in_one_byte_is_caught_shown_and_remembered(
    pinned: Any, serve: Any, honest: Any, published: Any, contents: dict[str, bytes]
) -> None:
    liar = serve(published.today, "lie")
    said = fetched(pinned, liar, honest, options=())
    assert {path.name: path.read_bytes() for path in pinned.folder.iterdir()} == contents
    assert "not the signed one" in reasons(said)[liar.origin]

    (pinned.folder / "initramfs").unlink()
    again = fetched(pinned, liar, honest, options=())
    assert "lied before" in reasons(again)[liar.origin]
    assert again["providers"] == [honest.base_url]


def test_where_everybody_lies_there_is_no_artifact(pinned: Any, serve: Any, published: Any) -> None:
    refused(pinned, serve(published.today, "lie"), serve(published.today, "lie"))


def test_a_provider_that_is_killed_in_between_is_made_up_for_by_the_others(
    pinned: Any, serve: Any, honest: Any, published: Any, contents: dict[str, bytes]
) -> None:
    dying = serve(published.today, "die-after=5000000", "rate=50000000")
    said = fetched(pinned, dying, honest, options=("--retry", "0"))
    assert {path.name: path.read_bytes() for path in pinned.folder.iterdir()} == contents
    assert sum(each["received_bytes"] for each in said["artifacts"]) >= sum(map(len, contents.values()))


@pytest.mark.parametrize("first", [True, False], ids=["asked first", "asked last"])
def test_a_mirror_that_lacks_the_newest_timestamp_serves_all_the_same(
    pinned: Any, serve: Any, published: Any, contents: dict[str, bytes], first: bool
) -> None:
    """The artifacts are those that are signed, so that it is of use."""
    from plasm_fetching.standing import Standing

    mirror, newest = serve(published.today), serve(published.renewed, "without=initramfs")
    standing = Standing(pinned.home / "boot" / "trust" / "providers.json")
    standing.note_rate(mirror.origin, 2e6 if first else 1e6)
    standing.note_rate(newest.origin, 1e6 if first else 2e6)
    standing.save()
    said = fetched(pinned, mirror, newest, options=("-a", "initramfs"))
    assert (pinned.folder / "initramfs").read_bytes() == contents["initramfs"]
    assert sorted(said["providers"]) == sorted([mirror.base_url, newest.base_url])


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_years_behind_works_and_is_told(
    pinned: Any, honest: Any, contents: dict[str, bytes], clock: Callable[[timedelta], str]
) -> None:
    done = pinned("phase-fetch", "-a", "kernel", honest.manifest_url, patch=clock(timedelta(days=-3650)))
    assert done.returncode == 0, done.stderr
    assert "this machine's clock says" in done.stderr
    assert (pinned.folder / "kernel").read_bytes() == contents["kernel"]


def test_a_clock_that_is_behind_does_not_make_last_months_metadata_good(
    pinned: Any, serve: Any, honest: Any, published: Any, clock: Callable[[timedelta], str]
) -> None:
    fetched(pinned, honest)
    (pinned.folder / "kernel").unlink()
    assert "older than what was seen" in refused(pinned, serve(published.last_month), patch=clock(timedelta(days=-28)))


def test_a_clock_that_is_years_ahead_is_refused_with_the_reason(
    pinned: Any, honest: Any, clock: Callable[[timedelta], str]
) -> None:
    said = refused(pinned, honest, patch=clock(timedelta(days=3650)))
    assert "expired on" in said
    assert "or the clock is wrong" in said
    assert "check the date of this machine" in said
    assert pinned("phase-fetch", "-a", "kernel", honest.manifest_url).returncode == 0


# --- interruptions --------------------------------------------------------------------------------------------------

PIECE = 4 * 2**20


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_client_that_was_ended_goes_on_from_what_it_had(
    pinned: Any, serve: Any, published: Any, contents: dict[str, bytes], how: signal.Signals
) -> None:
    provider = serve(published.today, "rate=30000000")
    command = ("-a", "initramfs", "--retry", "0", provider.manifest_url)
    process = pinned.start("phase-fetch", *command)
    part = pinned.folder / ".initramfs.part"
    while not part.exists() or part.stat().st_blocks * 512 < 2 * PIECE:
        assert process.poll() is None, process.communicate()
    process.send_signal(how)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == (-how if how is signal.SIGKILL else 130)
    assert how is signal.SIGKILL or "the same command goes on" in stderr
    assert not (pinned.folder / "initramfs").exists()

    said = pinned.json("phase-fetch", *command)
    assert (pinned.folder / "initramfs").read_bytes() == contents["initramfs"]
    assert said["artifacts"][0]["resumed_bytes"] >= 2 * PIECE
    assert provider.count() <= len(contents["initramfs"]) + 2 * PIECE
    assert [path.name for path in pinned.folder.iterdir()] == ["initramfs"]


def test_no_resume_begins_anew(pinned: Any, honest: Any, contents: dict[str, bytes]) -> None:
    part = pinned.folder / ".initramfs.part"
    part.write_bytes(contents["initramfs"][: 2 * PIECE])
    part.chmod(0o600)
    said = fetched(pinned, honest, options=("-a", "initramfs", "--no-resume"))
    assert said["artifacts"][0]["resumed_bytes"] == 0
    assert (pinned.folder / "initramfs").read_bytes() == contents["initramfs"]


def test_two_clients_at_once_do_not_spoil_each_others_trust(pinned: Any, honest: Any, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("one", "two", "three")]
    processes = [
        pinned.start("phase-fetch", "-q", "-a", "kernel", "-o", f"{output}/", honest.manifest_url)
        for output in outputs
        if not output.mkdir()
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=30)
        assert (process.returncode, stderr) == (0, "")
    assert all((output / "kernel").exists() for output in outputs)


def test_a_trust_folder_that_another_program_keeps_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    from plasm_boot.trustfolder import TrustFolder

    from plasm.commands import CommandFailed

    folder = TrustFolder(tmp_path, "")
    with folder.lock(1), pytest.raises(CommandFailed, match="another program"), folder.lock(0.05):
        pass
    with folder.lock(5):
        pass


def test_a_home_that_others_can_write_to_is_not_believed(pinned: Any, honest: Any) -> None:
    (pinned.home / "boot" / "trust").chmod(0o777)
    done = pinned("phase-fetch", "-a", "kernel", honest.manifest_url)
    assert (done.returncode, "can be written by others" in done.stderr) == (125, True)


def test_a_folder_that_cannot_be_made_is_told(pinned: Any, honest: Any) -> None:
    (pinned.folder / "boot").write_text("a file")
    done = pinned("phase-fetch", "-o", "boot/here", honest.manifest_url)
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert "boot/here" in done.stderr

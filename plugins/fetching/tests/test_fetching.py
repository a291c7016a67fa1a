"""The artifact is right or absent, whatever its providers do."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from plasm_fetching.events import Dropped, Event, Progressed, Resumed
from plasm_fetching.failures import Contradiction, NoSourceLeft, Stopped
from plasm_fetching.fetching import fetch
from plasm_fetching.partial import AlreadyFetching, DiskFailed, open_partial
from plasm_fetching.standing import Standing

from .conftest import PIECE, artifact_of

both = pytest.mark.parametrize("pieces", [True, False], ids=["pieces", "whole"])


class Events(list[Event]):
    def dropped(self) -> dict[str, str]:
        return {event.source: event.reason for event in self if isinstance(event, Dropped) and event.again_in is None}


def left(target: Path) -> set[str]:
    return {each.name for each in target.parent.iterdir()}


@both
def test_it_appears_whole_with_the_rights_of_a_file_and_nothing_beside_it(provide, file, data, target, pieces):
    events = Events()
    done = fetch(artifact_of(data, pieces=pieces), [provide(file).url], target, report=events.append)
    assert target.read_bytes() == data
    assert target.stat().st_mode & 0o777 == 0o644
    assert left(target) == {"kernel"}
    assert (done.size, done.resumed, sum(done.by_source.values())) == (len(data), 0, len(data))
    last = events[-1]
    assert isinstance(last, Progressed)
    assert (last.done, last.size) == (len(data), len(data))


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1])
@both
def test_any_size_will_do(provide, tmp_path, target, size, pieces):
    file = tmp_path / "served"
    file.write_bytes(bytes(size))
    fetch(artifact_of(bytes(size), pieces=pieces), [provide(file).url], target)
    assert target.read_bytes() == bytes(size)


def test_every_source_brings_its_part(provide, file, data, target):
    providers = [provide(file, "rate=4000000") for _ in range(3)]
    done = fetch(artifact_of(data), [each.url for each in providers], target)
    assert set(done.by_source) == {each.origin for each in providers}
    assert min(done.by_source.values()) > 5 * PIECE


def test_one_that_is_a_hundred_times_slower_is_dropped_and_holds_nobody_up(provide, file, data, target):
    events = Events()
    slow, fast = provide(file, "rate=20000"), provide(file, "rate=4000000")
    done = fetch(artifact_of(data), [slow.url, fast.url], target, report=events.append)
    assert target.read_bytes() == data
    assert done.by_source[fast.origin] >= 39 * PIECE
    assert done.seconds < PIECE / 20000
    assert "slow" in events.dropped()[slow.origin]


def test_one_that_is_far_slower_than_another_is_dropped_long_before_the_end(provide, file, data, target, tmp_path):
    # Who wants the pieces in order, to hash them, would wait for its one all the while.
    dropped = tmp_path / "dropped"
    stuck, other = provide(file, "stall"), provide(file, "rate=1000000", f"hold={35 * PIECE}:{dropped}")

    def report(event: Event) -> None:
        if isinstance(event, Dropped) and event.source == stuck.origin:
            dropped.touch()

    done = fetch(artifact_of(data), [stuck.url, other.url], target, report=report, stall_seconds=3000)
    assert target.read_bytes() == data
    assert done.by_source == {other.origin: len(data)}


BAD = {
    "lie": "not the signed one",
    "other-length": "where 32768 were asked for",
    "other-range": "not the",
    "whole": "does not serve parts",
    "absent": "is not there",
    "redirect": "redirects elsewhere",
    "garbage": "does not speak HTTP",
}


@pytest.mark.parametrize("behaviour", BAD)
def test_one_that_lies_or_answers_otherwise_is_dropped_with_the_reason(provide, file, data, target, behaviour):
    events = Events()
    bad, good = provide(file, behaviour), provide(file, "rate=2000000")
    fetch(artifact_of(data), [bad.url, good.url], target, report=events.append)
    assert target.read_bytes() == data
    assert BAD[behaviour] in events.dropped()[bad.origin]


# To answer with the whole is right where the whole is asked for.
@pytest.mark.parametrize(
    ("behaviour", "pieces"), [(each, True) for each in BAD] + [(each, False) for each in BAD if each != "whole"]
)
def test_with_nobody_else_there_is_nothing(provide, file, data, target, behaviour, pieces):
    with pytest.raises(NoSourceLeft) as caught:
        fetch(artifact_of(data, pieces=pieces), [provide(file, behaviour).url], target, retries=0)
    assert left(target) == set()
    assert "\n" not in str(caught.value)
    assert len(caught.value.reasons) == 1


@pytest.mark.parametrize(
    ("behaviour", "pieces"),
    [("truncate", True), ("stall", True), ("stall", False), ("busy", True), ("busy", False)],
)
def test_one_that_breaks_off_is_tried_again_and_then_given_up(provide, file, data, target, behaviour, pieces):
    events = Events()
    file.write_bytes(data[:PIECE])
    bad = provide(file, behaviour)
    with pytest.raises(NoSourceLeft):
        fetch(
            artifact_of(data[:PIECE], pieces=pieces),
            [bad.url],
            target,
            report=events.append,
            retries=1,
            stall_seconds=0.3,
        )
    again = [event for event in events if isinstance(event, Dropped) and event.again_in is not None]
    assert len(again) >= 1
    assert bad.origin in events.dropped()
    assert not target.exists()


@both
def test_one_that_comes_back_is_used_again(provide, file, data, target, pieces):
    done = fetch(artifact_of(data, pieces=pieces), [provide(file, "busy-first=2").url], target)
    assert done.size == len(data)
    assert target.read_bytes() == data


def test_one_that_is_killed_in_mid_piece_costs_no_more_than_that_piece(provide, file, data, target):
    dying, good = provide(file, f"die-after={7 * PIECE + 1000}"), provide(file, "rate=2000000")
    done = fetch(artifact_of(data), [dying.url, good.url], target, retries=0)
    assert target.read_bytes() == data
    assert done.by_source[dying.origin] == 7 * PIECE
    assert good.sent <= len(data) - 7 * PIECE + 2 * PIECE


def test_one_with_another_version_is_no_liar(provide, file, data, target):
    standing, events = Standing(), Events()
    stale, good = provide(file, "lie", "hash=" + "0" * 64), provide(file, "rate=2000000")
    fetch(artifact_of(data), [stale.url, good.url], target, report=events.append, standing=standing)
    assert "another version" in events.dropped()[stale.origin]
    assert standing.lied(stale.origin) is None
    assert stale.sent <= PIECE


def test_one_that_names_the_right_version_is_believed_no_more_for_it(provide, file, data, target):
    standing = Standing()
    honest, liar = (provide(file, *how, f"hash={artifact_of(data).sha256.upper()}") for how in ([], ["lie"]))
    fetch(artifact_of(data), [honest.url, liar.url], target, standing=standing)
    assert (standing.lied(honest.origin), bool(standing.lied(liar.origin))) == (None, True)


@pytest.mark.parametrize("behaviour", ["close", "http10"])
@both
def test_one_that_keeps_no_connection_serves_as_well(provide, file, data, target, behaviour, pieces):
    events = Events()
    fetch(artifact_of(data, pieces=pieces), [provide(file, behaviour).url], target, report=events.append, retries=0)
    assert target.read_bytes() == data
    assert not events.dropped()


def test_who_lied_is_remembered_and_not_asked_again(provide, file, data, target, tmp_path):
    liar, good = provide(file, "lie"), provide(file)
    standing = Standing(tmp_path / "standing.json")
    fetch(artifact_of(data), [liar.url, good.url], target, standing=standing)
    target.unlink()
    before, events = liar.sent, Events()
    again = Standing(tmp_path / "standing.json")
    fetch(artifact_of(data), [liar.url, good.url], target, report=events.append, standing=again)
    assert liar.sent == before
    assert events.dropped()[liar.origin].startswith("it lied before")


@both
def test_what_is_there_already_is_not_fetched_again(provide, file, data, target, pieces):
    provider = provide(file)
    target.write_bytes(data)
    done = fetch(artifact_of(data, pieces=pieces), [provider.url], target)
    assert (done.resumed, provider.sent) == (len(data), 0)
    assert left(target) == {"kernel"}


def test_another_file_in_its_place_is_replaced(provide, file, data, target):
    target.write_bytes(bytes(len(data)))
    fetch(artifact_of(data), [provide(file).url], target)
    assert target.read_bytes() == data


def test_a_symbolic_link_in_its_place_stays_one_and_what_it_leads_to_is_replaced(provide, file, data, target, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for before in (None, b"older"):
        if before is not None:
            elsewhere.write_bytes(before)
        target.unlink(missing_ok=True)
        target.symlink_to(elsewhere)
        fetch(artifact_of(data), [provide(file).url], target)
        assert target.is_symlink()
        assert elsewhere.read_bytes() == data
        assert left(elsewhere) <= {"here", "served", "elsewhere"}
    assert fetch(artifact_of(data), ["http://127.0.0.1:1/"], target).resumed == len(data)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_is_somebody_elses_in_its_place_is_not_replaced(data, target, tmp_path):
    target.write_bytes(b"precious")
    os.chown(target, 12345, 12345)
    with pytest.raises(DiskFailed, match="belongs to user 12345, and is not replaced"):
        fetch(artifact_of(data), ["http://127.0.0.1:1/"], target)
    assert target.read_bytes() == b"precious"
    target.rename(tmp_path / "precious")
    target.symlink_to(tmp_path / "elsewhere")
    os.chown(target, 12345, 12345, follow_symlinks=False)
    with pytest.raises(DiskFailed, match="symbolic link of user 12345"):
        fetch(artifact_of(data), ["http://127.0.0.1:1/"], target)
    assert target.is_symlink()


def test_a_symbolic_link_where_it_is_put_together_is_refused(provide, file, data, target, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    target.with_name(".kernel.part").symlink_to(elsewhere)
    with pytest.raises(DiskFailed):
        fetch(artifact_of(data), [provide(file).url], target)
    assert elsewhere.read_bytes() == b"precious"


def test_no_device_and_no_pipe_is_written_to(data, target):
    os.mkfifo(target.with_name(".kernel.part"))
    with pytest.raises(DiskFailed, match="remove it"):
        fetch(artifact_of(data), ["http://127.0.0.1:1/"], target)


def test_a_file_that_has_another_name_too_is_not_written_to(data, target, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    target.with_name(".kernel.part").hardlink_to(elsewhere)
    with pytest.raises(DiskFailed, match="remove it"):
        fetch(artifact_of(data), ["http://127.0.0.1:1/"], target)
    assert elsewhere.read_bytes() == b"precious"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_in_its_place_is_told_before_anything_is_fetched(provide, file, data, target, make):
    make(target)
    provider = provide(file)
    with pytest.raises(DiskFailed, match="no file"):
        fetch(artifact_of(data), [provider.url], target)
    assert provider.sent == 0
    assert left(target) == {"kernel"}


def test_two_that_fetch_to_the_same_place_are_told(data, target):
    with open_partial(artifact_of(data), target), pytest.raises(AlreadyFetching):
        fetch(artifact_of(data), ["http://127.0.0.1:1/"], target)


def test_spoiled_pieces_of_an_earlier_attempt_are_fetched_again_and_whole_ones_are_not(provide, file, data, target):
    spoiled = bytearray(data)
    spoiled[3 * PIECE] ^= 1
    target.with_name(".kernel.part").write_bytes(bytes(spoiled[: 20 * PIECE + 5]))
    provider, events = provide(file), Events()
    done = fetch(artifact_of(data), [provider.url], target, report=events.append)
    assert target.read_bytes() == data
    assert done.resumed == 19 * PIECE
    assert events[0] == Resumed(19 * PIECE)
    assert provider.sent == len(data) - 19 * PIECE


def test_a_spoiled_beginning_costs_one_that_brings_the_rest_no_blame(provide, file, data, target):
    target.with_name(".kernel.part").write_bytes(b"spoiled" * 1000)
    events = Events()
    fetch(artifact_of(data, pieces=False), [provide(file).url], target, report=events.append)
    assert target.read_bytes() == data
    assert events.dropped() == {}


@both
def test_stopping_ends_it_soon_and_keeps_what_is_whole(provide, file, data, target, pieces):
    provider, stop, threads = provide(file, "rate=1000000"), threading.Event(), threading.active_count()

    def report(event: Event) -> None:
        if isinstance(event, Progressed) and event.done:
            stop.set()

    with pytest.raises(Stopped):
        fetch(artifact_of(data, pieces=pieces), [provider.url], target, report=report, stop=stop)
    assert not target.exists()
    assert threading.active_count() == threads
    done = fetch(artifact_of(data, pieces=pieces), [provide(file).url], target)
    assert done.resumed > 0
    assert target.read_bytes() == data


def test_a_stall_does_not_hold_up_who_wants_to_stop(provide, file, data, target):
    provider, stop = provide(file, "stall"), threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped):
        fetch(artifact_of(data), [provider.url], target, stop=stop, stall_seconds=3000)


@both
def test_who_stopped_before_it_began_gets_nothing_checked_and_nothing_fetched(provide, file, data, target, pieces):
    provider, stop = provide(file), threading.Event()
    target.with_name(".kernel.part").write_bytes(data[:-1])
    stop.set()
    events = Events()
    with pytest.raises(Stopped):
        fetch(artifact_of(data, pieces=pieces), [provider.url], target, stop=stop, report=events.append)
    assert (events, provider.sent) == ([], 0)
    assert target.with_name(".kernel.part").read_bytes() == data[:-1]


def test_metadata_that_contradict_themselves_give_nothing(provide, file, data, target):
    from dataclasses import replace

    with pytest.raises(Contradiction):
        fetch(replace(artifact_of(data), sha256="0" * 64), [provide(file).url], target)
    assert left(target) == set()


@both
def test_where_nothing_came_no_trace_is_left(provide, file, data, target, pieces):
    target.with_name(".kernel.part").write_bytes(b"" if not pieces else b"spoiled" * 1000)
    with pytest.raises(NoSourceLeft):
        fetch(artifact_of(data, pieces=pieces), [provide(file, "lie").url], target)
    assert left(target) == set()


def test_whole_pieces_stay_where_only_liars_are_left(provide, file, data, target):
    target.with_name(".kernel.part").write_bytes(data[: 3 * PIECE])
    with pytest.raises(NoSourceLeft):
        fetch(artifact_of(data), [provide(file, "lie").url], target)
    assert left(target) == {".kernel.part"}
    assert fetch(artifact_of(data), [provide(file).url], target).resumed == 3 * PIECE


def test_no_source_and_no_url_are_told(data, target):
    with pytest.raises(NoSourceLeft, match="no provider was given"):
        fetch(artifact_of(data), [], target)
    events = Events()
    with pytest.raises(NoSourceLeft):
        fetch(artifact_of(data), ["ftp://x/y", "http://u:p@x/"], target, report=events.append)
    assert len(events.dropped()) == 2


@pytest.mark.parametrize("changes", [{"size": -1}, {"piece_bytes": 0}, {"piece_bytes": 2**40}, {"size": 2**40}])
def test_facts_that_cannot_be_are_refused_before_anything_is_taken(data, target, changes):
    from dataclasses import replace

    with pytest.raises(ValueError, match="x86_64"):
        fetch(replace(artifact_of(data), **changes), [], target)


def test_only_allowed_addresses_are_connected_to(provide, file, data, target):
    provider = provide(file)
    with pytest.raises(NoSourceLeft, match="no address that may be connected to"):
        fetch(artifact_of(data), [provider.url], target, allows=lambda ip: ip != "127.0.0.1", retries=0)
    assert provider.sent == 0

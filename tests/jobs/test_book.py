"""The client's book: what was promised is found again, and a damaged line spoils no other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from plasm.jobs import book as book_module
from plasm.jobs.book import LONGEST_SECONDS, Book
from plasm.jobs.elapsed import ElapsedTime, Mark
from tests.jobs.world import page

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["on disk", "in memory"])
def book(request, tmp_path) -> Book:
    return Book(tmp_path if request.param == "on disk" else None)


async def test_what_was_recorded_is_found_and_listed_newest_first(book):
    pages = [page(number) for number in (2, 3, 1)]
    for each in pages:
        await book.record(each)
    assert await book.find(pages[0].job_id) == pages[0]
    assert [each.submitted for each in await book.listed()] == [3, 2, 1]


async def test_a_sweep_drops_what_is_past_its_deadline(book):
    await book.record(page(1, deadline=0.0))
    await book.record(page(2))
    await book.sweep()
    assert await book.find(page(1).job_id) is None
    assert await book.find(page(2).job_id) is not None


async def test_a_sweep_drops_the_oldest_above_the_bound(book, monkeypatch):
    monkeypatch.setattr(book_module, "MAX_SUBMISSIONS", 3)
    for number in range(5):
        await book.record(page(number))
    await book.sweep()
    assert [each.submitted for each in await book.listed()] == [4, 3, 2]


@pytest.mark.parametrize("job_id", ["", "../secret", "0" * 31, "0" * 33, "G" * 32, "\0" * 32, "\ud800", "hello.wasm"])
async def test_what_is_no_job_id_is_not_found(book, job_id):
    await book.record(page(1))
    assert await book.find(job_id) is None


async def test_what_is_recorded_again_counts_as_it_was_last(book):
    for number in (1, 2):
        await book.record(msgspec.structs.replace(page(1), submitted=float(number)))
    assert [each.submitted for each in await book.listed()] == [2]
    assert (await book.find(page(1).job_id)).submitted == 2


@pytest.mark.parametrize(
    "damage", [b"{", b"\xff" * 9, b"[" * 100_000, b"{}", b"x" * 3 * 2**20], ids=lambda each: each[:2]
)
async def test_a_damaged_line_is_passed_over(tmp_path, damage):
    await Book(tmp_path).record(page(1))
    (file,) = tmp_path.iterdir()
    with file.open("ab") as appended:
        appended.write(damage)
    book = Book(tmp_path)
    await book.record(page(2))
    for _ in range(2):
        assert [each.submitted for each in await book.listed()] == [2, 1]
        assert (await book.find(page(1).job_id)).submitted == 1
        await book.sweep()
    assert len(file.read_bytes().splitlines()) == 2


async def test_a_sweep_with_nothing_to_drop_leaves_the_file_as_it_is(tmp_path):
    book = Book(tmp_path)
    await book.record(page(1))
    (file,) = tmp_path.iterdir()
    before = file.stat()
    await book.sweep()
    assert file.stat().st_ino == before.st_ino


async def test_the_file_is_bounded_however_long_a_book_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(book_module, "MAX_SUBMISSIONS", 3)
    book = Book(tmp_path)
    for number in range(50):
        await book.record(page(number))
        (file,) = tmp_path.iterdir()
        assert len(file.read_bytes().splitlines()) <= 2 * 3
    assert (await book.find(page(49).job_id)).submitted == 49


async def test_long_submissions_are_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr(book_module, "MAX_BYTES", 3000)
    book = Book(tmp_path)
    for number in range(50):
        await book.record(page(number))
    await book.sweep()
    (file,) = tmp_path.iterdir()
    assert 0 < file.stat().st_size <= 3000
    assert (await book.listed())[0].submitted == 49


async def test_the_file_is_for_its_owner_alone_and_follows_no_link(tmp_path):
    await Book(tmp_path).record(page(1))
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    target = tmp_path / "target"
    target.touch()
    file.unlink()
    file.symlink_to(target)
    with pytest.raises(OSError):
        await Book(tmp_path).record(page(1))
    assert target.read_bytes() == b""


async def test_a_disk_that_takes_half_a_line_keeps_none_of_it(tmp_path, monkeypatch):
    book = Book(tmp_path)
    await book.record(page(1))
    write = os.write
    monkeypatch.setattr("plasm.jobs.book.os.write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    with pytest.raises(OSError, match="space"):
        await book.record(page(2))
    monkeypatch.undo()
    await book.record(page(3))
    assert [each.submitted for each in await book.listed()] == [3, 1]
    (file,) = tmp_path.iterdir()
    assert len(file.read_bytes().splitlines()) == 2


async def test_a_sweep_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch):
    book = Book(tmp_path)
    await book.record(page(1, deadline=0))
    await book.record(page(2))
    monkeypatch.setattr(Path, "replace", _refuse)
    with pytest.raises(OSError):
        await book.sweep()
    assert len([*tmp_path.iterdir()]) == 1
    assert [each.submitted for each in await book.listed()] == [2, 1]


def _refuse(*_: object) -> None:
    raise OSError(30, "Read-only file system")


class Machine:
    """A machine whose time a test sets."""

    def __init__(self) -> None:
        self.boot, self.uptime = "first", 100.0

    def __call__(self, earlier: Mark | None) -> ElapsedTime:
        return ElapsedTime(earlier, uptime=lambda: self.uptime, boot=self.boot)


async def promised(folder: Path | None, machine: Machine, seconds: float = 60) -> Book:
    book = Book(folder, machine)
    await book.record(page(1, deadline=1 + seconds))
    return book


@pytest.mark.parametrize("on_disk", [True, False])
async def test_an_entry_goes_once_its_time_has_passed_and_not_before(tmp_path, on_disk):
    machine = Machine()
    book = await promised(tmp_path if on_disk else None, machine)
    for passed, there in ((59, True), (2, False)):
        machine.uptime += passed
        await book.sweep()
        assert (await book.find(page(1).job_id) is not None) is there


async def test_no_clock_that_is_set_takes_an_entry(tmp_path, monkeypatch):
    book = await promised(tmp_path, Machine())
    monkeypatch.setattr("time.time", lambda: 1e11)
    await book.sweep()
    assert await book.find(page(1).job_id) is not None


async def test_time_goes_on_in_the_next_life_and_after_a_restart_of_the_machine(tmp_path):
    machine = Machine()
    await promised(tmp_path, machine)
    machine.uptime += 30
    await Book(tmp_path, machine).record(page(2, deadline=2 + 1000))
    # How long the machine was off nobody knows.
    machine.boot, machine.uptime = "second", 25.0
    for passed, there in ((0, True), (6, False)):
        machine.uptime += passed
        book = Book(tmp_path, machine)
        await book.sweep()
        assert (await book.find(page(1).job_id) is not None) is there
    assert await book.find(page(2).job_id) is not None


async def test_what_an_earlier_plasm_wrote_is_kept_for_its_time_from_now_on(tmp_path):
    machine = Machine()
    (tmp_path / "submitted.jsonl").write_bytes(msgspec.json.encode(page(1, deadline=61.0)) + b"\n")
    book = Book(tmp_path, machine)
    for passed, there in ((0, True), (50, True), (11, False)):
        machine.uptime += passed
        await book.sweep()
        assert (await book.find(page(1).job_id) is not None) is there


async def test_a_promise_without_end_is_believed_for_a_season(tmp_path):
    machine = Machine()
    book = await promised(tmp_path, machine, seconds=2.0**64)
    machine.uptime += LONGEST_SECONDS + 1
    await book.sweep()
    assert await book.listed() == []

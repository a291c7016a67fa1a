"""The client's book: what was promised is found again, and a damaged page spoils no other."""

from __future__ import annotations

import stat
import time

import pytest

from plasm.jobs import book as book_module
from plasm.jobs.book import Book, Submitted
from plasm.testing import FakeSigner
from tests.jobs.world import submission

pytestmark = pytest.mark.anyio


def page(number: int, *, deadline: float | None = None) -> Submitted:
    return Submitted(
        job_id=f"{number:032x}",
        node=FakeSigner(1).peer,
        addresses=("/memory/1/p2p/x",),
        nonce="00" * 16,
        job=submission(args=["ü\n"]).job,
        name="hello.wasm",
        submitted=float(number),
        deadline=time.time() + 60 if deadline is None else deadline,
    )


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
    await book.record(page(1, deadline=time.time() - 1))
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


@pytest.mark.parametrize(
    "job_id", ["", "../secret", "/etc/passwd", "0" * 31, "0" * 33, "0" * 31 + "/", "G" * 32, "\0" * 32]
)
async def test_what_is_no_job_id_is_never_a_path(tmp_path, job_id):
    (tmp_path / "book").mkdir()
    (tmp_path / "secret.json").write_text("{}")
    assert await Book(tmp_path / "book").find(job_id) is None


async def test_a_damaged_page_is_passed_over(tmp_path):
    book = Book(tmp_path)
    await book.record(page(1))
    for name, content in {"a" * 32: b"{", "b" * 32: b"\xff" * 9, "c" * 32: b"[" * 100_000, "d" * 32: b"{}"}.items():
        (tmp_path / f"{name}.json").write_bytes(content)
    assert await book.listed() == [page(1, deadline=(await book.find(page(1).job_id)).deadline)]


async def test_pages_are_for_their_owner_alone_and_written_whole(tmp_path, monkeypatch):
    book = Book(tmp_path)
    await book.record(page(1))
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setattr("plasm.jobs.book.msgspec.json.encode", lambda submitted: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await book.record(page(2))
    assert [*tmp_path.iterdir()] == [file]

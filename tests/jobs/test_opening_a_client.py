"""What is past its deadline is dropped from the book when a client is opened, and an unwritable book hinders nobody."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from plasm.jobs import elapsed
from plasm.jobs.book import read_submissions
from plasm.jobs.client import UnknownJob
from tests.jobs.world import ignore, submission

pytestmark = pytest.mark.anyio


async def _detached(world, folder: Path) -> str:
    async with world.node(), world.client(book=folder) as client:
        return (await client.detach(submission(), name="x", report=ignore)).job_id


def _later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    uptime = elapsed._uptime
    monkeypatch.setattr(elapsed, "_uptime", lambda: uptime() + seconds)


async def test_a_submission_past_its_deadline_is_gone_once_a_client_is_open(world, monkeypatch):
    folder = world.folder / "book"
    with anyio.fail_after(10):
        identity = await _detached(world, folder)
        assert [each.job_id for each in read_submissions(folder)] == [identity]
        _later(monkeypatch, 30 * 24 * 3600)
        async with world.client(book=folder) as client:
            assert read_submissions(folder) == []
            with pytest.raises(UnknownJob):
                await client.result(identity, wait=False, report=ignore)


async def test_a_submission_before_its_deadline_is_there_once_a_client_is_open(world, monkeypatch):
    folder = world.folder / "book"
    with anyio.fail_after(10):
        identity = await _detached(world, folder)
        _later(monkeypatch, 60)
        async with world.client(book=folder) as client:
            assert [each.job_id for each in await client.submitted()] == [identity]


async def test_a_line_that_cannot_be_dropped_keeps_no_client_from_opening(world, monkeypatch):
    def refuse(self, target: object) -> None:
        raise OSError(30, "Read-only file system")

    folder = world.folder / "book"
    with anyio.fail_after(10):
        identity = await _detached(world, folder)
        _later(monkeypatch, 30 * 24 * 3600)
        monkeypatch.setattr(Path, "replace", refuse)
        async with world.client(book=folder):
            assert [each.job_id for each in read_submissions(folder)] == [identity]

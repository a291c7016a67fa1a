"""Time that has passed: no clock that is set moves it, and it goes on in the next life."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from plasm.jobs.elapsed import ElapsedTime, Mark
from plasm.jobs.journal import open_journal
from tests.jobs.test_journal import accepted, done


class Machine:
    def __init__(self, boot: str, uptime: float) -> None:
        self.boot, self.uptime = boot, uptime

    def time(self, earlier: Mark | None = None) -> ElapsedTime:
        return ElapsedTime(earlier, uptime=lambda: self.uptime, boot=self.boot)


def test_it_counts_what_passes():
    machine = Machine("a", 1000.0)
    passed = machine.time()
    assert passed.now() == 0
    machine.uptime += 5
    assert passed.now() == 5


def test_in_the_same_boot_the_time_between_two_lives_counts():
    machine = Machine("a", 1000.0)
    mark = machine.time().mark()
    machine.uptime += 30
    assert machine.time(mark).now() == 30


def test_after_a_restart_of_the_machine_only_what_has_passed_since_counts():
    machine = Machine("a", 1000.0)
    passed = machine.time()
    machine.uptime += 7
    assert Machine("b", 12.0).time(passed.mark()).now() == 7 + 12


@pytest.mark.parametrize("mark", [Mark(-5.0, "a", 0.0), Mark(5.0, "a", 1e12), Mark(5.0, "", 0.0)])
def test_it_never_goes_backwards(mark):
    assert Machine("a", 100.0).time(mark).now() >= 0
    assert ElapsedTime(mark, uptime=lambda: 1.0, boot="").now() >= mark.elapsed


@pytest.mark.anyio
@pytest.mark.parametrize("clock", [0.0, 1e11])
async def test_no_clock_that_is_set_takes_a_result(tmp_path, monkeypatch, clock):
    path = tmp_path / "journal.sqlite"
    with anyio.fail_after(10):
        async with open_journal(path) as journal:
            await journal.completed(accepted(1), done())
            monkeypatch.setattr("time.time", lambda: clock)
            assert await journal.sweep(60) == []
            await journal.completed(replace(accepted(2)), done())
        async with open_journal(path) as journal:
            assert await journal.sweep(60) == []
            assert await journal.ending(accepted(1).id) == done()
            assert set(await journal.sweep(-1)) == {accepted(1).id, accepted(2).id}

"""Every wall that a runtime names stands around a cell, and what it lacks is said before anything runs."""

from __future__ import annotations

import os
import pwd
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from plasm_cell import landlock
from plasm_cell.landlock import Landlock
from plasm_cells import guards, seccomp
from plasm_cells.guards import Weakness

from plasm.drivers import DriverUnavailable
from plasm.ports import Guarded, Verdict

pytestmark = pytest.mark.anyio

WHOLE = pytest.mark.skipif(bool(guards.probe("nobody").weaknesses), reason="this machine lacks walls")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def _lines(pid: int, name: str) -> list[str]:
    return Path(f"/proc/{pid}/{name}").read_text().splitlines()


def _status(pid: int) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in _lines(pid, "status"))}


async def _spare(runtime: Any) -> int:
    """A cell that waits for a job: it has been forked, and has put itself behind its walls."""
    with anyio.fail_after(30):
        while True:
            for pid in runtime.pids:
                with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                    if psutil.Process(pid).ppid() in runtime.pids and _status(pid)["Seccomp"] == "2":
                        return int(pid)
            await anyio.sleep(0.01)


@WHOLE
async def test_a_spare_stands_behind_every_wall(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASM_SECRET", "1")
    async with bench.open(slots=1) as runtime:
        pid = await _spare(runtime)
        status = _status(pid)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert os.getpgid(pid) == pid
        assert os.getsid(pid) != os.getsid(0)
        cell = psutil.Process(pid)
        assert "PLASM_SECRET" not in cell.environ()
        assert cell.cwd() == "/"
        limits = _lines(pid, "limits")
        for kind in ("Max core file size", "Max file size", "Max processes"):
            (line,) = (line for line in limits if line.startswith(kind))
            assert line.removeprefix(kind).split()[:2] == ["0", "0"]
        names = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
        assert {name for name, link in names.items() if link != "/dev/null"} == {"3"}
        assert names["3"].startswith("socket:")


@WHOLE
@ROOT
async def test_as_root_cells_and_warm_parents_become_nobody(bench: Any) -> None:
    entry = pwd.getpwnam("nobody")
    async with bench.open(slots=1) as runtime:
        await _spare(runtime)
        for pid in runtime.pids:
            status = _status(pid)
            assert set(status["Uid"].split()) == {str(entry.pw_uid)}
            assert set(status["Gid"].split()) == {str(entry.pw_gid)}
            assert not status["Groups"]
        assert "uid:nobody" in runtime.guards


@WHOLE
async def test_a_cell_dies_with_its_warm_parent_although_its_user_changed(bench: Any) -> None:
    async with bench.open(slots=1) as runtime:
        pid = await _spare(runtime)
        parent = psutil.Process(pid).ppid()
        pidfd = os.pidfd_open(pid)
        try:
            os.kill(parent, signal.SIGKILL)
            with anyio.fail_after(10):
                await anyio.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        await bench.check_honest(runtime)


@WHOLE
async def test_guards_name_what_is_on(bench: Any) -> None:
    async with bench.open(slots=1) as runtime:
        assert isinstance(runtime, Guarded)
        assert not runtime.weaknesses
        assert {"no_new_privs", "seccomp", "rlimits"} <= set(runtime.guards)
        assert f"landlock:{landlock.probe().abi}" in runtime.guards


@WHOLE
@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        ("os.open('/etc/passwd', os.O_RDONLY)", "EPERM"),
        ("os.open('/tmp/plasm-escaped', os.O_WRONLY | os.O_CREAT)", "EPERM"),
        ("os.stat('/etc/passwd')", "EPERM"),
        ("resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)", "EPERM"),
    ],
)
async def test_what_a_library_may_try_fails(bench: Any, attempt: str, error: str) -> None:
    source = f"try:\n    {attempt}\nexcept OSError as error:\n    layer.stdout += errno.errorcode[error.errno].encode()"
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, source)
        assert (outcome.verdict, outcome.stdout) == (Verdict.EXITED, error.encode()), outcome


@WHOLE
@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()",
        "socket.socket()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 9)",
        "libc.ptrace(16, 1, 0, 0)",
    ],
)
async def test_what_only_an_attacker_tries_kills_the_cell(bench: Any, attempt: str) -> None:
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, attempt)
        assert outcome.verdict is Verdict.CELL_DIED, outcome
        assert "system call" in outcome.detail
        await bench.check_honest(runtime)


@WHOLE
async def test_compile_cells_stand_behind_walls_of_their_own(bench: Any) -> None:
    refused = "#compile \ntry:\n    open('/etc/passwd')\nexcept PermissionError:\n    pass\nelse:\n    raise SystemExit"
    async with bench.open(slots=1, spares=0) as runtime:
        assert (await bench.run(runtime, refused)).verdict is Verdict.EXITED
        with pytest.raises(Exception, match="SIGSYS"):
            await bench.run(runtime, "#compile \nos.fork()")
        await bench.check_honest(runtime)


@pytest.mark.skipif(not landlock.probe().abi, reason="this kernel has no landlock")
async def test_landlock_holds_where_there_is_no_seccomp(bench: Any) -> None:
    source = """
        for attempt in (lambda: open("/etc/passwd"), lambda: os.listdir("/"), lambda: open("/tmp/plasm-escaped", "w")):
            try:
                attempt()
            except PermissionError:
                layer.stdout += b"x"
    """

    def without_seccomp(user: str) -> guards.Machine:
        return replace(guards.probe(user), seccomp=False, weaknesses=(Weakness("no seccomp", "another kernel"),))

    async with bench.open(slots=1, probe=without_seccomp, allow_weaker=True) as runtime:
        assert (await bench.run(runtime, source)).stdout == b"xxx"
        assert "seccomp" not in runtime.guards


async def test_a_machine_that_lacks_a_wall_is_refused_with_its_mend_unless_told_otherwise(bench: Any) -> None:
    def without_landlock(user: str) -> guards.Machine:
        lack = Weakness("the kernel has no landlock", "use Linux 5.13 or later")
        return replace(guards.probe(user), landlock=Landlock(0), weaknesses=(lack,))

    with pytest.raises(DriverUnavailable, match="no landlock") as refusal:
        async with bench.open(probe=without_landlock):
            pass
    assert "Linux 5.13" in refusal.value.mend
    assert "allow_weaker" in refusal.value.mend
    async with bench.open(slots=1, probe=without_landlock, allow_weaker=True) as runtime:
        assert list(runtime.weaknesses) == ["the kernel has no landlock"]
        assert not any(guard.startswith("landlock") for guard in runtime.guards)
        await bench.check_honest(runtime)


@ROOT
def test_a_user_who_is_not_there_is_a_weakness_and_root_is_no_user_for_cells() -> None:
    for user in ("plasm-no-such-user", "root"):
        machine = guards.probe(user)
        assert machine.user is None
        assert any("root" in weakness.lack for weakness in machine.weaknesses)


def test_no_engine_gets_what_no_cell_gets() -> None:
    for name in ("openat", "socket", "execve", "clone"):
        with pytest.raises(ValueError, match=name):
            seccomp.program((name,), compiles=False)

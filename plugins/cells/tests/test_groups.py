"""Control groups are made where that is possible, hold, and are removed; those of nodes that are gone too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plasm_cells import cgroups

from plasm.ports import NotPrepared, Verdict

MIB = 1 << 20
FOUND = cgroups.find()
POSSIBLE = pytest.mark.skipif(FOUND is None, reason="no control group can be made here")


def _made() -> set[Path]:
    assert FOUND is not None
    return set(FOUND.parent.glob(f"plasm-{os.getpid()}-*"))


@POSSIBLE
@pytest.mark.anyio
async def test_a_group_for_each_slot_holds_its_cells_and_goes_with_the_runtime(bench: Any) -> None:
    before = _made()
    async with bench.open(slots=1) as runtime:
        assert any(guard.startswith("cgroup:v") for guard in runtime.guards)
        outcome = await bench.run(runtime, "x = bytearray(64 << 20)\nlayer.stdout += b'ok'")
        assert outcome.stdout == b"ok"
        assert outcome.usage.peak_process_bytes is not None
        assert 64 * MIB <= outcome.usage.peak_process_bytes < 256 * MIB
        small = await bench.run(runtime, "pass")
        assert small.usage.peak_process_bytes is not None
        assert small.usage.peak_process_bytes < 64 * MIB
        inside = {int(pid) for folder in _made() - before for pid in (folder / "cgroup.procs").read_text().split()}
        assert runtime.pids <= inside
    assert _made() == before


@POSSIBLE
@pytest.mark.anyio
async def test_what_the_kernel_kills_for_want_of_memory_is_a_cell_that_died(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RLIMIT_DATA stops what it counts first, and a cell gets no memory of another kind: so the group is made tighter.
    monkeypatch.setattr("plasm_cells.execution._GROUP_MARGIN_BYTES", 32 * MIB)
    hog = "held = bytearray(80 << 20)"
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, hog, memory_bytes=MIB, output_bytes=MIB, file_bytes=MIB)
        assert outcome.verdict is Verdict.CELL_DIED, outcome
        assert "more memory than cell and job may" in outcome.detail
        await bench.check_honest(runtime)


@pytest.fixture
def group_above() -> Iterator[cgroups.Groups]:
    """A group of 256 MiB, as a container has it, in which a runtime makes its own."""
    if FOUND is None:
        pytest.skip("no control group can be made here")
    folder = FOUND.parent / f"plasm-above-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / ("memory.limit_in_bytes" if FOUND.version == 1 else "memory.max")).write_text(str(256 * MIB))
        if FOUND.version == 2:
            (folder / "cgroup.subtree_control").write_text("+memory")
        yield cgroups.Groups(folder, FOUND.version)
    finally:
        folder.rmdir()


@pytest.mark.anyio
async def test_memory_that_a_container_lacks_is_not_what_a_job_asked_for(
    bench: Any, group_above: cgroups.Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "find", lambda: group_above)
    async with bench.open(slots=1) as runtime:
        outcome = await bench.run(runtime, "held = bytearray(400 << 20)", memory_bytes=512 * MIB)
        assert outcome.verdict is Verdict.CELL_DIED, outcome
        assert "this machine had no memory left" in outcome.detail
        await bench.check_honest(runtime)


@pytest.mark.anyio
async def test_a_module_that_a_container_has_no_memory_to_compile_is_not_prepared(
    bench: Any, group_above: cgroups.Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "find", lambda: group_above)
    hog = bench.guest("#compile \nheld = bytearray(400 << 20)")
    async with bench.open(slots=1, spares=0, compile_memory_bytes=512 * MIB) as runtime:
        with pytest.raises(NotPrepared, match="this machine has too little memory"):
            await runtime.prepare(bench.digest(hog), hog)
        await bench.check_honest(runtime)


@POSSIBLE
def test_groups_of_nodes_that_are_gone_are_swept_and_others_are_not() -> None:
    assert FOUND is not None
    gone = FOUND.parent / "plasm-4194304999-1-feed"
    reused = FOUND.parent / "plasm-1-1-feed"
    ours = FOUND.make()
    assert ours is not None
    try:
        gone.mkdir()
        reused.mkdir()
        FOUND.sweep()
        assert not gone.exists()
        assert not reused.exists(), "the number is another process's now"
        assert ours.folder.exists()
    finally:
        ours.close()
        ours.folder.rmdir()


def _tree(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_where_nothing_is_mounted_or_writable_there_are_none(tmp_path: Path) -> None:
    _tree(tmp_path, {"proc/cgroup": "0::/user.slice\n"})
    assert cgroups.find(tmp_path / "fs", tmp_path / "proc") is None
    assert cgroups.find(tmp_path / "fs", tmp_path / "nowhere") is None
    _tree(tmp_path, {"proc/cgroup": "4:memory:/a\n0::/\n", "fs/memory/a/x": ""})
    assert cgroups.find(tmp_path / "fs", tmp_path / "proc") is None


def test_limits_peaks_and_kills_are_those_of_version_2(tmp_path: Path) -> None:
    names = ("cgroup.procs", "memory.max", "memory.swap.max", "memory.peak", "memory.events")
    _tree(tmp_path, dict.fromkeys(names, "0"))
    group = cgroups.Group(tmp_path, 2)
    assert group.adopt(os.getpid())
    group.limit(4096)
    (tmp_path / "memory.events").write_text("low 0\nmax 9\noom 3\noom_kill 2\n")
    assert group.starved() is cgroups.Starved.GROUP
    assert group.starved() is None, "each death counts once"
    (tmp_path / "memory.events").write_text("low 0\nmax 10\noom 3\noom_kill 3\n")
    assert group.starved() is cgroups.Starved.MACHINE, "its own limit was not what lacked"
    (tmp_path / "memory.events").write_text("low 0\nmax 11\noom 4\noom_kill 3\n")
    assert group.starved() is None, "nobody was killed"
    (tmp_path / "memory.peak").write_text("12345\n")
    assert group.peak == 12345
    assert ((tmp_path / "memory.max").read_text(), (tmp_path / "memory.swap.max").read_text()) == ("4096", "0")
    group.close()


def test_kills_are_those_of_version_1(tmp_path: Path) -> None:
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes")
    _tree(tmp_path, {**dict.fromkeys(names, "0"), "memory.oom_control": "under_oom 0\noom_kill 0\n"})
    group = cgroups.Group(tmp_path, 1)
    group.limit(64 * MIB)
    assert group.starved() is None
    (tmp_path / "memory.oom_control").write_text("under_oom 0\noom_kill 1\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text(str(32 * MIB))
    assert group.starved() is cgroups.Starved.MACHINE, "it was far from its own limit"
    (tmp_path / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text(str(64 * MIB))
    assert group.starved() is cgroups.Starved.GROUP
    group.close()

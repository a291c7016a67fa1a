"""The memory that a node may have is what its control groups leave of the machine's, and runs fit into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from plasm import memory
from plasm.config import NodeSettings
from plasm.memory import memory_of, usable_memory
from plasm.ports import Limits

MIB = 2**20
GIB = 2**30


def _tree(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root / "fs", root / "proc"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/cgroup": "0::/a/b\n", "fs/a/b/memory.max": "max\n", "fs/a/memory.max": "300000\n"}, 300000),
        ({"proc/cgroup": "0::/a/b\n", "fs/a/b/memory.max": "200000\n", "fs/a/memory.max": "300000\n"}, 200000),
        ({"proc/cgroup": "0::/a\n", "fs/a/memory.max": "300000\n", "fs/a/memory.high": "100000\n"}, 100000),
        ({"proc/cgroup": "0::/\n", "fs/memory.max": "400000\n"}, 400000),
        ({"proc/cgroup": "0::/../outside\n", "fs/memory.max": "400000\n", "outside/memory.max": "1\n"}, 400000),
        ({"proc/cgroup": "4:memory:/a/b\n0::/\n", "fs/memory/a/memory.limit_in_bytes": "500000\n"}, 500000),
        # As a container sees it whose mount begins at its own group.
        ({"proc/cgroup": "4:memory:/docker/x\n", "fs/memory/memory.limit_in_bytes": "600000\n"}, 600000),
    ],
)
def test_the_least_limit_of_a_control_group_and_those_above_holds(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert usable_memory(*_tree(tmp_path, files)) == expected


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/cgroup": "garbage\n"},
        {"proc/cgroup": "0::/a\n", "fs/a/memory.max": "max\n"},
        {"proc/cgroup": "4:memory:/\n", "fs/memory/memory.limit_in_bytes": "9223372036854771712\n"},
    ],
)
def test_without_one_it_is_the_machines(tmp_path: Path, files: dict[str, str]) -> None:
    assert usable_memory(*_tree(tmp_path, files)) == usable_memory(tmp_path / "none", tmp_path / "none")


def test_what_runs_and_what_is_prepared_leaves_something_to_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "usable_memory", lambda: 8 * GIB)
    assert (memory.running_memory(), memory.preparing_memory()) == (5 * GIB, 2 * GIB)


def test_one_job_gets_half_of_what_there_is_and_never_more_than_fits_into_what_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "memory_of_one_process", lambda: None)
    monkeypatch.setattr(memory, "usable_memory", lambda: 8 * GIB)
    assert NodeSettings().memory_mb == 4096
    beside = memory_of(Limits(memory_bytes=0))
    for settings, most in (
        (NodeSettings(max_running_memory_mb=1024), GIB),
        (NodeSettings(max_memory_mb=8192), 5 * GIB),
    ):
        assert settings.running_memory_bytes == most
        assert settings.memory_mb == (most - beside) // MIB
    monkeypatch.setattr(memory, "usable_memory", lambda: 1 << 20)
    assert NodeSettings().memory_mb == 1


def test_a_limit_of_this_process_bounds_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "usable_memory", lambda: 8 * GIB)
    monkeypatch.setattr(memory, "memory_of_one_process", lambda: 600 * MIB)
    assert NodeSettings().memory_mb == 300

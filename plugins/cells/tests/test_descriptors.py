"""A node that has no descriptor left fails jobs with a reason and goes on."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import anyio
import pytest
from plasm_cell.lockdown import Walls
from plasm_cells.artifacts import Artifact, ArtifactFolder, HeldArtifacts, memory_file
from plasm_cells.warmparents import Starter

from plasm.ports import Digest, RuntimeFailed


@pytest.mark.anyio
async def test_every_lack_of_descriptors_is_a_runtime_failure_and_leaves_none_behind(
    bench: Any, tmp_path: Path
) -> None:
    folder = ArtifactFolder(tmp_path, "engine", 1 << 20)
    digest = Digest("sha256:" + "1" * 64)
    artifact = _artifact()
    folder.store(digest, artifact)
    held = HeldArtifacts(1 << 20)
    held.add(digest, artifact)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures = []
    async with anyio.create_task_group() as tasks:
        starter = Starter(bench.spec(), lambda _role, _calls: Walls(), tasks)

        async def start_and_end() -> None:
            parent = await starter.start("run", 20, None, lambda: None)
            try:
                await (await parent.fork(0, 20)).end()
            finally:
                await starter.end(parent)

        await start_and_end()
        before = sorted(os.listdir("/proc/self/fd"))
        # A process gets the lowest descriptor that is free, and none from the limit on.
        lowest = os.dup(0)
        os.close(lowest)
        try:
            for free in range(7):
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, hard))
                try:
                    await start_and_end()
                except RuntimeFailed as error:
                    failures.append(str(error))
                if not free:
                    with pytest.raises(RuntimeFailed):
                        folder.load(digest)
                    with pytest.raises(RuntimeFailed):
                        memory_file("test", b"content")
                    with pytest.raises(RuntimeFailed):
                        held.get(digest)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await start_and_end()
    assert len(failures) >= 5, failures
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert folder.has(digest), "a compiled module that cannot be read now is not removed"
    held.clear()


def test_small_modules_do_not_take_all_descriptors() -> None:
    held = HeldArtifacts(1 << 30)
    digests = [Digest(f"sha256:{number:064x}") for number in range(200)]
    before = len(os.listdir("/proc/self/fd"))
    for digest in digests:
        held.add(digest, _artifact())
    assert len(os.listdir("/proc/self/fd")) - before == 128
    assert [digest in held for digest in digests] == [False] * 72 + [True] * 128
    held.clear()
    assert len(os.listdir("/proc/self/fd")) == before


def _artifact() -> Artifact:
    return Artifact(memory_file("test", b"content"), 7, starts=False)

"""What only the disk can do to a store."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from plasm_fs.hooks import FsOptions, open_fs

from plasm.drivers import DriverUnavailable, Scope
from plasm.ports import Corrupt, NotStored, StoreError, TooLarge

pytestmark = pytest.mark.anyio

WRITER = """
import hashlib, sys
from pathlib import Path
from plasm_fs.budget import Budget
from plasm_fs.folder import Folder

folder = Folder(Path(sys.argv[1]), Budget(2**20, 2**20, 10))
content = b"half of it"
arrival = folder.begin("sha256:" + hashlib.sha256(content).hexdigest(), len(content))
folder.append(arrival, content[:5])
print("writing", flush=True)
sys.stdin.readline()
folder.append(arrival, content[5:])
folder.publish(arrival)
"""


def start_writer(home: Path) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


async def test_content_outlives_the_process_that_wrote_it(scope: Scope, put) -> None:
    async with open_fs(scope, FsOptions()) as store:
        digest = await put(store, b"content")
    async with open_fs(scope, FsOptions()) as store:
        assert await store.get(digest, 7) == b"content"
        assert [(entry.digest, entry.size) async for entry in store.entries()] == [(digest, 7)]


async def test_files_and_folders_are_the_owners_alone(scope: Scope, put, file_of) -> None:
    old = os.umask(0)
    try:
        async with open_fs(scope, FsOptions()) as store:
            file = file_of(await put(store, b"content"))
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in list(file.parents)[:4]} == {0o700}


async def test_a_corrupt_file_is_reported_removed_and_can_be_written_again(scope: Scope, put, file_of) -> None:
    async with open_fs(scope, FsOptions()) as store:
        digest = await put(store, b"content")
        file_of(digest).write_bytes(b"c0ntent")
        with pytest.raises(Corrupt):
            await store.get(digest, 100)
        assert not file_of(digest).exists()
        with pytest.raises(NotStored):
            await store.get(digest, 100)
        await put(store, b"content")
        assert await store.get(digest, 100) == b"content"


async def test_a_file_that_grew_is_not_read_into_memory(scope: Scope, put, file_of) -> None:
    async with open_fs(scope, FsOptions()) as store:
        digest = await put(store, b"content")
        os.truncate(file_of(digest), 2**40)
        with pytest.raises(TooLarge):
            await store.get(digest, 100)


async def test_a_file_behind_a_symbolic_link_is_refused_and_mended_by_writing(
    scope: Scope, put, file_of, tmp_path: Path
) -> None:
    async with open_fs(scope, FsOptions()) as store:
        digest = await put(store, b"content")
        target = tmp_path / "elsewhere"
        target.write_bytes(b"content")
        file_of(digest).unlink()
        file_of(digest).symlink_to(target)
        assert not await store.has(digest)
        with pytest.raises(StoreError, match="symbolic link"):
            await store.get(digest, 100)
        await put(store, b"content")
        assert not file_of(digest).is_symlink()
        assert await store.get(digest, 100) == b"content"
        assert target.read_bytes() == b"content"


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_a_folder_behind_a_symbolic_link_is_refused(
    scope: Scope, put, file_of, digest_of, tmp_path: Path, depth: int
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = file_of(digest_of(b"content")).parents[depth]
    async with open_fs(scope, FsOptions()) as store:
        await put(store, b"content")
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)
    with pytest.raises(StoreError, match="symbolic link"):
        async with open_fs(scope, FsOptions()) as store:
            await put(store, b"content")
    assert os.listdir(elsewhere) == []


async def test_a_home_that_is_a_symbolic_link_is_refused(scope: Scope, tmp_path: Path) -> None:
    assert scope.home is not None
    scope.home.symlink_to(tmp_path)
    with pytest.raises(StoreError, match="symbolic link"):
        async with open_fs(scope, FsOptions()):
            pass


async def test_what_a_killed_writer_left_is_swept(scope: Scope) -> None:
    assert scope.home is not None
    writer = start_writer(scope.home)
    writer.kill()
    writer.wait()
    assert len(os.listdir(scope.home / "incoming")) == 1
    async with open_fs(scope, FsOptions()) as store:
        assert os.listdir(scope.home / "incoming") == []
        assert [entry async for entry in store.entries()] == []


async def test_what_a_living_writer_is_writing_is_not_swept(scope: Scope, digest_of) -> None:
    assert scope.home is not None
    writer = start_writer(scope.home)
    try:
        async with open_fs(scope, FsOptions()) as store:
            writer.communicate("\n", timeout=30)
            assert writer.returncode == 0
            assert await store.get(digest_of(b"half of it"), 10) == b"half of it"
    finally:
        writer.kill()
        writer.wait()


async def test_the_order_of_use_is_remembered_across_restarts(scope: Scope, put) -> None:
    async with open_fs(scope, FsOptions()) as store:
        first, second = [await put(store, bytes([n]) * 10) for n in range(2)]
        before = time.time()
        await store.get(first, 10)
    async with open_fs(scope, FsOptions(max_bytes=10)) as store:
        (entry,) = [entry async for entry in store.entries()]
        assert entry.digest == first
        assert entry.used >= before - 1
        assert not await store.has(second)


async def test_nothing_is_opened_without_a_home(scope: Scope) -> None:
    homeless = Scope(home=None, allows=scope.allows, log=scope.log)
    with pytest.raises(DriverUnavailable):
        async with open_fs(homeless, FsOptions()):
            pass


async def test_a_closed_store_says_so(scope: Scope, digest_of) -> None:
    async with open_fs(scope, FsOptions()) as store:
        pass
    with pytest.raises(StoreError, match="closed"):
        await store.has(digest_of(b""))


async def test_the_loop_runs_on_while_a_slow_disk_is_waited_for(scope: Scope, put, digest_of, file_of) -> None:
    async with open_fs(scope, FsOptions()) as store:
        digest = await put(store, b"content")
        # Were the disk's work done on the loop, nothing could let go of the lock that it waits for.
        store._folder._lock.acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.delete, digest)
            await anyio.wait_all_tasks_blocked()
            assert file_of(digest).exists()
            store._folder._lock.release()
        assert not file_of(digest).exists()


FULL_DISK = """
import hashlib, os, sys, anyio, logging
from pathlib import Path
from plasm.drivers import Scope
from plasm.ports import StoreError
from plasm_fs.hooks import FsOptions, open_fs

async def main():
    home = Path(sys.argv[1]) / "store"
    async with open_fs(Scope(home=home, allows=lambda ip: True, log=logging.getLogger()), FsOptions()) as store:
        content = bytes(2**21)
        try:
            async with store.create("sha256:" + hashlib.sha256(content).hexdigest(), len(content)) as writer:
                await writer.write(content)
        except StoreError as error:
            assert "is full" in str(error), error
        else:
            sys.exit("nothing was full")
        assert os.listdir(home / "incoming") == []
        small = "sha256:" + hashlib.sha256(b"small").hexdigest()
        async with store.create(small, 5) as writer:
            await writer.write(b"small")
        assert await store.get(small, 5) == b"small"
        print("mended")

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_full_disk_is_said_and_leaves_nothing_half(tmp_path: Path, backend: str) -> None:
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1" "$4"'
    probe = subprocess.run([*mount, 'mount -t tmpfs none "$1"', "sh", str(tmp_path)], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no mount namespaces here")
    arguments = ["sh", str(tmp_path), sys.executable, FULL_DISK, backend]
    done = subprocess.run([*mount, script, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout == "mended\n", done.stderr

"""What both stores promise beyond the port: bounds, eviction and order of use."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from plasm_fs.hooks import FsOptions, MemoryOptions, open_fs, open_memory

from plasm.drivers import Scope
from plasm.ports import Corrupt, Digest, NotStored, StoreError, TooLarge

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["fs", "memory"])
def open_store(request: pytest.FixtureRequest, scope: Scope):
    def open_store(**options: int):
        if request.param == "fs":
            return open_fs(scope, FsOptions(**options))
        return open_memory(scope, MemoryOptions(**options))

    return open_store


async def test_content_comes_back(open_store, put) -> None:
    async with open_store() as store:
        digest = await put(store, b"content")
        assert await store.has(digest)
        assert await store.get(digest, 7) == b"content"


async def test_empty_content_is_content(open_store, put) -> None:
    async with open_store() as store:
        assert await store.get(await put(store, b""), 0) == b""


async def test_content_larger_than_the_caller_allows_is_not_read(open_store, put) -> None:
    async with open_store() as store:
        digest = await put(store, b"content")
        with pytest.raises(TooLarge):
            await store.get(digest, 6)


@pytest.mark.parametrize("written", [b"other!!", b"short", b""])
async def test_what_has_another_digest_is_refused_and_not_kept(open_store, digest_of, written: bytes) -> None:
    digest = digest_of(b"content")
    async with open_store() as store:
        with pytest.raises(Corrupt):
            async with store.create(digest, 7) as writer:
                await writer.write(written)
        assert not await store.has(digest)
        assert [entry async for entry in store.entries()] == []


async def test_more_than_was_announced_is_refused_as_it_arrives(open_store, digest_of) -> None:
    async with open_store() as store:
        with pytest.raises(TooLarge):
            async with store.create(digest_of(b"content"), 4) as writer:
                await writer.write(b"conte")


async def test_a_block_left_by_an_exception_keeps_nothing(open_store, digest_of) -> None:
    digest = digest_of(b"content")
    async with open_store() as store:
        with pytest.raises(RuntimeError):
            async with store.create(digest, 7) as writer:
                await writer.write(b"content")
                raise RuntimeError
        assert not await store.has(digest)


async def test_a_cancelled_block_keeps_nothing(open_store, digest_of) -> None:
    digest = digest_of(b"content")
    async with open_store() as store:
        with anyio.CancelScope() as cancelled:
            async with store.create(digest, 7) as writer:
                await writer.write(b"content")
                cancelled.cancel()
                await anyio.lowlevel.checkpoint()
        assert not await store.has(digest)


async def test_nothing_is_written_after_the_block(open_store, digest_of) -> None:
    async with open_store() as store:
        async with store.create(digest_of(b""), 0) as writer:
            pass
        with pytest.raises(StoreError):
            await writer.write(b"late")


async def test_what_was_used_longest_ago_makes_room(open_store, put) -> None:
    async with open_store(max_bytes=30) as store:
        first, second, third = [await put(store, bytes([n]) * 10) for n in range(3)]
        await store.get(first, 10)
        fourth = await put(store, b"x" * 10)
        assert [await store.has(digest) for digest in (first, second, third, fourth)] == [True, False, True, True]


async def test_the_number_of_items_is_bounded(open_store, put) -> None:
    async with open_store(max_items=2) as store:
        digests = [await put(store, bytes([n])) for n in range(3)]
        assert [await store.has(digest) for digest in digests] == [False, True, True]


async def test_a_claimed_size_evicts_nothing_until_bytes_arrive(open_store, put, digest_of) -> None:
    async with open_store(max_bytes=30) as store:
        held = await put(store, b"x" * 20)
        with pytest.raises(Corrupt):
            async with store.create(digest_of(b"never"), 30) as writer:
                await writer.write(b"y" * 10)
        assert await store.has(held)


async def test_more_than_the_store_takes_is_refused_before_a_byte(open_store, digest_of) -> None:
    async with open_store(max_bytes=30) as store:
        with pytest.raises(TooLarge):
            async with store.create(digest_of(b""), 31):
                pytest.fail("the block was entered")


async def test_writers_together_stay_within_the_bound(open_store, digest_of, put) -> None:
    async with open_store(max_bytes=30) as store:
        async with store.create(digest_of(b"a" * 20), 20) as first:
            await first.write(b"a" * 20)
            with pytest.raises(StoreError, match="being written"):
                async with store.create(digest_of(b"b" * 20), 20) as second:
                    await second.write(b"b" * 20)
        assert await store.has(digest_of(b"a" * 20))
        await put(store, b"c" * 30)


async def test_creating_what_is_there_is_fine_and_counts_once(open_store, put) -> None:
    async with open_store(max_bytes=30) as store:
        for _ in range(5):
            digest = await put(store, b"x" * 15)
        assert [(entry.digest, entry.size) async for entry in store.entries()] == [(digest, 15)]


async def test_deleting_frees_room_and_is_fine_twice(open_store, put) -> None:
    async with open_store(max_bytes=10) as store:
        digest = await put(store, b"x" * 10)
        await store.delete(digest)
        await store.delete(digest)
        with pytest.raises(NotStored):
            await store.get(digest, 10)
        await put(store, b"y" * 10)


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "A" * 64, "sha256:../../x", "md5:" + "a" * 64, "a" * 10**6]
)
async def test_what_is_no_digest_is_refused(open_store, text: str) -> None:
    async with open_store() as store:
        with pytest.raises(StoreError, match="not a digest"):
            await store.get(Digest(text), 1)
        with pytest.raises(StoreError, match="not a digest"):
            async with store.create(Digest(text), 1):
                pass


async def test_many_tasks_at_once_find_what_they_wrote(open_store, put) -> None:
    async with open_store() as store, anyio.create_task_group() as tasks:

        async def write_and_read(number: int) -> None:
            content = b"%d" % (number % 10) * 1000
            digest = await put(store, content)
            assert await store.get(digest, 10_000) == content

        for number in range(40):
            tasks.start_soon(write_and_read, number)

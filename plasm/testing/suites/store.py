"""What every store must do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from plasm.ports import Corrupt, Digest, Entry, NotStored, Store, StoreError, TooLarge
from plasm.testing.modules import digest_of
from plasm.testing.suites.background import tasks, together
from plasm.testing.suites.promises import never_raises, raises, within

MakeStore = Callable[[], AbstractAsyncContextManager[Store]]

_CONTENTS = {
    "nothing": b"",
    "one byte": b"\0",
    "a line": b"Hello, World\n",
    "three megabytes": bytes(range(256)) * (3 * 2**20 // 256),
}
_MISSING = digest_of(b"never stored")
_PLENTY = 64 * 2**20
_MALFORMED = (
    "",
    "sha256:",
    "sha256:" + "0" * 63,
    "sha256:" + "0" * 65,
    "sha256:" + "G" * 64,
    "sha256:" + "A" * 64,
    "sha512:" + "0" * 64,
    "0" * 64,
    "sha256:" + "../" * 21 + "x",
    "sha256:" + "0" * 62 + "\0\n",
    "../../etc/passwd",
)


class _OnPurpose(Exception):
    pass


class StoreSuite:
    """`make()` returns the async context manager of an empty, writable store; called once in each test.

    Override :meth:`corrupt` where the test can reach what the store keeps; otherwise the tests of reading what was
    damaged are skipped.
    """

    pytestmark = pytest.mark.anyio
    patience: float = 10.0

    async def corrupt(self, store: Store, digest: Digest, content: bytes) -> bool:
        """Put `content` in the place of what `store` keeps as `digest`, behind its back. False where that cannot be."""
        return False

    async def put(self, store: Store, content: bytes) -> Digest:
        digest = digest_of(content)
        async with store.create(digest, len(content)) as writer:
            if content:
                await writer.write(content)
        return digest

    async def check_content(
        self, store: Store, digest: Digest, content: bytes, promise: str, *, max_bytes: int = _PLENTY
    ) -> None:
        with never_raises(promise):
            got = await store.get(digest, max_bytes)
        assert isinstance(got, bytes), "get returns bytes"
        assert got == content, f"{promise}; {len(got)} bytes came back, and not the {len(content)} that were written"

    async def check_absent(self, store: Store, digest: Digest, why: str) -> None:
        assert not await store.has(digest), f"{why}; has() says that it is there"
        with raises(NotStored, f"{why}; get must raise NotStored"):
            await store.get(digest, _PLENTY)
        assert digest not in await self.held(store), f"{why}; it stands among the entries"

    async def held(self, store: Store) -> dict[Digest, Entry]:
        found: dict[Digest, Entry] = {}
        async for entry in store.entries():
            assert entry.digest not in found, f"entries() names what is held once; {entry.digest} came twice"
            found[entry.digest] = entry
        return found

    async def test_it_says_that_it_is_writable(self, make: MakeStore) -> None:
        async with make() as store:
            assert store.writable is True, "a store that can be written says so"

    @pytest.mark.parametrize("what", sorted(_CONTENTS))
    async def test_what_was_created_is_returned_whole(self, make: MakeStore, what: str) -> None:
        async with make() as store:
            digest = await self.put(store, _CONTENTS[what])
            assert await store.has(digest), f"has() is true for what was created ({what})"
            await self.check_content(
                store, digest, _CONTENTS[what], f"get returns the whole content as it was written ({what})"
            )

    async def test_pieces_of_any_size_make_one_content(self, make: MakeStore) -> None:
        content = bytes(range(256)) * 300
        async with make() as store:
            digest = digest_of(content)
            async with store.create(digest, len(content)) as writer:
                at = 0
                for size in (0, 1, 2, 1000, 0, 65536, len(content)):
                    await writer.write(content[at : at + size])
                    at += size
            await self.check_content(store, digest, content, "write appends, whatever the size of the pieces")

    async def test_several_contents_stay_apart(self, make: MakeStore) -> None:
        async with make() as store:
            contents = [b"number %d" % number for number in range(10)]
            digests = [await self.put(store, content) for content in contents]
            for digest, content in zip(digests, contents, strict=True):
                await self.check_content(store, digest, content, "each content is returned under its own digest")

    async def test_what_was_never_stored_is_not_there(self, make: MakeStore) -> None:
        async with make() as store:
            await self.put(store, b"something else")
            await self.check_absent(store, _MISSING, "this was never stored")

    async def test_more_than_the_caller_allows_is_too_large(self, make: MakeStore) -> None:
        async with make() as store:
            digest = await self.put(store, b"x" * 1000)
            for allowed in (0, 1, 999):
                with raises(TooLarge, f"get of 1000 bytes where {allowed} are allowed raises TooLarge"):
                    await store.get(digest, allowed)
            inclusive = "max_bytes is what the content may have, inclusive"
            await self.check_content(store, digest, b"x" * 1000, inclusive, max_bytes=1000)
            nothing = await self.put(store, b"")
            await self.check_content(store, nothing, b"", inclusive, max_bytes=0)

    async def test_other_content_than_the_digest_says_is_corrupt_and_not_kept(self, make: MakeStore) -> None:
        promise = "leaving the block verifies: other content under a digest raises Corrupt"
        async with make() as store:
            digest = digest_of(b"right")
            with raises(Corrupt, promise):
                async with store.create(digest, 5) as writer:
                    await writer.write(b"wrong")
            await self.check_absent(store, digest, "nothing of what is corrupt is kept")
            await self.check_absent(store, digest_of(b"wrong"), "nothing of what is corrupt is kept, by any name")
            await self.put(store, b"right")
            await self.check_content(store, digest, b"right", "a failed creation does not spoil the next")

    async def test_less_than_was_said_is_corrupt_and_not_kept(self, make: MakeStore) -> None:
        async with make() as store:
            digest = digest_of(b"a whole sentence")
            with raises(
                Corrupt, "leaving the block early raises Corrupt: the content is published whole or not at all"
            ):
                async with store.create(digest, len(b"a whole sentence")) as writer:
                    await writer.write(b"a whole")
            await self.check_absent(store, digest, "half a content is not kept")

    async def test_another_size_than_was_said_is_refused(self, make: MakeStore) -> None:
        async with make() as store:
            digest = digest_of(b"12345")
            with raises((TooLarge, Corrupt), "writing more than `size` bytes raises TooLarge, or Corrupt at the end"):
                async with store.create(digest, 4) as writer:
                    await writer.write(b"123")
                    await writer.write(b"45")
            await self.check_absent(store, digest, "more than was said is not kept")
            with raises(Corrupt, "fewer than `size` bytes raise Corrupt, though they have the digest"):
                async with store.create(digest, 6) as writer:
                    await writer.write(b"12345")
            await self.check_absent(store, digest, "less than was said is not kept")

    async def test_a_size_that_cannot_be_takes_no_memory(self, make: MakeStore) -> None:
        async with make() as store:
            with (
                within(self.patience, "a claim of 2**60 bytes costs nothing"),
                raises((TooLarge, Corrupt), "2**60 bytes are TooLarge, or Corrupt once they do not come"),
            ):
                async with store.create(_MISSING, 2**60) as writer:
                    await writer.write(b"x")
            await self.check_absent(store, _MISSING, "a claim is not content")

    async def test_leaving_by_an_exception_keeps_nothing(self, make: MakeStore) -> None:
        async with make() as store:
            digest = digest_of(b"given up")
            with raises(_OnPurpose, "what is raised inside the block comes out as it is"):
                async with store.create(digest, 8) as writer:
                    await writer.write(b"given up")
                    raise _OnPurpose
            await self.check_absent(store, digest, "leaving by an exception keeps nothing")
            await self.put(store, b"given up")
            assert await store.has(digest), "what was given up can be created again"

    async def test_leaving_by_cancellation_keeps_nothing(self, make: MakeStore) -> None:
        async with make() as store:
            digest = digest_of(b"cancelled")
            with within(self.patience, "cancelling leaves the block"):
                with anyio.CancelScope() as scope:
                    async with store.create(digest, 9) as writer:
                        await writer.write(b"cancelled")
                        scope.cancel()
                        await anyio.sleep_forever()
            await self.check_absent(store, digest, "leaving by cancellation keeps nothing")
            await self.put(store, b"cancelled")
            assert await store.has(digest), "what was cancelled can be created again"

    async def test_nothing_is_to_be_seen_before_it_is_whole(self, make: MakeStore) -> None:
        async with make() as store:
            digest = digest_of(b"not yet")
            async with store.create(digest, 7) as writer:
                await writer.write(b"not")
                await self.check_absent(store, digest, "content is published when the block is left")
                await writer.write(b" yet")
                await self.check_absent(store, digest, "content is published when the block is left")
            await self.check_content(store, digest, b"not yet", "content is published when the block is left")

    async def test_creating_what_is_there_is_fine(self, make: MakeStore) -> None:
        async with make() as store:
            digest = await self.put(store, b"twice")
            with never_raises("creating what is there already is fine"):
                await self.put(store, b"twice")
            await self.check_content(store, digest, b"twice", "creating it again changes nothing")
            assert len(await self.held(store)) == 1, "one content is one entry"

    async def test_a_bad_second_creation_leaves_the_first(self, make: MakeStore) -> None:
        async with make() as store:
            digest = await self.put(store, b"right")
            try:
                async with store.create(digest, 5) as writer:
                    await writer.write(b"wrong")
            except Corrupt:
                pass
            await self.check_content(store, digest, b"right", "what is returned under a digest has that digest")
            with raises(_OnPurpose, "what is raised inside the block comes out as it is"):
                async with store.create(digest, 5) as writer:
                    await writer.write(b"ri")
                    raise _OnPurpose
            await self.check_content(store, digest, b"right", "giving up a second creation leaves the first")

    async def test_the_same_is_created_by_many_at_once(self, make: MakeStore) -> None:
        content = b"the same" * 10_000
        digest = digest_of(content)
        async with make() as store:
            inside = 0
            all_inside = anyio.Event()

            async def create() -> None:
                nonlocal inside
                with never_raises("creating the same at once is fine for each"):
                    async with store.create(digest, len(content)) as writer:
                        inside += 1
                        if inside == 5:
                            all_inside.set()
                        # A store may let them in one after another.
                        with anyio.move_on_after(0.2):
                            await all_inside.wait()
                        await writer.write(content[:1000])
                        await writer.write(content[1000:])

            with within(self.patience, "five creations of the same come to an end"):
                async with together() as group:
                    for _ in range(5):
                        group.start_soon(create)
            await self.check_content(store, digest, content, "the content of creations at once is whole")
            assert len(await self.held(store)) == 1, "one content is one entry"

    async def test_a_creation_that_is_given_up_leaves_another_at_the_same_time_alone(self, make: MakeStore) -> None:
        digest = digest_of(b"survives")
        async with make() as store:
            async with tasks() as group:
                given_up = anyio.Event()

                async def give_up() -> None:
                    try:
                        async with store.create(digest, 8) as writer:
                            await writer.write(b"surv")
                            raise _OnPurpose
                    except _OnPurpose:
                        given_up.set()

                async with store.create(digest, 8) as writer:
                    await writer.write(b"surv")
                    group.start_soon(give_up)
                    # A store that lets one in at a time has the other wait until this one is done.
                    with anyio.move_on_after(0.2):
                        await given_up.wait()
                    await writer.write(b"ives")
                with within(self.patience, "the creation that is given up comes to an end"):
                    await given_up.wait()
            await self.check_content(store, digest, b"survives", "each creation stands for itself")

    async def test_different_contents_are_created_at_once(self, make: MakeStore) -> None:
        contents = [bytes([number]) * 5000 for number in range(8)]
        async with make() as store:
            with within(self.patience, "eight creations come to an end"):
                async with together() as group:
                    for content in contents:
                        group.start_soon(self.put, store, content)
            for content in contents:
                await self.check_content(store, digest_of(content), content, "contents written at once do not mix")

    async def test_what_was_deleted_is_forgotten(self, make: MakeStore) -> None:
        async with make() as store:
            kept = await self.put(store, b"kept")
            digest = await self.put(store, b"forgotten")
            await store.delete(digest)
            await self.check_absent(store, digest, "what was deleted is not there")
            await self.check_content(store, kept, b"kept", "delete forgets one content and no other")
            with never_raises("deleting what is not there is fine"):
                await store.delete(digest)
                await store.delete(_MISSING)
            await self.put(store, b"forgotten")
            await self.check_content(store, digest, b"forgotten", "what was deleted can be created again")

    async def test_entries_are_what_is_held_with_size_and_time(self, make: MakeStore) -> None:
        async with make() as store:
            assert await self.held(store) == {}, "make() gives an empty store, which has no entries"
            before = time.time()
            sizes = {await self.put(store, b"y" * size): size for size in (0, 1, 70_000)}
            held = await self.held(store)
            after = time.time()
            assert {digest: entry.size for digest, entry in held.items()} == sizes, (
                "entries() gives what is held, each with its size in bytes"
            )
            for entry in held.values():
                assert before - 2 <= entry.used <= after + 2, (
                    "`used` is when it was last read or written, in seconds since the epoch; "
                    f"written between {before:.1f} and {after:.1f}, it says {entry.used:.1f}"
                )
            first = next(iter(sizes))
            await store.get(first, _PLENTY)
            assert (await self.held(store))[first].used >= held[first].used, "reading does not make an entry older"

    @pytest.mark.parametrize("malformed", _MALFORMED)
    async def test_what_is_not_a_digest_is_refused(self, make: MakeStore, malformed: str) -> None:
        digest = Digest(malformed)
        async with make() as store:
            try:
                there = await store.has(digest)
            except StoreError:
                there = False
            assert not there, f"nothing is held under {malformed!r}"
            with raises(StoreError, f"get of {malformed!r} raises a StoreError"):
                await store.get(digest, _PLENTY)
            with raises(StoreError, f"create of {malformed!r} raises a StoreError"):
                async with store.create(digest, 1) as writer:
                    await writer.write(b"x")
            assert await self.held(store) == {}, f"nothing is kept under {malformed!r}"

    @pytest.mark.parametrize("damage", ["turned a bit", "cut short", "made longer", "emptied"])
    async def test_what_was_damaged_is_never_returned(self, make: MakeStore, damage: str) -> None:
        content = b"precious" * 100
        damaged = {
            "turned a bit": content[:-1] + bytes([content[-1] ^ 1]),
            "cut short": content[:-1],
            "made longer": content + b"!",
            "emptied": b"",
        }[damage]
        async with make() as store:
            digest = await self.put(store, content)
            if not await self.corrupt(store, digest, damaged):
                pytest.skip("this subclass does not say how to damage what is held")
            with raises(Corrupt, f"get verifies: what was {damage} raises Corrupt"):
                await store.get(digest, _PLENTY)
            with raises(StoreError, "what is damaged stays refused"):
                await store.get(digest, _PLENTY)

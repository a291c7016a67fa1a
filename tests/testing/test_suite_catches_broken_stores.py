"""Stores that break one promise each; StoreSuite must notice."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager

import pytest

from plasm.ports import Corrupt, NotStored, StoreError, TooLarge
from plasm.testing import DictStore, StoreSuite

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One back end is enough: what is tried here is the suite."""
    return "trio"


class _Collector:
    def __init__(self) -> None:
        self.content = bytearray()

    async def write(self, piece: bytes) -> None:
        self.content += piece


class Unverified(DictStore):
    """Publishes whatever was written."""

    @asynccontextmanager
    async def create(self, digest, size):
        writer = _Collector()
        yield writer
        self.contents[digest] = bytes(writer.content)


class KeepsWhatWasGivenUp(DictStore):
    @asynccontextmanager
    async def create(self, digest, size):
        writer = _Collector()
        try:
            yield writer
        finally:
            self.contents[digest] = bytes(writer.content)


class PublishesEarly(DictStore):
    @asynccontextmanager
    async def create(self, digest, size):
        self.contents[digest] = b""
        try:
            async with super().create(digest, size) as writer:
                yield writer
        except BaseException:
            del self.contents[digest]
            raise


class CreatesOnce(DictStore):
    @asynccontextmanager
    async def create(self, digest, size):
        if digest in self.contents:
            raise StoreError("it exists")
        async with super().create(digest, size) as writer:
            yield writer


class OneCreationAtATime(DictStore):
    """Fails the second of two creations of the same, as a temporary file with a fixed name does."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: set[str] = set()

    @asynccontextmanager
    async def create(self, digest, size):
        if digest in self.begun:
            raise StoreError("somebody else is writing it")
        self.begun.add(digest)
        try:
            async with super().create(digest, size) as writer:
                yield writer
        finally:
            self.begun.discard(digest)


class ReadsUnverified(DictStore):
    async def get(self, digest, max_bytes):
        if digest not in self.contents:
            raise NotStored("no")
        return self.contents[digest]


class ReadsHowMuchItLikes(DictStore):
    async def get(self, digest, max_bytes):
        return await super().get(digest, 2**40)


class LeavesTheLastByteOut(DictStore):
    async def get(self, digest, max_bytes):
        return (await super().get(digest, max_bytes))[:-1]


class RefusesTheLargestAllowed(DictStore):
    async def get(self, digest, max_bytes):
        if len(self.contents.get(digest, b"")) >= max_bytes:
            raise TooLarge("no")
        return await super().get(digest, max_bytes)


class CallsAbsenceCorruption(DictStore):
    async def get(self, digest, max_bytes):
        if digest not in self.contents:
            raise Corrupt("no")
        return await super().get(digest, max_bytes)


class HasEverything(DictStore):
    async def has(self, digest):
        return True


class NeverDeletes(DictStore):
    async def delete(self, digest):
        pass


class DeletesOnlyOnce(DictStore):
    async def delete(self, digest):
        if digest not in self.contents:
            raise NotStored("no")
        await super().delete(digest)


class ForgetsEverything(DictStore):
    async def delete(self, digest):
        self.contents.clear()


class TakesAnyName(Unverified):
    async def get(self, digest, max_bytes):
        try:
            return self.contents[digest]
        except KeyError:
            raise NotStored("no") from None


class EntriesWithoutSize(DictStore):
    async def entries(self):
        async for entry in super().entries():
            yield dataclasses.replace(entry, size=0)


class EntriesInMilliseconds(DictStore):
    async def entries(self):
        async for entry in super().entries():
            yield dataclasses.replace(entry, used=entry.used * 1000)


BROKEN = [
    (Unverified, "test_other_content_than_the_digest_says_is_corrupt_and_not_kept", "verifies", {}),
    (Unverified, "test_less_than_was_said_is_corrupt_and_not_kept", "whole or not at all", {}),
    (Unverified, "test_another_size_than_was_said_is_refused", "TooLarge", {}),
    (Unverified, "test_a_bad_second_creation_leaves_the_first", "has that digest", {}),
    (KeepsWhatWasGivenUp, "test_leaving_by_an_exception_keeps_nothing", "keeps nothing", {}),
    (KeepsWhatWasGivenUp, "test_leaving_by_cancellation_keeps_nothing", "keeps nothing", {}),
    (PublishesEarly, "test_nothing_is_to_be_seen_before_it_is_whole", "published when the block is left", {}),
    (CreatesOnce, "test_creating_what_is_there_is_fine", "already is fine", {}),
    (OneCreationAtATime, "test_the_same_is_created_by_many_at_once", "fine for each", {}),
    (ReadsHowMuchItLikes, "test_more_than_the_caller_allows_is_too_large", "TooLarge", {}),
    (RefusesTheLargestAllowed, "test_more_than_the_caller_allows_is_too_large", "inclusive", {}),
    (LeavesTheLastByteOut, "test_what_was_created_is_returned_whole", "whole content", {"what": "a line"}),
    (CallsAbsenceCorruption, "test_what_was_never_stored_is_not_there", "NotStored", {}),
    (HasEverything, "test_what_was_never_stored_is_not_there", "never stored", {}),
    (NeverDeletes, "test_what_was_deleted_is_forgotten", "deleted is not there", {}),
    (ForgetsEverything, "test_what_was_deleted_is_forgotten", "one content and no other", {}),
    (DeletesOnlyOnce, "test_what_was_deleted_is_forgotten", "is fine", {}),
    (TakesAnyName, "test_what_is_not_a_digest_is_refused", "raises a StoreError", {"malformed": "../../etc/passwd"}),
    (EntriesWithoutSize, "test_entries_are_what_is_held_with_size_and_time", "size in bytes", {}),
    (EntriesInMilliseconds, "test_entries_are_what_is_held_with_size_and_time", "since the epoch", {}),
]


@pytest.mark.parametrize(("broken", "test", "promise", "arguments"), BROKEN)
async def test_a_store_that_breaks_a_promise_fails(catches, makes, broken, test, promise, arguments) -> None:
    await catches(StoreSuite(), test, makes(broken), promise, **arguments)


@pytest.mark.parametrize("damage", ["turned a bit", "cut short", "made longer", "emptied"])
async def test_a_store_that_returns_what_was_damaged_fails(catches, makes, damage: str) -> None:
    class Suite(StoreSuite):
        async def corrupt(self, store, digest, content):
            store.contents[digest] = content
            return True

    await catches(
        Suite(), "test_what_was_damaged_is_never_returned", makes(ReadsUnverified), "get verifies", damage=damage
    )

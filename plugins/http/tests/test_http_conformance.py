"""What every store must do, as far as one can that only reads."""

from __future__ import annotations

import pytest
from plasm_http.hooks import HttpOptions, open_http

from plasm.ports import Digest, Store, StoreError
from plasm.testing import StoreSuite, make_scope
from plasm.testing.suites.store import MakeStore

from .conftest import Provider


class TestHttp(StoreSuite):
    @pytest.fixture
    def make(self, provider: Provider) -> MakeStore:
        self.provider = provider
        options = HttpOptions(providers=(provider.url,), absent_seconds=0)
        return lambda: open_http(make_scope(), options)

    async def put(self, store: Store, content: bytes) -> Digest:
        return Digest(self.provider.put(content))

    async def corrupt(self, store: Store, digest: Digest, content: bytes) -> bool:
        self.provider.content[f"/sha256/{digest.removeprefix('sha256:')}"] = content
        return True

    # They write, or want to be told what is held: what providers have is not held here.
    test_it_says_that_it_is_writable = None
    test_pieces_of_any_size_make_one_content = None
    test_other_content_than_the_digest_says_is_corrupt_and_not_kept = None
    test_less_than_was_said_is_corrupt_and_not_kept = None
    test_another_size_than_was_said_is_refused = None
    test_a_size_that_cannot_be_takes_no_memory = None
    test_leaving_by_an_exception_keeps_nothing = None
    test_leaving_by_cancellation_keeps_nothing = None
    test_nothing_is_to_be_seen_before_it_is_whole = None
    test_creating_what_is_there_is_fine = None
    test_a_bad_second_creation_leaves_the_first = None
    test_the_same_is_created_by_many_at_once = None
    test_a_creation_that_is_given_up_leaves_another_at_the_same_time_alone = None
    test_different_contents_are_created_at_once = None
    test_what_was_deleted_is_forgotten = None
    test_entries_are_what_is_held_with_size_and_time = None

    async def test_it_is_read_and_says_so(self, make: MakeStore) -> None:
        async with make() as store:
            assert store.writable is False
            digest = await self.put(store, b"as it is")
            with pytest.raises(StoreError, match="providers are read from"):
                async with store.create(digest, 8) as writer:
                    await writer.write(b"as it is")
            with pytest.raises(StoreError, match="providers are read from"):
                await store.delete(digest)
            assert await self.held(store) == {}
            await self.check_content(store, digest, b"as it is", "what cannot be written stays as it is")

"""What comes from strangers is what the digest says, or nothing; and nobody is asked more than it takes."""

from __future__ import annotations

import hashlib
import logging
import socket
import subprocess
import sys

import anyio
import anyio.to_thread
import pytest
from plasm_http.hooks import HttpOptions, open_http, plasm_stores
from plasm_http.providers import FAILURE_SECONDS, LIE_SECONDS, MOST_ABSENT, MOST_FOUND, Providers

from plasm.drivers import DriverUnavailable
from plasm.jobs.modules import read_module
from plasm.ports import Corrupt, Digest, NotStored, StoreError, TooLarge
from plasm.testing import DictStore, make_scope

from .conftest import Provide, Provider

pytestmark = pytest.mark.anyio
CONTENT = b"\0asm" + bytes(range(256)) * 500
UNKNOWN = Digest("sha256:" + "0" * 64)
PLENTY = 2**24


def opened(*providers: Provider, timeout_seconds: float = 10.0, allows=None, **options):
    scope = make_scope(allows=allows) if allows else make_scope()
    urls = tuple(each.url for each in providers)
    return open_http(scope, HttpOptions(providers=urls, timeout_seconds=timeout_seconds, **options))


@pytest.fixture
def closed() -> Provider:
    """A provider whose port takes no connection."""
    closed = Provider()
    closed.stop()
    return closed


BAD = {
    "lie": (Corrupt, "other content than its name says"),
    "longer": (Corrupt, "other content than its name says"),
    "redirect": (StoreError, "redirects elsewhere, which is not followed"),
    "busy": (StoreError, "answers with status 503"),
    "garbage": (StoreError, "does not speak HTTP"),
    "truncate": (StoreError, "broke off after"),
    "stall": (StoreError, "timed out"),
    "endless": (TooLarge, "has more than 200000 bytes"),
}


@pytest.mark.parametrize("behaviour", BAD)
async def test_where_one_misbehaves_another_is_asked(provide: Provide, behaviour: str):
    bad, good = provide(behaviour), provide()
    for each in (bad, good):
        digest = Digest(each.put(CONTENT))
    async with opened(bad, good, timeout_seconds=0.3 if behaviour == "stall" else 10) as store:
        assert await store.get(digest, 200_000) == CONTENT
    assert (len(bad.requests), len(good.requests)) == (1, 1)


@pytest.mark.parametrize("behaviour", BAD)
async def test_with_nobody_else_there_is_nothing_but_the_reason(provide: Provide, behaviour: str):
    bad = provide(behaviour)
    digest = Digest(bad.put(CONTENT))
    kind, reason = BAD[behaviour]
    async with opened(bad, timeout_seconds=0.3 if behaviour == "stall" else 10) as store:
        with pytest.raises(kind, match=reason) as caught:
            await store.get(digest, 200_000)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("behaviour", ["honest", "no ranges"])
@pytest.mark.parametrize("content", [CONTENT, b"x", b""], ids=["long", "short", "empty"])
async def test_it_says_what_is_there_without_reading_it(provide: Provide, behaviour: str, content: bytes):
    provider = provide(behaviour)
    async with opened(provider) as store:
        assert await store.has(Digest(provider.put(content)))
        assert not await store.has(UNKNOWN)


@pytest.mark.parametrize("behaviour", ["redirect", "busy", "garbage"])
async def test_one_that_makes_no_sense_has_nothing_for_certain(provide: Provide, behaviour: str):
    bad = provide(behaviour)
    async with opened(bad) as store:
        with pytest.raises(StoreError):
            await store.has(Digest(bad.put(CONTENT)))


async def test_content_beyond_the_options_is_not_taken(provider: Provider):
    digest = Digest(provider.put(CONTENT))
    async with opened(provider, max_bytes=len(CONTENT) - 1) as store:
        assert not await store.has(digest)
        with pytest.raises(TooLarge):
            await store.get(digest, PLENTY)
    async with opened(provider, max_bytes=len(CONTENT)) as store:
        assert await store.get(digest, PLENTY) == CONTENT


async def test_a_liar_is_not_asked_again(provide: Provide):
    liar, good = provide("lie"), provide()
    for content in (CONTENT, b"another"):
        liar.put(content)
        good.put(content)
    async with opened(liar, good) as store:
        for content in (CONTENT, b"another"):
            digest = Digest("sha256:" + hashlib.sha256(content).hexdigest())
            assert await store.get(digest, PLENTY) == content
            assert await store.has(digest)
    assert len(liar.requests) == 1


async def test_what_nobody_has_is_asked_for_once_in_a_while(provider: Provider):
    async with opened(provider, absent_seconds=3600) as store:
        for _ in range(5):
            assert not await store.has(UNKNOWN)
            with pytest.raises(NotStored):
                await store.get(UNKNOWN, PLENTY)
    assert len(provider.requests) == 1


async def test_many_who_ask_at_once_for_what_nobody_has_cost_as_many_questions_as_are_asked_at_once(
    provider: Provider,
):
    async with opened(provider, absent_seconds=3600) as store, anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(store.has, UNKNOWN)
    assert len(provider.requests) <= 4


async def test_one_that_cannot_be_reached_is_not_taken_for_one_that_has_nothing(provider: Provider, closed: Provider):
    async with opened(provider, closed) as store:
        for _ in range(3):
            with pytest.raises(StoreError, match="Connection refused") as caught:
                await store.get(UNKNOWN, PLENTY)
            assert not isinstance(caught.value, NotStored)
        late = Digest(provider.put(CONTENT))
        assert await store.get(late, PLENTY) == CONTENT


async def test_no_more_providers_are_asked_than_the_options_say(provide: Provide):
    crowd = [provide() for _ in range(4)]
    async with opened(*crowd, tries=2) as store:
        assert not await store.has(UNKNOWN)
    assert [len(each.requests) for each in crowd] == [1, 1, 0, 0]


async def test_who_had_something_last_is_asked_first(provide: Provide):
    poor, rich = provide(), provide()
    async with opened(poor, rich) as store:
        for content in (b"one", b"two", b"three"):
            assert await store.get(Digest(rich.put(content)), PLENTY) == content
    assert (len(poor.requests), len(rich.requests)) == (1, 3)


async def test_no_address_that_the_profile_forbids_is_connected_to(provider: Provider):
    digest = Digest(provider.put(CONTENT))
    async with opened(provider, allows=lambda ip: False) as store:
        with pytest.raises(StoreError, match="no address that may be connected to"):
            await store.get(digest, PLENTY)
        with pytest.raises(StoreError):
            await store.has(digest)
    assert provider.requests == []


async def test_cancelling_hangs_up_long_before_the_deadline(provide: Provide):
    provider = provide("stall")
    digest = Digest(provider.put(CONTENT))
    async with opened(provider, timeout_seconds=3000) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(store.get, digest, PLENTY)
        await anyio.to_thread.run_sync(provider.stalled.wait)
        tasks.cancel_scope.cancel()
    with anyio.fail_after(30):
        await anyio.to_thread.run_sync(provider.hung_up.wait)


async def test_the_first_writable_store_keeps_what_came(provider: Provider):
    digest = Digest(provider.put(CONTENT))
    kept = DictStore()
    async with opened(provider) as store:
        log = logging.getLogger("test")
        assert await read_module([kept, store], digest, PLENTY, log) == CONTENT
        provider.content.clear()
        assert await read_module([kept, store], digest, PLENTY, log) == CONTENT
    assert len(provider.requests) == 1


async def test_without_a_provider_it_says_where_to_name_one():
    with pytest.raises(DriverUnavailable, match="no provider is named") as caught:
        async with opened():
            pass
    assert caught.value.mend == 'write providers = ["http://HOST:PORT/"] into the table [store.http]'


@pytest.mark.parametrize(
    "url", ["", "provider:8080", "ftp://h/", "http://u:p@h/", "http://h/?x=1", "http://h/#x", "http://h/" + "x" * 2000]
)
async def test_what_is_no_providers_url_is_refused_at_once(url: str):
    with pytest.raises(DriverUnavailable) as caught:
        async with open_http(make_scope(), HttpOptions(providers=(url,))):
            pass
    assert "providers" in caught.value.mend


async def test_providers_may_serve_below_a_path_and_the_slash_may_be_left_out(provider: Provider):
    digest = Digest(provider.put(CONTENT))
    name = digest.removeprefix("sha256:")
    provider.content[f"/boot/sha256/{name}"] = provider.content.pop(f"/sha256/{name}")
    async with open_http(make_scope(), HttpOptions(providers=(provider.url + "boot",))) as store:
        assert await store.get(digest, PLENTY) == CONTENT


async def test_over_ipv6_too(anyio_backend: str):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
            port = listener.getsockname()[1]
    except OSError:
        pytest.skip("no IPv6 here")
    async with open_http(make_scope(), HttpOptions(providers=(f"http://[::1]:{port}/",))) as store:
        with pytest.raises(StoreError, match=r"http://\[::1\]:\d+: Connection refused"):
            await store.get(UNKNOWN, PLENTY)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_rest_and_memory_end():
    clock = Clock()
    providers = Providers(["a", "b", "a"], 15, now=clock)
    assert providers.awake() == ["a", "b"]
    providers.failed("a", "gone")
    providers.lied("b", "other")
    assert (providers.awake(), providers.resting()) == ([], ["gone", "other"])
    clock.now += FAILURE_SECONDS
    assert (providers.awake(), providers.resting()) == (["a"], ["other"])
    clock.now += LIE_SECONDS
    assert providers.awake() == ["a", "b"]
    providers.note_absent("0")
    assert providers.is_absent("0")
    clock.now += 15
    assert not providers.is_absent("0")


def test_what_is_remembered_of_absent_content_is_bounded():
    providers = Providers(["a"], 15, now=Clock())
    for number in range(MOST_ABSENT + 1):
        providers.note_absent(str(number))
    assert not providers.is_absent("0")
    assert providers.is_absent("1")
    assert providers.is_absent(str(MOST_ABSENT))


def test_who_is_found_may_have_what_was_absent_and_strangers_are_bounded():
    providers = Providers(["http://named/"], 15.0)
    providers.note_absent("0" * 64)
    providers.found("http://found/")
    assert not providers.is_absent("0" * 64)
    assert providers.awake() == ["http://named/", "http://found/"]
    for number in range(100):
        providers.found(f"http://{number}/")
    assert len(providers) == 1 + MOST_FOUND


def test_who_is_found_takes_the_place_of_one_that_was_found_and_does_not_answer():
    clock = Clock()
    providers = Providers(["named"], 15, now=clock)
    for number in range(MOST_FOUND):
        providers.found(str(number))
    for silent in ("named", "3", "5"):
        providers.failed(silent, "gone")
    for new in ("new", "newer", "too many"):
        providers.found(new)
    # They were being asked meanwhile.
    providers.failed("3", "gone")
    providers.lied("5", "other")
    providers.served("3")
    providers.had_nothing("5")
    clock.now += FAILURE_SECONDS
    awake = providers.awake()
    assert len(awake) == 1 + MOST_FOUND
    assert {"named", "new", "newer"} <= set(awake)
    assert not {"3", "5", "too many"} & set(awake)
    assert providers.resting() == []


async def test_who_had_nothing_stands_behind_those_that_were_not_asked(provide: Provide):
    poor, rich = [provide() for _ in range(2)], provide()
    digest = Digest(rich.put(CONTENT))
    async with opened(*poor, rich, tries=2, absent_seconds=0) as store:
        with pytest.raises(NotStored):
            await store.get(digest, PLENTY)
        assert await store.get(digest, PLENTY) == CONTENT


def test_describing_the_driver_imports_no_http():
    code = "import sys, plasm_http.hooks as h; h.plasm_stores(); sys.exit('http.client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_profile_needs_to_ban_it():
    (driver,) = plasm_stores()
    assert (driver.offers, driver.needs) == (frozenset(), frozenset())
    assert driver.backends == {"asyncio", "trio"}

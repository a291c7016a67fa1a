"""The store ``http``."""

from __future__ import annotations

import platform
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from plasm_fetching.http import Absent, FetchError, InvalidUrl, TooMuch

from plasm.drivers import AddressFilter, DriverUnavailable, Scope
from plasm.errors import ungrouped
from plasm.ports import (
    BootTopic,
    Corrupt,
    Digest,
    Discovery,
    Entry,
    NotStored,
    Store,
    StoreError,
    StoreWriter,
    TooLarge,
    Transport,
)
from plasm_http.asking import Lied, Question, parse_base
from plasm_http.hooks import HttpOptions
from plasm_http.looking import Looking
from plasm_http.providers import Providers

FETCHED_AT_ONCE: Final = 4
LOOKED_FOR_AT_ONCE: Final = 4
"""Apart from what is fetched: a short question does not wait for long content."""
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)

T = TypeVar("T")


class HttpStore:
    """Content at providers, verified when it comes. Nothing is kept, and nothing can be written."""

    writable = False

    def __init__(
        self, providers: Providers, options: HttpOptions, allows: AddressFilter, looking: Looking | None = None
    ) -> None:
        self._providers = providers
        self._seeking = looking
        self._options = options
        self._allows = allows
        self._fetching = anyio.CapacityLimiter(FETCHED_AT_ONCE)
        self._looking = anyio.CapacityLimiter(LOOKED_FOR_AT_ONCE)

    async def has(self, digest: Digest) -> bool:
        """Whether a provider says that it has the content, and that it is short enough. Raises :exc:`StoreError`."""
        try:
            # Whoever offers a job waits for this: not one deadline after another.
            with anyio.fail_after(self._options.timeout_seconds):
                await self._first(digest, lambda question: question.size(self._options.max_bytes), self._looking)
        except (NotStored, TooLarge):
            return False
        except TimeoutError:
            raise StoreError(f"no provider answered within {self._options.timeout_seconds:g} s") from None
        return True

    async def get(self, digest: Digest, max_bytes: int) -> bytes:
        """The content from the first provider that has it whole and true.

        Raises :exc:`NotStored` where every provider that was asked says that it has none, :exc:`TooLarge`,
        :exc:`Corrupt` where what came was something else, or :exc:`StoreError` where a provider could not be asked.
        """
        most = min(max_bytes, self._options.max_bytes)
        served, content = await self._first(digest, lambda question: question.content(most), self._fetching)
        self._providers.served(served)
        return content

    async def _first(
        self, digest: Digest, ask: Callable[[Question], T], limiter: anyio.CapacityLimiter
    ) -> tuple[str, T]:
        """The first provider with an answer to `ask`, and that. Raises :exc:`StoreError`."""
        hexadecimal = _hexadecimal(digest)
        problem: StoreError | None = None
        if self._seeking is not None and not len(self._providers):
            await self._seeking.somebody()
        async with limiter:
            # Asked in here: whoever waited for another to ask the same has its answer.
            if self._providers.is_absent(hexadecimal):
                raise NotStored(f"no provider had {digest} a short while ago")
            unasked = self._providers.resting()
            for base in self._providers.awake()[: self._options.tries]:
                question = Question(base, hexadecimal, self._allows, self._options.timeout_seconds)
                try:
                    return base, await _in_thread(question, ask)
                except Absent:
                    self._providers.had_nothing(base)
                except TooMuch as error:
                    problem = problem or TooLarge(str(error))
                except Lied as error:
                    self._providers.lied(base, str(error))
                    problem = Corrupt(str(error))
                except FetchError as error:
                    self._providers.failed(base, str(error))
                    problem = problem or StoreError(str(error))
            if problem is None and unasked:
                problem = StoreError(f"no provider that can be asked now has {digest}: {unasked[0]}")
            if problem is None:
                self._providers.note_absent(hexadecimal)
                problem = NotStored(f"no provider has {digest}")
        raise problem

    @asynccontextmanager
    async def create(self, digest: Digest, size: int) -> AsyncIterator[StoreWriter]:
        """Raises :exc:`StoreError`, always."""
        _hexadecimal(digest)
        raise StoreError("providers are read from: content is put there by whoever publishes it")
        yield

    async def delete(self, digest: Digest) -> None:
        """Raises :exc:`StoreError`, always."""
        _hexadecimal(digest)
        raise StoreError("providers are read from: content is removed there by whoever publishes it")

    async def entries(self) -> AsyncIterator[Entry]:
        """Nothing: what providers have is not held here."""
        return
        yield


async def _in_thread(question: Question, ask: Callable[[Question], T]) -> T:
    try:
        # Its own token: the caller holds one of a limiter that bounds how many there are.
        return await anyio.to_thread.run_sync(
            partial(ask, question), abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
        )
    except anyio.get_cancelled_exc_class():
        question.abort()
        raise


def _hexadecimal(digest: Digest) -> str:
    """The 64 digits of `digest`. Raises :exc:`StoreError`."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise StoreError(f"{digest[:80]!a} is no digest, which is sha256: and 64 hexadecimal digits")
    return match[1]


@asynccontextmanager
async def http_store(scope: Scope, options: HttpOptions) -> AsyncIterator[Store]:
    """The providers that `options` name, and those that are found where a discovery is open.

    Raises :exc:`DriverUnavailable` where nobody is named and nobody can be found, or where one has no URL that can be
    asked.
    """
    discoveries = scope.require_all(Discovery) if options.channel else ()
    if not (options.providers or discoveries):
        raise DriverUnavailable(
            "no provider is named, and no discovery is open",
            'write providers = ["http://HOST:PORT/"] into the table [store.http]',
        )
    try:
        bases = [parse_base(url) for url in options.providers]
    except InvalidUrl as error:
        raise DriverUnavailable(str(error), "mend providers in the table [store.http]") from None
    providers = Providers(bases, options.absent_seconds)
    if not discoveries:
        yield HttpStore(providers, options, scope.allows)
        return
    looking = Looking(providers)
    topic = BootTopic(options.channel, options.arch or _architecture())
    with ungrouped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(looking.run, scope.require_all(Transport), discoveries, topic, scope.allows)
            yield HttpStore(providers, options, scope.allows, looking)
            tasks.cancel_scope.cancel()


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)


_: type[Store] = HttpStore

"""`zeroconf` in a thread with an event loop of its own, asked from the node's.

Everything that touches `zeroconf` runs on its loop. The node's loop waits for it in a worker thread, with a deadline,
so that neither can hold the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import zeroconf
from zeroconf import DNSQuestionType, IPVersion, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo

from plasm.ports import DiscoveryError

T = TypeVar("T")

ANSWER_SECONDS = 5.0
"""`zeroconf` answers within milliseconds; this is for a machine under heavy load."""
GOODBYE_SECONDS = 2.0
"""Three goodbyes take 0.25 s; on a machine under load the first one is what counts."""
CLOSE_SECONDS = 3.0
"""Goodbyes take 0.25 s and joining the thread little more; a thread that hangs is left behind, as a daemon."""
RESOLVE_SECONDS = 3.0
MAX_RESOLVING = 64
"""Instances whose TXT record is asked for at once; it nearly always comes with the first answer."""
MAX_THREADS = 8


class Engine:
    """A responder and querier. Use :func:`open_engine`."""

    def __init__(self, responder: Zeroconf, limiter: anyio.CapacityLimiter) -> None:
        self._zeroconf = responder
        self._limiter = limiter
        self._broadcasts: dict[str, asyncio.Future[Any]] = {}

    async def _call(self, work: Callable[[], Coroutine[Any, Any, T]], seconds: float = ANSWER_SECONDS) -> T:
        loop = self._zeroconf.loop
        assert loop is not None

        def wait() -> T:
            future = asyncio.run_coroutine_threadsafe(work(), loop)
            try:
                return future.result(seconds)
            finally:
                future.cancel()

        try:
            # Not abandoned when cancelled: it ends by its own deadline, and leaves nothing half done.
            return await anyio.to_thread.run_sync(wait, limiter=self._limiter)
        except TimeoutError:
            raise DiscoveryError("mDNS does not answer; restart the node") from None
        except (zeroconf.Error, OSError, RuntimeError, KeyError) as error:
            raise DiscoveryError(f"mDNS failed: {type(error).__name__}") from error

    async def register(self, info: ServiceInfo) -> None:
        """Announce `info` at once and answer for it. Raises :exc:`DiscoveryError`."""

        async def register() -> None:
            # No probing: the name holds the node's own key, so no other responder uses it (RFC 6762, section 8.1),
            # and whoever claimed it could otherwise keep this node from being found.
            announcing = await self._zeroconf.async_register_service(info, cooperating_responders=True)
            self._broadcast(info, announcing)

        await self._call(register)

    async def update(self, info: ServiceInfo) -> None:
        """Announce that the records of `info` have changed. Raises :exc:`DiscoveryError`."""

        async def update() -> None:
            self._broadcast(info, await self._zeroconf.async_update_service(info))

        await self._call(update)

    async def unregister(self, info: ServiceInfo) -> None:
        """Say goodbye (RFC 6762, section 10.1), three times. Raises :exc:`DiscoveryError`."""

        async def unregister() -> None:
            goodbye = await self._zeroconf.async_unregister_service(info)
            self._withdraw(info)
            self._broadcast(info, goodbye)
            await goodbye

        with anyio.CancelScope(shield=True):
            await self._call(unregister, GOODBYE_SECONDS)

    def _withdraw(self, info: ServiceInfo) -> None:
        """Take back answers that wait: one that went out after the goodbye, up to 1.1 s later, would undo it."""
        for waiting in (self._zeroconf.out_queue, self._zeroconf.out_delay_queue):
            for group in waiting.queue:
                # Pointers to the service have its name as their alias.
                ours = [each for each in group.answers if info.key in (each.key, getattr(each, "alias_key", None))]
                for record in ours:
                    del group.answers[record]

    def _broadcast(self, info: ServiceInfo, broadcast: Awaitable[Any]) -> None:
        # What is still being repeated of an earlier announcement would contradict this one.
        earlier = self._broadcasts.get(info.key)
        if earlier is not None:
            earlier.cancel()
        self._broadcasts[info.key] = asyncio.ensure_future(broadcast)

    @asynccontextmanager
    async def browse(
        self, service_type: str, appeared: Callable[[str, bytes], None], gone: Callable[[str], None]
    ) -> AsyncIterator[None]:
        """Call `appeared` with instance name and TXT record, and `gone`, on the loop of `zeroconf`, until left.

        Raises :exc:`DiscoveryError`.
        """
        browsing: list[_Browsing] = []

        async def start() -> None:
            browsing.append(_Browsing(self._zeroconf, service_type, appeared, gone))

        async def stop() -> None:
            for each in browsing:
                await each.stop()

        try:
            await self._call(start)
            yield
        finally:
            with anyio.CancelScope(shield=True), suppress(DiscoveryError):
                await self._call(stop, GOODBYE_SECONDS)


class _Browsing:
    """One browser, with the requests for what did not come by itself. Lives on the loop of `zeroconf`."""

    def __init__(
        self,
        responder: Zeroconf,
        service_type: str,
        appeared: Callable[[str, bytes], None],
        gone: Callable[[str], None],
    ) -> None:
        self._zeroconf = responder
        self._appeared = appeared
        self._gone = gone
        self._resolving: dict[str, asyncio.Task[None]] = {}
        # Multicast questions alone: where several processes share port 5353 the kernel hands a unicast answer to any.
        self._browser = AsyncServiceBrowser(
            responder, service_type, handlers=[self._changed], question_type=DNSQuestionType.QM
        )

    async def stop(self) -> None:
        for task in self._resolving.values():
            task.cancel()
        await self._browser.async_cancel()

    def _changed(self, *, service_type: str, name: str, state_change: ServiceStateChange, **_: object) -> None:
        if state_change is ServiceStateChange.Removed:
            self._gone(name)
            return
        try:
            info = AsyncServiceInfo(service_type, name)
        except zeroconf.Error:
            return  # any name can be claimed to be of this type
        info.load_from_cache(self._zeroconf)
        if info.text:
            self._appeared(name, info.text)
        elif name not in self._resolving and len(self._resolving) < MAX_RESOLVING:
            self._resolving[name] = asyncio.ensure_future(self._resolve(info, name))

    async def _resolve(self, info: AsyncServiceInfo, name: str) -> None:
        try:
            with suppress(zeroconf.Error):
                await info.async_request(self._zeroconf, RESOLVE_SECONDS * 1000, DNSQuestionType.QM)
            if info.text:
                self._appeared(name, info.text)
        finally:
            del self._resolving[name]


def _version(interfaces: Sequence[str]) -> IPVersion:
    kinds = {":" in interface for interface in interfaces}
    if len(kinds) > 1:
        return IPVersion.All
    return IPVersion.V6Only if True in kinds else IPVersion.V4Only


async def _follow(responder: Zeroconf, interfaces: Callable[[], list[str]], every: float, log: logging.Logger) -> None:
    used: list[str] = []
    while True:
        try:
            usable = interfaces()
            if used and usable != used:
                await responder.async_update_interfaces(usable, _version(usable))
            used = usable
        except (DiscoveryError, OSError, RuntimeError, zeroconf.Error) as error:
            log.debug("mdns: the interfaces stay as they were: %s", error)
        await asyncio.sleep(every)


@asynccontextmanager
async def open_engine(interfaces: Callable[[], list[str]], every: float, log: logging.Logger) -> AsyncIterator[Engine]:
    """An engine on the addresses that `interfaces` returns, which is asked again `every` so many seconds.

    Raises :exc:`DiscoveryError` where there are none or port 5353 cannot be shared.
    """
    limiter = anyio.CapacityLimiter(MAX_THREADS)

    def start() -> Zeroconf:
        usable = interfaces()
        return Zeroconf(interfaces=usable, ip_version=_version(usable), use_asyncio=False)

    try:
        responder = await anyio.to_thread.run_sync(start, limiter=limiter)
    except (OSError, RuntimeError) as error:
        raise DiscoveryError(
            f"mDNS cannot use UDP port 5353 ({error}); let other responders share it (avahi: disallow-other-stacks=no)"
        ) from error
    assert responder.loop is not None
    following = asyncio.run_coroutine_threadsafe(_follow(responder, interfaces, every, log), responder.loop)
    try:
        yield Engine(responder, limiter)
    finally:
        following.cancel()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await anyio.to_thread.run_sync(responder.close, abandon_on_cancel=True)

"""A mirror: what a publisher signed, fetched from any provider, verified, and offered without a key of its own."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
from plasm_fetching.artifact import Artifact
from plasm_fetching.events import Dropped, Event
from plasm_fetching.fetching import fetch
from plasm_fetching.http import FetchError, Unreachable, read
from plasm_fetching.standing import Standing
from plasm_trust import layout
from plasm_trust.client import PINNED, TrustClient, pin
from plasm_trust.hashing import FileIdentity
from plasm_trust.mirroring import mirror
from plasm_trust.parsing import MAX_BYTES
from plasm_trust.published import Published
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.whole_files import read_capped

from plasm.drivers import AddressFilter
from plasm.errors import PlasmError
from plasm_provider.catalog import Catalog
from plasm_provider.offer import State
from plasm_provider.sources.bases import Bases
from plasm_provider.sources.source import Complaints

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

SPARE_BYTES: Final = 2**30
"""Of the disk that a mirror leaves free, or a tenth of it where that is less: sizes are the publisher's word, and
others live on that disk too."""
REFRESH_SECONDS: Final = 60.0
READ_SECONDS: Final = 5.0
"""For one file of metadata; also how long the end may have to wait for it."""


class Mirrored:
    """Follows what is signed under the root that is pinned in `home`; keeps a copy there and offers that.

    What is new is offered when every artifact of it is there. What was there before stays meanwhile, and while nobody
    can be asked. The first time it pins `root`, a file, or else the one that its user has `pinned` already; where
    there is neither, `how_to_pin` is what people are told. Raises :exc:`~plasm.errors.PlasmError` without a `home`.
    """

    def __init__(
        self,
        home: Path | None,
        bases: Bases,
        log: logging.Logger,
        *,
        how_to_pin: str,
        root: Path | None = None,
        pinned: Path | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
        allows: AddressFilter | None = None,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self.refused: Mapping[str, str] = {}
        self.notes: list[str] = []
        if home is None:
            raise PlasmError(
                "nothing may be written here, and a mirror keeps a copy of what it serves", "choose another profile"
            )
        self._home = home / "mirror"
        self._client = self._home / "client"
        self._repository = self._home / "repository"
        self._bases = bases
        self._log = log
        self._how_to_pin = how_to_pin
        self._root = root
        self._pinned = pinned
        self._refresh_seconds = refresh_seconds
        self._spare_bytes = spare_bytes
        self._allows = allows
        self._standing = Standing(self._home / "standing.json")
        self._complaints: dict[str, Complaints] = {}
        self._stop = threading.Event()
        self._earlier: Published | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        fingerprint = await anyio.to_thread.run_sync(self._pin)
        self.notes = [f"mirrors what is signed under the root with SHA-256 {fingerprint}, with no key of its own"]
        yield

    def _pin(self) -> str:
        try:
            self._home.mkdir(mode=0o700, exist_ok=True)
            root = self._root
            if root is None:
                known = (self._client / PINNED, self._pinned)
                root = next((path for path in known if path is not None and path.exists()), None)
            if root is None:
                raise TrustRefused(Reason.NOT_PINNED, "no root of trust is pinned in this home", self._how_to_pin)
            return pin(self._client, read_capped(root, MAX_BYTES["root"]))
        except OSError as error:
            raise PlasmError(f"the root of trust cannot be read: {error}", "--root names its file") from error

    async def follow(self, catalog: Catalog, *, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_threads)
            started = await self._offer_what_is_there(catalog)
            if started:
                task_status.started()
            while True:
                asked = self._bases.all()
                self._complaints = {url: self._complaints.get(url, Complaints(self._log)) for url in asked}
                for base_url in asked:
                    await self._refresh(base_url, catalog)
                await catalog.look()
                if not started and catalog.offer.published is not None:
                    started = True
                    task_status.started()
                with anyio.move_on_after(self._refresh_seconds):
                    await self._bases.news()

    async def _end_threads(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._stop.set()

    async def _offer_what_is_there(self, catalog: Catalog) -> bool:
        try:
            published = await anyio.to_thread.run_sync(Published.load, self._repository)
        except TrustRefused as error:
            if error.reason is not Reason.INCOMPLETE:
                self._log.warning("what was mirrored before is not offered: %s", error)
            return False
        await catalog.publish(published, self._repository / layout.TARGETS)
        return True

    async def _refresh(self, base_url: str, catalog: Catalog) -> None:
        complaints = self._complaints[base_url]
        try:
            published, fetched = await anyio.to_thread.run_sync(partial(self._mirror, base_url, catalog))
        except (FetchError, TrustRefused, PlasmError, OSError) as error:
            self._bases.failed(base_url)
            complaints.say(f"nothing new from {base_url}: {error}")
            return
        complaints.clear()
        self._bases.served(base_url)
        before = catalog.offer.published
        if before is None or before.versions != published.versions:
            self._log.info("%s has %s", base_url, _describe(published))
        self.refused = published.refused
        await catalog.publish(published, self._repository / layout.TARGETS, fetched)
        if before is not None and before.artifacts != published.artifacts:
            self._earlier = before
        await anyio.to_thread.run_sync(self._forget, published)

    def _mirror(self, base_url: str, catalog: Catalog) -> tuple[Published, dict[str, FileIdentity]]:
        fetched: dict[str, FileIdentity] = {}

        def before(published: Published) -> None:
            held = {
                holding.artifact
                for holding in catalog.offer.holdings.values()
                if holding.state is State.VERIFIED and holding.identity == self._identity(holding.artifact)
            }
            missing = [artifact for artifact in published.artifacts.values() if artifact not in held]
            self._check_room(missing)
            for artifact in missing:
                fetched[artifact.path] = self._fetch(artifact)

        client = TrustClient(self._client, self._read)
        published = mirror(client, base_url, self._repository, before=before)
        if client.clock_note is not None:
            self._log.warning("%s", client.clock_note)
        return published, fetched

    def _check_room(self, missing: Sequence[Artifact]) -> None:
        """Raises :exc:`PlasmError` where what is signed would fill the disk: nothing of it is fetched then."""
        disk = os.statvfs(self._home)
        free = disk.f_bavail * disk.f_frsize
        spare = min(self._spare_bytes, disk.f_blocks * disk.f_frsize // 10)
        # One content may be signed under several names.
        wanted = sum({each.sha256: each.size for each in missing}.values())
        # A file system that is nothing but memory (ramfs) gives no figures.
        if disk.f_blocks and wanted > max(0, free - spare):
            raise PlasmError(
                f"what is signed needs {wanted} bytes more, and {max(0, free - spare)} may be taken of {self._home}:"
                f" {spare} stay free",
                "make room, or mirror to another --home",
            )

    def _read(self, url: str, max_bytes: int) -> bytes:
        if self._stop.is_set():
            raise Unreachable("stopped")
        return read(url, max_bytes=max_bytes, timeout=READ_SECONDS, allows=self._allows)

    def _fetch(self, artifact: Artifact) -> FileIdentity:
        target = self._repository / layout.TARGETS / layout.hashed_name(artifact)
        target.parent.mkdir(parents=True, exist_ok=True)
        sources = [layout.artifact_url(base_url, artifact) for base_url in self._bases.all()]
        result = fetch(
            artifact,
            sources,
            target,
            report=self._report,
            stop=self._stop,
            standing=self._standing,
            allows=self._allows,
        )
        self._standing.save()
        brought = len(result.by_source)
        self._log.info("fetched %s: %d bytes from %d providers", artifact.path, artifact.size, brought)
        return FileIdentity.of(target.lstat())

    def _report(self, event: Event) -> None:
        if isinstance(event, Dropped):
            self._log.warning("%s is asked no more: %s", event.source, event.reason)

    def _identity(self, artifact: Artifact) -> FileIdentity | None:
        file = layout.artifact_file(self._repository / layout.TARGETS, artifact)
        return FileIdentity.of(file.lstat()) if file is not None else None

    def _forget(self, now: Published) -> None:
        """Remove the artifacts of neither this state nor the one before: a client may still be fetching from that."""
        states = [state for state in (self._earlier, now) if state is not None]
        wanted = {layout.hashed_name(each) for state in states for each in state.artifacts.values()}
        targets = self._repository / layout.TARGETS
        for file in targets.glob("*/*/*"):
            if file.relative_to(targets).as_posix() not in wanted:
                file.unlink(missing_ok=True)


def _describe(published: Published) -> str:
    roles = {name: version for name, version in published.versions.items() if layout.is_channel(name)}
    return ", ".join(f"{name} {version}" for name, version in sorted(roles.items())) or "no channel"

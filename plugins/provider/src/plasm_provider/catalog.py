"""Keeps the offer true: looks at files, hashes them in the background, and makes a new offer when something changes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from plasm_fetching.artifact import Artifact
from plasm_trust import layout
from plasm_trust.hashing import FileIdentity
from plasm_trust.published import Published

from plasm_provider.files import identity_of, open_beneath, sha256_of
from plasm_provider.known import KnownHashes
from plasm_provider.offer import Holding, Offer, State

T = TypeVar("T")


@dataclass(frozen=True)
class Hashing:
    """How far the file is that is being hashed, in bytes."""

    path: str
    done: int
    total: int


class Catalog:
    """The offer, and how far its making is. Others read :attr:`offer` and :attr:`hashing` from any thread."""

    def __init__(self, known: KnownHashes, log: logging.Logger) -> None:
        self.offer = Offer()
        self.hashing: Hashing | None = None
        self._known = known
        self._log = log
        self._news = anyio.Event()
        self._busy = anyio.Lock()
        self._limiter = anyio.CapacityLimiter(1)

    @property
    def news(self) -> anyio.Event:
        """Is set when the offer becomes another one than it is now."""
        return self._news

    async def publish(
        self, published: Published, targets: Path, hashed: Mapping[str, FileIdentity] | None = None
    ) -> None:
        """Offer what is signed in `published` from the folder `targets`, and check every file of it.

        `hashed` are files that were hashed on the way here and found to be what is signed, by target path.
        """
        async with self._busy:
            for path, identity in (hashed or {}).items():
                if path in published.artifacts:
                    self._known.put(identity, published.artifacts[path].sha256)
            await self._look(published, targets)

    async def look(self) -> None:
        """Notice what has changed in the folder, and hash what is new."""
        async with self._busy:
            if self.offer.published is not None and self.offer.targets is not None:
                await self._look(self.offer.published, self.offer.targets)

    def progress(self, path: str, done: int, total: int) -> None:
        """Of the file that is being hashed; for worker threads, where it is also the place to be cancelled."""
        anyio.from_thread.check_cancelled()
        self.hashing = Hashing(path, done, total) if done < total else None

    async def _look(self, published: Published, targets: Path) -> None:
        artifacts = published.artifacts
        found = await self._in_thread(lambda: {path: self._glance(targets, each) for path, each in artifacts.items()})
        offer = Offer(targets=targets, published=published, holdings=found, retired=self._retired(published, targets))
        self._offer(offer)
        for holding in found.values():
            if holding.state is State.WAITING:
                hashed = await self._in_thread(partial(self._hash, targets, holding))
                offer = replace(offer, holdings={**offer.holdings, holding.artifact.path: hashed})
                self._offer(offer)
        used = [each.identity for each in offer.holdings.values() if each.identity is not None]
        try:
            await self._in_thread(lambda: self._known.keep(used))
        except OSError as error:
            # It only saves time at the next start.
            self._log.debug("what was hashed cannot be written down: %s", error)

    def _retired(self, published: Published, targets: Path) -> dict[str, Holding]:
        before = self.offer
        if before.targets != targets:
            return {}
        if before.published is None or before.published.artifacts == published.artifacts:
            return dict(before.retired)
        signed = set(published.artifacts.values())
        return {
            layout.hashed_name(each.artifact): each
            for each in before.holdings.values()
            if each.state is State.VERIFIED and each.artifact not in signed
        }

    def _offer(self, offer: Offer) -> None:
        if offer == self.offer:
            return
        self.offer = offer
        self._news.set()
        self._news = anyio.Event()

    def _glance(self, targets: Path, artifact: Artifact) -> Holding:
        """What can be told without reading the file."""
        file = layout.artifact_file(targets, artifact)
        if file is None:
            # One of another size may be there; that is not worth a name of its own.
            return Holding(artifact=artifact, state=State.MISSING)
        parts = file.relative_to(targets).parts
        try:
            descriptor = open_beneath(targets, parts)
        except OSError as error:
            self._log.debug("%s cannot be opened: %s", file, error)
            return Holding(artifact=artifact, state=State.MISSING)
        try:
            identity = identity_of(descriptor)
        finally:
            os.close(descriptor)
        known = self._known.get(identity)
        if known is None:
            return Holding(artifact=artifact, state=State.WAITING, parts=parts)
        state = State.VERIFIED if known == artifact.sha256 else State.CHANGED
        return Holding(artifact=artifact, state=state, parts=parts, identity=identity)

    def _hash(self, targets: Path, holding: Holding) -> Holding:
        path = holding.artifact.path
        try:
            descriptor = open_beneath(targets, holding.parts)
        except OSError:
            return replace(holding, state=State.MISSING)
        try:
            sha256, identity = sha256_of(descriptor, partial(self.progress, path))
        except OSError as error:
            # Said by the state, which does not repeat itself each second for as long as somebody writes.
            self._log.debug("%s cannot be served yet: %s", path, error)
            return holding
        finally:
            self.hashing = None
            os.close(descriptor)
        self._known.put(identity, sha256)
        if sha256 == holding.artifact.sha256:
            return replace(holding, state=State.VERIFIED, identity=identity)
        self._log.warning("%s is not what was signed, and is not served", path)
        return replace(holding, state=State.CHANGED, identity=identity)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

"""A plain folder ``CHANNEL/ARCH/NAME``: what it holds is signed here, with keys of this provider's own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
from plasm_trust.folder_repository import FolderSigned, FolderSigners, sign_folder
from plasm_trust.hashing import FileIdentity
from plasm_trust.scanning import Scan

from plasm.errors import PlasmError
from plasm.ports import PortError, SignerError
from plasm.signing import open_signer
from plasm_provider.catalog import Catalog
from plasm_provider.sources.source import POLL_SECONDS, Clock, Complaints, Renewals, utc_now

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

_KEYS: Final = ("root", "channels", "online")

Seen = dict[str, FileIdentity]


class PlainFolder:
    """Signs the folder `artifacts` in a repository in `home`, again whenever its files have changed and come to rest.

    The keys are made in `home` where they are missing.
    """

    def __init__(
        self,
        artifacts: Path,
        home: Path | None,
        log: logging.Logger,
        *,
        now: Clock = utc_now,
        poll: float = POLL_SECONDS,
    ) -> None:
        self.refused: Mapping[str, str] = {}
        self.notes: list[str] = []
        self._artifacts = artifacts
        self._home = home
        self._now = now
        self._poll = poll
        self._log = log
        self._complaints = Complaints(log)
        self._signers: FolderSigners | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._home is None:
            raise PlasmError(
                "nothing may be written here, and a folder of artifacts is signed with keys that must be kept",
                "serve a publisher's --repository, or choose another profile",
            )
        try:
            await anyio.to_thread.run_sync(Scan, self._artifacts)
        except OSError as error:
            raise PlasmError(
                f"the folder of artifacts {self._artifacts} cannot be read: {error.strerror or error}",
                "make it, with files CHANNEL/ARCH/NAME such as stable/x86_64/kernel, or name another with --artifacts",
            ) from error
        keys = self._home / "keys"
        async with AsyncExitStack() as stack:
            try:
                keys.mkdir(mode=0o700, exist_ok=True)
                root, channels, online = [
                    await stack.enter_async_context(open_signer(str(keys / f"{name}.key"), create=True))
                    for name in _KEYS
                ]
            except (OSError, SignerError) as error:
                raise PlasmError(f"the keys in {keys} cannot be opened: {error}") from error
            self._signers = FolderSigners(root=root, channels=channels, online=online)
            self.notes = [f"signs what is in {self._artifacts} with its own keys, which are in {keys}"]
            yield

    async def follow(self, catalog: Catalog, *, task_status: TaskStatus[None]) -> None:
        signed: Seen | None = None
        before: Seen | None = None
        renewals = Renewals()
        started = False
        while True:
            try:
                seen = await anyio.to_thread.run_sync(self._scan)
                # A file that is being copied into the folder changes from one look to the next.
                at_rest = seen == before or not started
                if (seen != signed and at_rest) or renewals.due(self._now()):
                    await self._sign(catalog, seen)
                    signed = seen
                    renewals.done(self._now())
                else:
                    await catalog.look()
                before = seen
                self._complaints.clear()
            except (OSError, PortError, PlasmError) as error:
                self._complaints.say(f"what is in {self._artifacts} cannot be signed: {error}")
                await catalog.look()
            if not started:
                started = True
                task_status.started()
            await anyio.sleep(self._poll)

    def _scan(self) -> Seen:
        return {path: FileIdentity.of(file.lstat()) for path, file in Scan(self._artifacts).found.items()}

    async def _sign(self, catalog: Catalog, seen: Seen) -> None:
        assert self._signers is not None
        assert self._home is not None
        signing = partial(
            sign_folder, self._home / "repository", self._artifacts, self._signers, self._now(), catalog.progress
        )
        result: FolderSigned = await anyio.to_thread.run_sync(signing)
        for path in result.changed:
            self._log.info("signed %s", path)
        for path in result.removed:
            self._log.info("%s is no longer there", path)
        for path, why in result.refused.items():
            if self.refused.get(path) != why:
                self._log.warning("%s is not offered: %s", path, why)
        self.refused = result.refused
        # What had the same identity before and after it was signed is what was hashed for it.
        after = await anyio.to_thread.run_sync(self._scan)
        same = {path: identity for path, identity in seen.items() if after.get(path) == identity}
        await catalog.publish(result.published, self._artifacts, same)

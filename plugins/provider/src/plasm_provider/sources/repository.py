"""A publisher's repository: nothing is offered but what is signed in it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import anyio
import anyio.to_thread
from plasm_trust import layout, settings
from plasm_trust.expiring import expiries
from plasm_trust.hashing import FileIdentity
from plasm_trust.keys import did_of
from plasm_trust.published import Published, read_repository
from plasm_trust.renewing import renew
from plasm_trust.settings import Settings

from plasm.errors import PlasmError
from plasm.ports import PortError, Signer, SignerError
from plasm.signing import open_signer
from plasm_provider.catalog import Catalog
from plasm_provider.sources.source import POLL_SECONDS, Clock, Complaints, Renewals, utc_now

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

_ONLINE: Final = ("timestamp", "snapshot")


class SignedRepository:
    """The repository in `folder`; where its online keys are at hand, what they sign is renewed here."""

    def __init__(self, folder: Path, log: logging.Logger, *, now: Clock = utc_now, poll: float = POLL_SECONDS) -> None:
        self.refused: Mapping[str, str] = {}
        self.notes: list[str] = []
        self._folder = folder
        self._now = now
        self._poll = poll
        self._log = log
        self._complaints = Complaints(log)
        self._renewals = Complaints(log)
        self._renews = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        try:
            published = await anyio.to_thread.run_sync(Published.load, self._folder)
        except OSError as error:
            raise PlasmError(
                f"the repository {self._folder} cannot be read: {error.strerror or error}",
                "plasm repo init makes one; --repository names another",
            ) from error
        try:
            async with AsyncExitStack() as stack:
                await self._online_signers(stack)
            self._renews = True
            renewing = "renews what the online keys sign: they are here"
        except (PlasmError, SignerError) as error:
            when = f"{published.expires:%Y-%m-%d %H:%M} UTC"
            renewing = f"renews nothing, so that its publisher must before {when}: {error}"
        self.notes = [f"serves what is signed in {self._folder}", renewing]
        yield

    async def follow(self, catalog: Catalog, *, task_status: TaskStatus[None]) -> None:
        loaded: FileIdentity | None = None
        renewals = Renewals()
        started = False
        while True:
            if self._renews and renewals.due(self._now()):
                renewals.done(self._now())
                await self._renew()
            try:
                seen = await anyio.to_thread.run_sync(self._timestamp)
                if seen != loaded:
                    published = await anyio.to_thread.run_sync(Published.load, self._folder)
                    targets = await anyio.to_thread.run_sync(self._targets)
                    self.refused = published.refused
                    await catalog.publish(published, targets)
                    loaded = seen
                else:
                    await catalog.look()
                self._complaints.clear()
            except (OSError, PlasmError) as error:
                # A publisher may be at work there. What was offered before is offered still.
                self._complaints.say(f"the repository {self._folder} cannot be read: {error}")
            if not started:
                started = True
                task_status.started()
            await anyio.sleep(self._poll)

    def _timestamp(self) -> FileIdentity:
        return FileIdentity.of((self._folder / layout.METADATA / "timestamp.json").lstat())

    def _targets(self) -> Path:
        # A copy of a repository need not have its settings.
        if not (self._folder / settings.FILE).exists():
            return self._folder / layout.TARGETS
        artifacts = settings.load(self._folder).artifacts
        return Path(artifacts) if artifacts else self._folder / layout.TARGETS

    async def _renew(self) -> None:
        try:
            if await anyio.to_thread.run_sync(self._is_time):
                async with AsyncExitStack() as stack:
                    signers = await self._online_signers(stack)
                    await anyio.to_thread.run_sync(partial(renew, self._folder, signers, self._now()))
                self._log.info("renewed the timestamp of %s", self._folder)
            self._renewals.clear()
        except (OSError, PortError, PlasmError) as error:
            self._renewals.say(f"the timestamp of {self._folder} cannot be renewed: {error}")

    def _is_time(self) -> bool:
        """Whether half of the time has passed for which an online key's word holds, or its warning time has come."""
        wanted = settings.load(self._folder)
        for each in expiries(wanted, read_repository(self._folder), self._now()):
            if each.role in _ONLINE and (each.due or each.left < timedelta(days=wanted.role(each.role).valid_days) / 2):
                return True
        return False

    async def _online_signers(self, stack: AsyncExitStack) -> list[Signer]:
        """As many keys of the timestamp and the snapshot as must sign. Raises :exc:`PlasmError`, :exc:`SignerError`."""
        wanted: Settings = await anyio.to_thread.run_sync(settings.load, self._folder)
        opened: dict[str, Signer] = {}
        problems: dict[str, PlasmError | SignerError] = {}
        for did in dict.fromkeys(did for role in _ONLINE for did in wanted.role(role).keys):
            try:
                if not (uri := wanted.keys.get(did, "")):
                    raise PlasmError("an online key is not on this machine")
                signer = await stack.enter_async_context(open_signer(uri, prompt=_nobody))
                if did_of(signer.public_key) != did:
                    raise PlasmError(f"{uri} is another key than {did}")
                opened[did] = signer
            except (PlasmError, SignerError) as error:
                problems[did] = error
        for role in map(wanted.role, _ONLINE):
            missing = [did for did in role.keys if did not in opened]
            if len(role.keys) - len(missing) < role.threshold:
                raise problems[missing[0]]
        return list(opened.values())


def _nobody(question: str) -> NoReturn:
    # A provider renews in the middle of the night.
    raise SignerError(f"the {question} is needed, and nobody can be asked; name a file that holds it")

"""The client's book: which node promised which job, so that a result can be asked for after anything was lost."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import msgspec

from plasm.jobs.manifest import Job
from plasm.jobs.messages import JobId
from plasm.ports import PeerId

MAX_SUBMISSIONS = 10_000
_MAX_FILE_BYTES = 1024 * 1024


class Submitted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job that a node accepted from this client. Times are seconds since the epoch."""

    job_id: JobId
    node: str
    addresses: tuple[str, ...]
    nonce: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    job: Job
    name: str
    submitted: float
    deadline: float
    """The node does not promise to have the result after this."""

    @property
    def peer(self) -> PeerId:
        return PeerId(self.node)


class Book:
    """One file to a submission in `folder`; in memory where that is ``None``."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._memory: dict[str, Submitted] = {}

    async def record(self, submitted: Submitted) -> None:
        """Keep it until its deadline. Raises :exc:`OSError`."""
        if self._folder is None:
            while len(self._memory) >= MAX_SUBMISSIONS:
                del self._memory[next(iter(self._memory))]
            self._memory[submitted.job_id] = submitted
        else:
            await anyio.to_thread.run_sync(self._write, self._folder, submitted)

    async def find(self, job_id: str) -> Submitted | None:
        """The submission of that id, as far as it is kept."""
        if self._folder is None:
            return self._memory.get(job_id)
        if len(job_id) != 32 or not set(job_id) <= set("0123456789abcdef"):
            return None
        return await anyio.to_thread.run_sync(_read, self._folder / f"{job_id}.json")

    async def listed(self) -> list[Submitted]:
        """All that is kept, newest first."""
        if self._folder is None:
            found = list(self._memory.values())
        else:
            found = await anyio.to_thread.run_sync(_read_all, self._folder)
        return sorted(found, key=lambda submitted: -submitted.submitted)

    async def sweep(self) -> None:
        """Drop what is past its deadline, and the oldest above the bound."""
        kept = await self.listed()
        now = time.time()
        gone = [submitted for submitted in kept if submitted.deadline < now]
        gone += [submitted for submitted in kept if submitted.deadline >= now][MAX_SUBMISSIONS:]
        for submitted in gone:
            if self._folder is None:
                self._memory.pop(submitted.job_id, None)
            else:
                await anyio.Path(self._folder / f"{submitted.job_id}.json").unlink(missing_ok=True)

    @staticmethod
    def _write(folder: Path, submitted: Submitted) -> None:
        temporary = folder / f".{submitted.job_id}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(submitted))
            temporary.rename(folder / f"{submitted.job_id}.json")
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _read(path: Path) -> Submitted | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError, ValueError), path.open("rb") as file:
        return msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=Submitted)
    return None


def _read_all(folder: Path) -> list[Submitted]:
    found = (_read(path) for path in folder.glob("*.json"))
    return [submitted for submitted in found if submitted is not None]

"""The clients of a soak: several identities, each with its own home, transport and book."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio

from plasm.home import Home
from plasm.host import book_for
from plasm.identity import peer_of_address
from plasm.jobs.book import Submitted
from plasm.jobs.client import Client
from plasm.jobs.conversation import Delivered, Event
from tests.bench.opening import opened, plan_for
from tests.soak.cases import Case

CLIENTS = 8
JOB_SECONDS = 120.0
"""No case takes a tenth of it; a job that does hangs."""


class Hung(Exception):
    """A job had no result within :data:`JOB_SECONDS`."""


@dataclass(frozen=True)
class Member:
    """One client."""

    number: int
    client: Client
    home: Home

    async def submit(self, case: Case, address: str, accepted: Callable[[str], None]) -> Delivered:
        """The verified result. Raises :exc:`~plasm.errors.PlasmError` or :exc:`Hung`."""

        def report(event: Event) -> None:
            if event.kind == "accepted":
                accepted(event.detail)

        with anyio.move_on_after(JOB_SECONDS):
            return await self.client.submit(case.submission, name=case.kind, report=report, peers=(address,))
        raise Hung(f"{case.kind} {case.number}: no result within {JOB_SECONDS:g} s")

    async def ask_again(self, identity: str, case: Case, address: str) -> Delivered:
        """The verified result of a job that was accepted before, by its id alone.

        Raises :exc:`~plasm.errors.PlasmError` or :exc:`Hung`.
        """
        book = book_for(self.home)
        if await book.find(identity) is None:
            # The node went down between its word and our note of it.
            await book.record(self._submitted(identity, case, address))
        with anyio.move_on_after(JOB_SECONDS):
            return await self.client.result(identity, wait=True, report=lambda event: None)
        raise Hung(f"{case.kind} {case.number}: no result within {JOB_SECONDS:g} s of asking again")

    def _submitted(self, identity: str, case: Case, address: str) -> Submitted:
        return Submitted(
            job_id=identity,
            node=peer_of_address(address),
            addresses=(address,),
            nonce=case.submission.nonce.hex(),
            job=case.submission.job,
            name=case.kind,
            submitted=time.time(),
            deadline=time.time() + 86400,
        )


@contextlib.asynccontextmanager
async def crew(folder: Path, size: int = CLIENTS) -> AsyncIterator[list[Member]]:
    """`size` clients, each with a home in `folder`."""
    async with AsyncExitStack() as stack:
        members = []
        for number in range(size):
            path = folder / f"client-{number}"
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _, client = await stack.enter_async_context(opened(plan_for(path)))
            members.append(Member(number, client, Home(path)))
        yield members

"""A running node: an open plan that takes jobs, sends jobs, announces itself and listens to its own user."""

from __future__ import annotations

import contextlib
import logging
import platform
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import anyio
from anyio.abc import TaskStatus

from plasm import __version__
from plasm.checking.ledger import ledger_path, open_ledger
from plasm.checking.preferring import LedgerPreference
from plasm.config import NodeSettings
from plasm.errors import ungrouped
from plasm.home import Home
from plasm.jobs.admission import Admission
from plasm.jobs.book import Book
from plasm.jobs.bounds import Bounds
from plasm.jobs.client import Client, open_client
from plasm.jobs.journal import open_journal
from plasm.jobs.messages import PROTOCOL
from plasm.jobs.responder import Responder
from plasm.jobs.worker import Worker
from plasm.node import OpenPorts
from plasm.ports import CapabilityTopic, Compiling, Discovery, DiscoveryError, PeerId, Transport

SOFTWARE = f"plasm/{__version__}"
_ARCHITECTURES = {"amd64": "x86_64", "aarch64": "arm64"}
_ADVERTISE_AGAIN_SECONDS = 30


def architecture() -> str:
    """This machine's architecture in Phase's words: ``x86_64``, ``arm64``."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


@dataclass(frozen=True)
class Node:
    """A node that takes jobs; use :func:`open_node`."""

    peer: PeerId
    addresses: tuple[str, ...]
    worker: Worker
    client: Client
    settings: NodeSettings
    responder: Responder

    async def drain(self) -> None:
        """Take nothing new and wait, as long as the settings allow, for what runs and for its results to be sent.

        What waits stays in the journal.
        """
        with anyio.move_on_after(self.settings.drain_seconds):
            await self.worker.drain()
            await self.responder.drain()


def admission_for(ports: OpenPorts, settings: NodeSettings) -> Admission:
    """What a node with these ports and settings takes on."""
    return Admission(
        allow=settings.allowed_peers,
        own=ports.peer,
        trust=settings.trusted_peers,
        arch=architecture(),
        runtimes=tuple(name for name, _ in ports.runtimes),
        cores=settings.run_slots,
        memory_mb=settings.memory_mb,
        timeout_seconds=settings.max_timeout_seconds,
        module_bytes=settings.max_module_bytes,
        input_bytes=settings.max_input_bytes,
        output_bytes=settings.max_output_bytes,
        file_bytes=settings.max_file_bytes,
        host_calls=settings.max_host_calls,
        max_queue=settings.max_queue,
        max_per_peer=settings.max_per_peer,
    )


def book_for(home: Home) -> Book:
    """The book of what was submitted from `home`."""
    return Book(home.folder("submissions"))


@contextlib.asynccontextmanager
async def open_client_on(
    ports: OpenPorts, home: Home, runtimes: Sequence[str], log: logging.Logger, *, looks: bool = True
) -> AsyncIterator[Client]:
    """A client on open ports that looks for nodes with one of `runtimes`, and goes by the ledger of `home`.

    Without `looks` it looks for none.
    """
    async with open_ledger(ledger_path(home), log) as ledger:
        client = Client(
            peer=ports.peer,
            transports=[transport for _, transport in ports.transports],
            discoveries=dict(ports.discoveries) if looks else {},
            runtimes=runtimes,
            book=book_for(home),
            log=log,
            preference=LedgerPreference(ledger, secrets.SystemRandom().random),
        )
        async with open_client(client):
            yield client


def _compilations(ports: OpenPorts, settings: NodeSettings) -> int:
    """Modules compiled at once: no more than each of the runtimes takes."""
    taken = [runtime.compile_slots for _, runtime in ports.runtimes if isinstance(runtime, Compiling)]
    return min([settings.compilations, *taken])


@contextlib.asynccontextmanager
async def open_worker(
    ports: OpenPorts, settings: NodeSettings, home: Home, log: logging.Logger
) -> AsyncIterator[Worker]:
    """A worker on open ports, working; what an earlier life left unfinished is queued again first."""
    folder = home.folder()
    path = folder / "journal.sqlite" if folder is not None else None
    async with open_journal(path, max_kept_bytes=settings.max_kept_bytes) as journal:
        worker = Worker(
            node=ports.peer,
            signer=ports.signer,
            runtimes=dict(ports.runtimes),
            stores=[store for _, store in ports.stores],
            journal=journal,
            admission=admission_for(ports, settings),
            bounds=Bounds(
                slots=settings.run_slots,
                memory_bytes=settings.running_memory_bytes,
                compile_slots=_compilations(ports, settings),
                keep_seconds=settings.keep_seconds,
                input_bytes=settings.max_waiting_input_bytes,
                modules_bytes=settings.max_modules_bytes,
                transfer_seconds=settings.transfer_seconds,
            ),
            log=log,
        )
        with ungrouped():
            async with anyio.create_task_group() as tasks:
                await tasks.start(worker.run)
                try:
                    yield worker
                finally:
                    tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def open_node(
    ports: OpenPorts, settings: NodeSettings, home: Home, log: logging.Logger | None = None
) -> AsyncIterator[Node]:
    """A node on open ports: it answers peers once this is entered, and announces itself from then on."""
    log = log or logging.getLogger("plasm.node")
    runtimes = [name for name, _ in ports.runtimes]
    with ungrouped():
        async with (
            open_worker(ports, settings, home, log) as worker,
            open_client_on(ports, home, runtimes, log) as client,
        ):
            responder = Responder(worker, SOFTWARE, log)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(responder.watch)
                for _, transport in ports.transports:
                    await tasks.start(_serve, transport, responder)
                addresses = _addresses(ports)
                for name, discovery in ports.discoveries:
                    for runtime in runtimes:
                        tasks.start_soon(_advertise, name, discovery, runtime, ports, log)
                try:
                    yield Node(ports.peer, addresses, worker, client, settings, responder)
                finally:
                    tasks.cancel_scope.cancel()


async def _serve(transport: Transport, responder: Responder, *, task_status: TaskStatus[None]) -> None:
    await transport.serve(PROTOCOL, responder.handle, task_status=task_status)


async def _advertise(name: str, discovery: Discovery, runtime: str, ports: OpenPorts, log: logging.Logger) -> None:
    topic = CapabilityTopic(arch=architecture(), runtime=runtime)
    properties = {"arch": topic.arch, "runtime": runtime, "software": SOFTWARE}
    while True:
        try:
            await discovery.advertise(
                topic, lambda: _addresses(ports), properties, task_status=anyio.TASK_STATUS_IGNORED
            )
        except DiscoveryError as error:
            log.warning("%s cannot announce this node: %s", name, error)
        except Exception as error:
            # A driver that breaks is tried again later, and ends nothing else.
            log.error("%s broke while it announced this node: %.300r", name, error)
            log.debug("%s", name, exc_info=True)
        # An announcement that ended is made again: the link may be back.
        await anyio.sleep(_ADVERTISE_AGAIN_SECONDS)


def _addresses(ports: OpenPorts) -> tuple[str, ...]:
    return tuple(address for _, transport in ports.transports for address in transport.addresses)

"""Nodes, clients and strangers of one test, over the fakes of :mod:`plasm.testing`."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from plasm.config import NodeSettings
from plasm.home import Home
from plasm.host import Node, architecture, open_node
from plasm.jobs.book import Book, Submitted
from plasm.jobs.client import Client, open_client
from plasm.jobs.conversation import Event, Submission
from plasm.jobs.framing import FrameReader
from plasm.jobs.manifest import Job, Manifest, sha256
from plasm.jobs.messages import (
    INLINE_BYTES,
    PROTOCOL,
    AnyReply,
    Describe,
    Description,
    Message,
    Offer,
    decode_reply,
    encode,
)
from plasm.jobs.patience import Patience
from plasm.jobs.receipt import make_statement, sign_receipt
from plasm.node import OpenPorts
from plasm.ports import (
    CapabilityTopic,
    Digest,
    Engine,
    Found,
    Outcome,
    PeerId,
    Runtime,
    Store,
    Stream,
    StreamHandler,
    Verdict,
)
from plasm.testing import (
    DictStore,
    FakeSigner,
    MemoryNetwork,
    MemoryTransport,
    ScriptedRuntime,
    StaticDirectory,
    StaticDiscovery,
    open_memory_transport,
)
from plasm.testing.fakes.scripts import Script, echoes

ECHO = b"a module that writes its input"
LOG = logging.getLogger("plasm.tests")
ENGINE = Engine(name="scripted", version="1")


def submission(module: bytes = ECHO, stdin: bytes = b"", *, args: Sequence[str] = (), **manifest: object) -> Submission:
    """A job of `module`; further keywords go to its manifest."""
    job = Job(
        manifest=Manifest(module_hash=sha256(module), **{"timeout_seconds": 30, "memory_mb": 16, **manifest}),
        args=tuple(args),
        stdin=sha256(stdin),
    )
    return Submission(job=job, module=module, stdin=stdin)


def offer_for(submitted: Submission, **changes: object) -> Offer:
    """The offer that an honest client makes, with `changes`."""
    small = len(submitted.stdin) <= INLINE_BYTES
    fields: dict[str, object] = {
        "job": submitted.job,
        "digest": submitted.job.digest(),
        "nonce": submitted.nonce,
        "module_size": len(submitted.module),
        "input_size": len(submitted.stdin),
        "input": submitted.stdin if small else None,
    }
    return Offer(**{**fields, **changes})


def receipt_for(
    job: Job,
    *,
    signer: FakeSigner,
    client: PeerId,
    nonce: bytes,
    outcome: Outcome | None = None,
    node: PeerId | None = None,
) -> bytes:
    """A receipt of `signer` about `outcome`, which is an empty success if it is not given."""
    now = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    statement = make_statement(
        job=job,
        outcome=outcome or Outcome(verdict=Verdict.EXITED, exit_code=0),
        engine=ENGINE,
        isolation="scripted",
        node=node or signer.peer,
        client=client,
        nonce=nonce,
        started=now,
        finished=now,
    )
    return sign_receipt(statement, signer, node or signer.peer)


class Events(list[Event]):
    """Collects what a client reports."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def kinds(self) -> list[str]:
        return [event.kind for event in self]


def ignore(event: Event) -> None:
    """For tests that look at something else."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A node that runs, with the fakes under it."""

    node: Node
    runtime: ScriptedRuntime
    store: DictStore
    transport: MemoryTransport

    @property
    def peer(self) -> PeerId:
        return self.node.peer

    @property
    def address(self) -> str:
        return self.node.addresses[0]

    @property
    def found(self) -> Found:
        return Found(self.peer, self.node.addresses, "given")


class Talk:
    """A stream of the job protocol in the hands of a test, which may say on it what it likes."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.reader = FrameReader(stream)

    async def send(self, *messages: Message) -> None:
        for message in messages:
            await self.stream.send(encode(message))

    async def reply(self) -> AnyReply:
        body = await self.reader.receive()
        assert body is not None, "the other side ended the stream"
        return decode_reply(body)


class World:
    """What the nodes, clients and strangers of one test share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = MemoryNetwork()
        self.directory = StaticDirectory()

    def home(self, name: str) -> Home:
        """A home on the disk."""
        return Home(self.folder / name)

    @asynccontextmanager
    async def node(
        self,
        scripts: Mapping[bytes | Digest, Script] | None = None,
        *,
        seed: int = 1,
        slots: int = 2,
        home: Home | None = None,
        runtimes: Mapping[str, Runtime] | None = None,
        stores: Sequence[Store] | None = None,
        announced: bool = True,
        log: logging.Logger = LOG,
        **settings: object,
    ) -> AsyncIterator[Standing]:
        """A node whose modules do what `scripts` say, with an in-memory journal unless it has a `home`."""
        signer = FakeSigner(seed)
        runtime = ScriptedRuntime(scripts if scripts is not None else {ECHO: echoes()}, slots=slots + 1)
        store = DictStore()
        discovery = StaticDiscovery(self.directory, signer.peer)
        async with open_memory_transport(self.network, signer) as transport:
            ports = OpenPorts(
                {
                    "signer": (("fake", signer),),
                    "store": tuple((f"store{number}", each) for number, each in enumerate(stores or [store])),
                    "transport": (("memory", transport),),
                    "discovery": (("static", discovery),) if announced else (),
                    "runtime": tuple((runtimes or {"scripted": runtime}).items()),
                }
            )
            async with open_node(ports, NodeSettings(slots=slots, **settings), home or Home(None), log) as node:
                yield Standing(node=node, runtime=runtime, store=store, transport=transport)

    @asynccontextmanager
    async def client(
        self, *, seed: int = 100, book: Path | None = None, patience: Patience | None = None
    ) -> AsyncIterator[Client]:
        """A client that finds who is announced."""
        signer = FakeSigner(seed)
        if book is not None:
            await anyio.Path(book).mkdir(exist_ok=True)
        async with (
            open_memory_transport(self.network, signer, listen=False) as transport,
            open_client(
                Client(
                    peer=signer.peer,
                    transports=[transport],
                    discoveries={"static": StaticDiscovery(self.directory, signer.peer)},
                    runtimes=("scripted",),
                    book=Book(book),
                    log=LOG,
                    patience=patience,
                )
            ) as client,
        ):
            yield client

    @asynccontextmanager
    async def stranger(self, *, seed: int = 200) -> AsyncIterator[Callable[[Standing], Awaitable[Talk]]]:
        """A peer that opens streams to nodes and says on them what the test likes, from a network of its own."""
        signer = FakeSigner(seed)
        self.network.place(signer.peer, f"192.0.{seed % 256}.1")
        async with open_memory_transport(self.network, signer, listen=False) as transport:

            async def open_talk(standing: Standing) -> Talk:
                return Talk(await transport.open_stream(standing.peer, [standing.address], PROTOCOL))

            yield open_talk

    @asynccontextmanager
    async def posing(self, behave: Callable[[Talk], Awaitable[None]], *, seed: int) -> AsyncIterator[Found]:
        """A peer that is announced as a node and does on each stream what `behave` says.

        Asked what it is before anything else, it answers as a node does, and `behave` hears nothing of that.
        """

        async def handle(stream: Stream) -> None:
            await behave(Talk(await _described(stream)))

        async with self._announced(handle, seed=seed) as found:
            yield found

    @asynccontextmanager
    async def mute(self, *, seed: int) -> AsyncIterator[Found]:
        """A peer that is announced as a node, takes streams and says nothing on them."""

        async def handle(stream: Stream) -> None:
            await anyio.sleep_forever()

        async with self._announced(handle, seed=seed) as found:
            yield found

    @asynccontextmanager
    async def _announced(self, handle: StreamHandler, *, seed: int) -> AsyncIterator[Found]:
        signer = FakeSigner(seed)
        topic = CapabilityTopic(arch=architecture(), runtime="scripted")

        async with open_memory_transport(self.network, signer) as transport, anyio.create_task_group() as tasks:

            async def serve(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                await transport.serve(PROTOCOL, handle, task_status=task_status)

            await tasks.start(serve)
            found = Found(signer.peer, tuple(transport.addresses), "static")
            self.directory.put(topic, found)
            yield found
            self.directory.remove(topic, signer.peer)
            tasks.cancel_scope.cancel()


DESCRIPTION = Description(
    software="x", arch="x", runtimes=("scripted",), slots=1, free=1, queued=0, memory_mb=1, max_timeout_seconds=1
)


async def _described(stream: Stream) -> Stream:
    """`stream` after the first question, if that was what its other end is."""
    asked = encode(Describe())
    received = b""
    while len(received) < len(asked) and asked.startswith(received):
        piece = await stream.receive(len(asked) - len(received))
        if not piece:
            break
        received += piece
    if received == asked:
        await stream.send(encode(DESCRIPTION))
        received = b""
    return _Resumed(stream, received)


class _Resumed:
    """A stream of which the first bytes were read already."""

    def __init__(self, stream: Stream, received: bytes) -> None:
        self._stream = stream
        self._received = received

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._received:
            return await self._stream.receive(max_bytes)
        received, self._received = self._received[:max_bytes], self._received[max_bytes:]
        return received


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until `condition` holds; the test's own deadline bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await anyio.sleep(0.002)


def age(standing: Standing, seconds: float) -> None:
    """Have all that the node holds be that much older."""
    worker = standing.node.worker
    for tracked in worker._queue.transferring():
        tracked.since -= seconds
    worker._journal._time._before += seconds


def page(number: int, *, deadline: float | None = None) -> Submitted:
    """An entry of a client's book."""
    return Submitted(
        job_id=f"{number:032x}",
        node=FakeSigner(1).peer,
        addresses=("/memory/1/p2p/x",),
        nonce="00" * 16,
        job=submission(args=["ü\n"]).job,
        name="hello.wasm",
        submitted=float(number),
        deadline=time.time() + 60 if deadline is None else deadline,
    )

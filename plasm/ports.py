"""The five ports that plugins implement, the values that cross them and every exception that they may raise.

A port is a :class:`typing.Protocol`; a driver need not inherit from it. A port grows by small optional Protocols, never
by a new method. This module imports nothing but the standard library, so that describing a plugin stays cheap.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NewType, Protocol, runtime_checkable

if TYPE_CHECKING:
    from anyio.abc import ObjectSendStream, TaskStatus

PeerId = NewType("PeerId", str)
"""The text form of a libp2p peer ID of an Ed25519 key (``12D3Koo…``); see :mod:`plasm.identity`."""

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hexadecimal digits."""


class PortError(Exception):
    """Anything that a port reports; the message is one line, fit to be shown."""


# --- transport ------------------------------------------------------------------------------------------------------


class TransportError(PortError):
    """A transport could not do what was asked."""


class DialFailed(TransportError):
    """No stream to that peer: unreachable, another identity than the address names, or no such protocol."""


class AddressRefused(TransportError):
    """The address is outside what the profile allows, or is not one that this transport understands."""


class StreamBroken(TransportError):
    """The stream was reset or its connection is gone; what was in flight may be lost."""


class Stream(Protocol):
    """A byte stream to a peer whose identity the transport has proven."""

    @property
    def peer(self) -> PeerId:
        """The other side, as proven by the transport's handshake; never by anything that it said on the stream."""

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raises :exc:`StreamBroken`."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """One to `max_bytes` bytes; ``b""`` at the end of what the other side sends. Raises :exc:`StreamBroken`."""

    async def send_eof(self) -> None:
        """Half-close: nothing more is sent, receiving goes on. Raises :exc:`StreamBroken`."""

    async def reset(self) -> None:
        """Give the stream up at once in both directions. Never raises; idempotent."""

    async def aclose(self) -> None:
        """Close both directions in order. Never raises; idempotent."""


@runtime_checkable
class Located(Protocol):
    """Optional for a stream: it can tell from which address its peer is connected."""

    @property
    def remote_ip(self) -> str:
        """The textual IP address at the other end of the connection, as the operating system gives it."""


@runtime_checkable
class Charging(Protocol):
    """Optional for a stream: its peer can be made to wait for the time of the event loop that it takes."""

    async def charge(self, units: int) -> None:
        """Wait for as long as `units` cost, each five microseconds of the event loop; others run meanwhile."""


StreamHandler = Callable[[Stream], Awaitable[None]]


class Transport(Protocol):
    """Streams between peers. It listens, where it was told to, for as long as it is open."""

    @property
    def addresses(self) -> Sequence[str]:
        """Multiaddrs ending in ``/p2p/PEER`` under which this node can be dialed; concrete, never a wildcard."""

    def understands(self, address: str) -> bool:
        """Whether `address` is a well-formed multiaddr ending in ``/p2p/PEER`` that this transport could dial."""

    async def open_stream(self, peer: PeerId, addresses: Sequence[str], protocol: str) -> Stream:
        """A stream of `protocol` to `peer`, over a connection that is up or by dialing `addresses`, best first.

        Each address gets a deadline of its own; a bad one does not spoil a good one. The returned stream's peer is
        `peer`, proven. Raises :exc:`DialFailed` or :exc:`AddressRefused`.
        """

    async def serve(self, protocol: str, handler: StreamHandler, *, task_status: TaskStatus[None]) -> None:
        """Answer inbound streams of `protocol` until cancelled; ``started()`` once a dialer would be answered.

        `handler` runs in a task per stream; what it raises is logged and resets its stream, and ends nothing else.
        A stream that the handler leaves open is closed. Cancelling ends the handlers.
        """


@runtime_checkable
class LatencyProbe(Protocol):
    """Optional for a transport: it can tell how far a connected peer is."""

    async def latency(self, peer: PeerId) -> float:
        """Seconds for one round trip to a connected peer. Raises :exc:`TransportError`."""


# --- discovery ------------------------------------------------------------------------------------------------------


class DiscoveryError(PortError):
    """A discovery cannot look or advertise; what it found before stands."""


@dataclass(frozen=True)
class CapabilityTopic:
    """Nodes that run jobs with `runtime` on `arch` (``x86_64``, ``arm64``)."""

    arch: str
    runtime: str

    @property
    def key(self) -> str:
        return f"/phase/capability/{self.arch}/{self.runtime}"


@dataclass(frozen=True)
class BootTopic:
    """Providers of the boot manifest of `channel` for `arch`."""

    channel: str
    arch: str

    @property
    def key(self) -> str:
        return f"/phase/{self.channel}/{self.arch}/manifest"


Topic = CapabilityTopic | BootTopic


@dataclass(frozen=True)
class Found:
    """A hint that `peer` offers a topic at `addresses` (multiaddrs ending in ``/p2p/PEER``); nothing until dialed."""

    peer: PeerId
    addresses: tuple[str, ...]
    source: str
    """The name of the discovery that said so."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Small facts that came with it, such as TXT keys; unverified."""


class Discovery(Protocol):
    """Finds and announces who offers a topic."""

    async def advertise(
        self,
        topic: Topic,
        addresses: Callable[[], Sequence[str]],
        properties: Mapping[str, str],
        *,
        task_status: TaskStatus[None],
    ) -> None:
        """Announce this node under `topic` until cancelled, renewing as needed, and take it back on the way out.

        `addresses` is asked anew at each renewal. ``started()`` once the first announcement was made or, where nobody
        is there to take it yet, once it will be repeated on its own. Raises :exc:`DiscoveryError` before that.
        """

    async def find(self, topic: Topic, found: ObjectSendStream[Found]) -> None:
        """Send each provider of `topic` as it becomes known, again when its addresses change, until cancelled.

        Never sends this node itself and never returns on its own: the caller decides how long to look. Raises
        :exc:`DiscoveryError` where it cannot look at all.
        """


@runtime_checkable
class Bootstrapped(Protocol):
    """Optional for a discovery that joins a network through known peers."""

    def sources(self) -> Sequence[str]:
        """Where it looks, for people: ``"2 bootstrap peers, 17 in the routing table"``."""


# --- runtime --------------------------------------------------------------------------------------------------------


class RuntimeFailed(PortError):
    """The runtime itself failed: the job did nothing wrong and may run elsewhere."""


class NotPrepared(PortError):
    """The module cannot be prepared within this node's bounds on compile time and memory.

    That says nothing about the module that another machine would confirm, so no receipt states it; nor did the node
    fail. The same module is not tried again here for a while.
    """


class NotRunnable(PortError):
    """The module is not one that can run: not WebAssembly, malformed, a component, no ``_start``, a missing import."""


class Verdict(enum.StrEnum):
    """How a run ended."""

    EXITED = "exited"
    TRAPPED = "trapped"
    OUT_OF_FUEL = "out_of_fuel"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    HOST_CALL_LIMIT = "host_call_limit"
    CELL_DIED = "cell_died"
    NOT_RUNNABLE = "not_runnable"

    @property
    def repeatable(self) -> bool:
        """Whether another honest run of the same job must end the same way."""
        return self not in (Verdict.TIMED_OUT, Verdict.CELL_DIED)


NO_ROOM_FOR_FILES: Final = "it had no room left for its files"
"""The detail of an outcome whose program failed by itself after :attr:`Limits.file_bytes` were taken."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one run may use. They count the run alone: not transfer, compiling or waiting."""

    memory_bytes: int = 256 * 2**20
    wall_seconds: float = 60.0
    output_bytes: int = 16 * 2**20
    """Of stdout, stderr and the files in ``/out`` together."""
    file_bytes: int = 64 * 2**20
    """What the program's files may hold while it runs, the inputs that it changes among them."""
    fuel: int | None = None
    """Units of the engine; ``None`` for as much as the wall time allows."""
    host_calls: int = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One run of a prepared module."""

    module: Digest
    args: tuple[str, ...] = ()
    """After the program's name, which is always ``module.wasm``."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The program finds it in the order of the names' UTF-8 bytes, whatever order this has."""
    stdin: bytes = b""
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    """Files that the program finds: path below ``/`` without a leading slash → content.

    A path that ends with a slash is an empty folder. The program may change what it finds; what it was given stays.
    """
    limits: Limits = field(default_factory=Limits)
    seed: bytes = bytes(32)
    """The job digest's 32 bytes: clock and random come from it."""
    capabilities: frozenset[str] = frozenset()
    """``clock`` and ``random`` ask for the real ones."""
    trusted: bool = False
    """Whether the operator trusts who sent it: a runtime may then run it where other trusted jobs ran before."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a run used. `fuel` is ``None`` where the engine does not count it."""

    fuel: int | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    """Of the guest's own memories."""
    peak_process_bytes: int | None = None
    """Of the process around it, where the operating system counts that for one run (a control group does)."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Verdict, exit code, output and usage of one run."""

    verdict: Verdict
    exit_code: int | None = None
    """The program's own (0 to 255), where the verdict is ``exited``; else ``None``."""
    stdout: bytes = b""
    stderr: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """What the program left in ``/out``: path below it → content."""
    usage: Usage = field(default_factory=Usage)
    detail: str = ""
    """One line for people: which trap, which import is missing. Not part of the result digest."""
    trap: str | None = None
    """Where the verdict is ``trapped``: a name such as ``unreachable`` (``specs/receipt.md`` lists them)."""
    isolation: str | None = None
    """How this run was kept apart, where that differs from the runtime's :attr:`Runtime.isolation`."""
    reproducible: bool = True


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What runs the code, as it stands in a receipt. `configuration` holds what changes results or trust in them."""

    name: str
    version: str
    configuration: Mapping[str, str | int | bool] = field(default_factory=dict)


class Runtime(Protocol):
    """Runs modules in processes other than the caller's."""

    @property
    def engine(self) -> Engine: ...

    @property
    def isolation(self) -> str:
        """How runs are kept apart, as it stands in a receipt: ``"cell"``, ``"reused"``, ``"process"``, ``"none"``."""

    @property
    def slots(self) -> int:
        """How many runs this runtime can do at once."""

    async def prepare(self, digest: Digest, module: bytes) -> None:
        """Check and compile `module`, whose digest the caller has verified; kept, bounded, for later runs.

        Has a deadline and limits of its own. Raises :exc:`NotRunnable`, :exc:`NotPrepared` or :exc:`RuntimeFailed`.
        """

    def prepared(self, digest: Digest) -> bool:
        """Whether :meth:`run` would find the module without :meth:`prepare`."""

    async def run(self, invocation: Invocation) -> Outcome:
        """Run a prepared module once. Cancelling kills what runs before the cancellation is delivered.

        Every end of the program is an :class:`Outcome`. Raises :exc:`RuntimeFailed`, :exc:`NotPrepared` where these
        limits need the module prepared in another way and that cannot be done, or :exc:`KeyError` where the module is
        not (or no longer) prepared.
        """


@runtime_checkable
class Patient(Protocol):
    """Optional for a runtime: it takes more time over the modules of this machine's own user."""

    async def prepare_own(self, digest: Digest, module: bytes) -> None:
        """As :meth:`Runtime.prepare`, with a later deadline, and also where a stranger's try failed before."""


@runtime_checkable
class Compiling(Protocol):
    """Optional for a runtime that prepares a bounded number of modules at once."""

    @property
    def compile_slots(self) -> int:
        """How many. The node gives it no more, so that none waits in here while its time is counted."""


@runtime_checkable
class Guarded(Protocol):
    """Optional for a runtime whose runs stand behind walls of the operating system."""

    @property
    def guards(self) -> Sequence[str]:
        """What is on around each run, for people and receipts: ``"landlock:7"``, ``"seccomp"``, ``"cgroup:v1"``."""

    @property
    def weaknesses(self) -> Sequence[str]:
        """What this machine lacks, each with what follows from it, in one line; told when the node starts."""


# --- signer ---------------------------------------------------------------------------------------------------------


class SignerError(PortError):
    """The key cannot be opened or used; the message says what mends it and never holds key material."""


class Signer(Protocol):
    """An Ed25519 key (RFC 8032) that may live where no program can read it."""

    @property
    def public_key(self) -> bytes:
        """32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`. Takes milliseconds at most. Raises :exc:`SignerError`."""


# --- store ----------------------------------------------------------------------------------------------------------


class StoreError(PortError):
    """The store cannot be read or written."""


class NotStored(StoreError):
    """There is no such content here."""


class Corrupt(StoreError):
    """What was read or written does not have the digest that it goes by; nothing of it is returned or kept."""


class TooLarge(StoreError):
    """Larger than the caller allowed or the store takes."""


@dataclass(frozen=True)
class Entry:
    """One piece of content: its size in bytes and when it was last read or written (seconds since the epoch)."""

    digest: Digest
    size: int
    used: float


class StoreWriter(Protocol):
    """Receives content in pieces."""

    async def write(self, piece: bytes) -> None:
        """Append. Raises :exc:`TooLarge` or :exc:`StoreError`."""


class Store(Protocol):
    """Content-addressed bytes: what is returned under a digest has that digest."""

    @property
    def writable(self) -> bool: ...

    async def has(self, digest: Digest) -> bool:
        """Whether :meth:`get` is likely to succeed. Raises :exc:`StoreError`."""

    async def get(self, digest: Digest, max_bytes: int) -> bytes:
        """The whole content, verified. Raises :exc:`NotStored`, :exc:`TooLarge`, :exc:`Corrupt`, :exc:`StoreError`."""

    def create(self, digest: Digest, size: int) -> AbstractAsyncContextManager[StoreWriter]:
        """Write `size` bytes that will have `digest`.

        Leaving the block normally verifies and publishes them whole; leaving it by an exception keeps nothing.
        Creating what is there already is fine. Raises :exc:`Corrupt`, :exc:`TooLarge`, :exc:`StoreError`.
        """

    async def delete(self, digest: Digest) -> None:
        """Forget it; fine where it is not there. Raises :exc:`StoreError`."""

    def entries(self) -> AsyncIterator[Entry]:
        """What is held, in no order. Raises :exc:`StoreError`."""

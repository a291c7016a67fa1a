"""The queue: accepted jobs waiting for a slot, shared fairly between those who sent them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import anyio

from plasm.jobs.messages import INLINE_BYTES
from plasm.jobs.records import OWN, QUEUED, TRANSFERRING, Accepted, Ending
from plasm.jobs.turns import OriginTurns, Usage
from plasm.ports import PeerId
from plasm.shares import Origin, Shares


class Tracked:
    """An accepted job that has not ended: where it is, and how to wait for it."""

    def __init__(self, accepted: Accepted, data: bytes | None = None) -> None:
        self.accepted = accepted
        self.input = data
        """The input where it is small; else it is read from the journal when it is needed."""
        self.state = accepted.state
        self.ahead = 0
        self.ending: Ending | None = None
        self.scope: anyio.CancelScope | None = None
        """Of the run, or of the compilation of the job's module, whichever began last."""
        self.expected = 0.0
        """For how many seconds it was expected to hold its slot when its turn came."""
        self.since = anyio.current_time()
        """When it was accepted, or read from the journal of an earlier life."""
        self.cancelled = False
        self.dropped = False
        """Whether its compiled module was dropped before it could run, once."""
        self.supplied = False
        """Whether all that it needs has arrived and is being recorded, or has been."""
        self.transfer: anyio.CancelScope | None = None
        """Of the stream that brings what the job needs: one at a time, so that one buffer is filled for it."""
        self.journaled = False
        """Whether the journal has been told of it; until then it may run, and is promised to nobody."""
        self.unrecorded = False
        """Whether the journal did not take how it ended, and says something else."""
        self.recorded = anyio.Event()
        """Set once the job is in the journal, or cannot be."""
        self._changed: anyio.Event | None = None

    def move(self, state: str, ahead: int = 0) -> None:
        """Record a change of state and wake who waits for one."""
        self.state, self.ahead = state, ahead
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def stop(self) -> None:
        """Stop the run, or the compilation, if one goes on."""
        if self.scope is not None:
            self.scope.cancel()

    def end(self, ending: Ending) -> None:
        """The job has ended."""
        self.ending = ending
        self.move(ending.state)

    async def changed(self) -> None:
        """Wait for the next change of state."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()


SHORT_SECONDS = 0.05
"""Jobs that hold a slot for no longer are short: a node with nothing else to do runs most programs in a tenth of it."""


@dataclass(eq=False)
class _Needed:
    """A module that jobs need: how large they say it is, as far as that counts, and whose share it is part of."""

    size: int
    holder: Origin
    users: dict[str, Origin] = field(default_factory=dict)
    slow: bool = False
    """Whether compiling it was given up once for taking long."""


class JobQueue:
    """Jobs of one node that have not ended, and what each origin holds of what they share.

    Those that wait are served networks in turn, by how long each held the slots, then addresses, then identities, and
    first come first served there.
    Ready ones wait for a run slot; those of which `is_ready` is false first wait for their module to be compiled.
    """

    def __init__(self, is_ready: Callable[[Accepted], bool] = lambda accepted: True, slow_slots: int = 1) -> None:
        """At most `slow_slots` modules that take long are compiled at once."""
        self._is_ready = is_ready
        self._slow_slots = slow_slots
        self._tracked: dict[str, Tracked] = {}
        self._held: dict[PeerId, set[str]] = {}
        self._runs = Usage(anyio.current_time)
        self._ready: OriginTurns[Tracked] = OriginTurns(OWN.network, self._runs.start)
        self._compilations = Usage(anyio.current_time)
        self._uncompiled: OriginTurns[Tracked] = OriginTurns(OWN.network, self._compilations.start)
        self._compiling: dict[str, Tracked] = {}
        self._since: dict[str, float] = {}
        """When compiling for those jobs began."""
        self._poppers: deque[anyio.Event] = deque()
        self._short_poppers: deque[anyio.Event] = deque()
        self._compilers: deque[anyio.Event] = deque()
        self._queued: set[str] = set()
        self._waiting: set[str] = set()
        self._incoming: set[str] = set()
        self._modules: dict[str, _Needed] = {}
        self.places = Shares()
        """Jobs that run when a slot is free, or whose transfer is not finished."""
        self.input_bytes = Shares()
        """Of the inputs of all jobs here."""
        self.incoming_bytes = Shares()
        """Of the inputs that are not all there yet, as large as their senders said."""
        self.module_bytes = Shares()
        """Of the modules that jobs here need; each is part of the share of whoever brought the first of its jobs."""

    @property
    def held(self) -> Mapping[PeerId, Collection[str]]:
        """The ids of what each client has not seen the end of."""
        return self._held

    @property
    def waiting(self) -> int:
        """Jobs that run when a slot is free, and those whose transfer is not finished."""
        return len(self._waiting)

    @property
    def queued(self) -> int:
        """Jobs that have all that they need and wait for a slot."""
        return len(self._queued)

    @property
    def ready(self) -> int:
        """Of those the ones whose module is compiled."""
        return len(self._ready)

    def get(self, job_id: str) -> Tracked | None:
        """The job, as long as it has not ended."""
        return self._tracked.get(job_id)

    def transferring(self) -> list[Tracked]:
        """The jobs that do not have all yet that they need."""
        return [tracked for tracked in self._tracked.values() if tracked.state == TRANSFERRING]

    def modules(self) -> Collection[str]:
        """The modules that something here still needs."""
        return self._modules.keys()

    def module_bytes_of(self, module: str) -> int:
        """How much of :attr:`module_bytes` is of this module."""
        needed = self._modules.get(module)
        return needed.size if needed is not None else 0

    def track(self, tracked: Tracked) -> None:
        """Hold an accepted job."""
        accepted = tracked.accepted
        self._tracked[accepted.id] = tracked
        self._held.setdefault(accepted.client, set()).add(accepted.id)
        self._wait(accepted)
        _take(self.input_bytes, accepted.origin, counted(accepted.input_size))
        if tracked.state == TRANSFERRING and tracked.input is None and accepted.input_size:
            self._incoming.add(accepted.id)
            _take(self.incoming_bytes, accepted.origin, accepted.input_size)
        self._need_module(accepted)

    def push(self, tracked: Tracked, *, ready: bool | None = None) -> None:
        """The job has all that it needs: it waits for a slot, or goes on waiting. `ready` says what is known of it."""
        accepted = tracked.accepted
        if accepted.id not in self._tracked or accepted.id in self._queued:
            return
        self._arrive(accepted)
        self._wait(accepted)
        tracked.move(QUEUED, ahead=self.queued)
        self._queued.add(accepted.id)
        if self._is_ready(accepted) if ready is None else ready:
            self._push_ready(tracked)
        else:
            self._uncompiled.push(accepted.origin, tracked)
            _wake_one(self._compilers)

    async def pop(self) -> Tracked:
        """The next job to run."""
        while (tracked := self._ready.pop()) is None:
            await _woken(self._poppers)
        return self._popped(tracked)

    async def pop_short(self) -> Tracked:
        """The next job to run that may be expected to be short: those of its network were so lately."""
        while (tracked := self._ready.pop(self._is_short)) is None:
            await _woken(self._short_poppers)
        return self._popped(tracked)

    def skipped(self, tracked: Tracked) -> None:
        """A job had its turn and needed none."""
        self._runs.give_back(tracked.accepted.origin.network, tracked.expected)

    def ran(self, tracked: Tracked, seconds: float) -> None:
        """A job held its slot for so long."""
        self._runs.end(tracked.accepted.origin.network, seconds, tracked.expected)
        if not self._ready:
            self._runs.rest()
        elif self._is_short(tracked):
            # Others of its network may wait that nobody expected to be short.
            _wake_one(self._short_poppers)

    def _is_short(self, tracked: Tracked) -> bool:
        return self._runs.each(tracked.accepted.origin.network) <= SHORT_SECONDS

    def _push_ready(self, tracked: Tracked) -> None:
        self._ready.push(tracked.accepted.origin, tracked)
        if self._poppers:
            _wake_one(self._poppers)
        elif self._is_short(tracked):
            _wake_one(self._short_poppers)

    def _popped(self, tracked: Tracked) -> Tracked:
        if self._ready:
            # Whoever was woken for a short job may have taken another one.
            _wake_one(self._short_poppers)
        tracked.expected = self._runs.begin(tracked.accepted.origin.network)
        self._queued.remove(tracked.accepted.id)
        self._stop_waiting(tracked.accepted)
        self._tell_places()
        return tracked

    async def pop_uncompiled(self) -> Tracked:
        """The next job whose module is to be compiled; :meth:`compiled` follows.

        Each address has one module compiled at a time, and one beside it that takes long, so that it never has all
        slots; and no module twice at once.
        """
        while (tracked := self._uncompiled.pop(self._may_compile)) is None:
            await _woken(self._compilers)
        tracked.expected = self._compilations.begin(tracked.accepted.origin.network)
        self._queued.remove(tracked.accepted.id)
        self._compiling[tracked.accepted.id] = tracked
        self._since[tracked.accepted.id] = anyio.current_time()
        self._tell_places()
        return tracked

    def compiled(self, tracked: Tracked) -> None:
        """What :meth:`pop_uncompiled` gave is compiled, or will not be: jobs of the same module go on with that."""
        del self._compiling[tracked.accepted.id]
        took = anyio.current_time() - self._since.pop(tracked.accepted.id)
        self._compilations.end(tracked.accepted.origin.network, took, tracked.expected)
        if not self._uncompiled:
            self._compilations.rest()
        module = _module(tracked.accepted)
        while (same := self._uncompiled.pop(lambda other: self._is_done(other, module))) is not None:
            self._push_ready(same)
        for _ in range(len(self._uncompiled)):
            _wake_one(self._compilers)

    def forget(self, tracked: Tracked) -> None:
        """The job has ended or is given up."""
        accepted = tracked.accepted
        if self._tracked.pop(accepted.id, None) is None:
            return
        ids = self._held[accepted.client]
        ids.discard(accepted.id)
        if not ids:
            del self._held[accepted.client]
        self._stop_waiting(accepted)
        if accepted.id in self._queued:
            self._queued.remove(accepted.id)
            self._ready.remove(accepted.origin, tracked) or self._uncompiled.remove(accepted.origin, tracked)
        self._arrive(accepted)
        _give(self.input_bytes, accepted.origin, counted(accepted.input_size))
        self._release_module(accepted)

    def _is_done(self, tracked: Tracked, module: str) -> bool:
        return _module(tracked.accepted) == module and self._is_ready(tracked.accepted)

    def is_slow(self, tracked: Tracked) -> bool:
        """Whether compiling the job's module was given up once for taking long."""
        return self._modules[_module(tracked.accepted)].slow

    def give_way(self, tracked: Tracked) -> None:
        """Compiling the job's module takes long: it is begun anew where it keeps none from those that do not."""
        self._modules[_module(tracked.accepted)].slow = True

    def _may_compile(self, tracked: Tracked) -> bool:
        module, place, slow = _module(tracked.accepted), _place(tracked.accepted.origin), self.is_slow(tracked)
        alike = [other for other in self._compiling.values() if self.is_slow(other) == slow]
        return (
            all(_module(other.accepted) != module for other in self._compiling.values())
            and all(_place(other.accepted.origin) != place for other in alike)
            and not (slow and len(alike) >= self._slow_slots)
        )

    def _tell_places(self) -> None:
        for turns in (self._ready, self._uncompiled):
            if turns:
                for position, later in enumerate(turns):
                    if later.ahead != position:
                        later.move(QUEUED, ahead=position)

    def _wait(self, accepted: Accepted) -> None:
        if accepted.id not in self._waiting:
            self._waiting.add(accepted.id)
            _take(self.places, accepted.origin, 1)

    def _stop_waiting(self, accepted: Accepted) -> None:
        if accepted.id in self._waiting:
            self._waiting.remove(accepted.id)
            _give(self.places, accepted.origin, 1)

    def _arrive(self, accepted: Accepted) -> None:
        if accepted.id in self._incoming:
            self._incoming.remove(accepted.id)
            _give(self.incoming_bytes, accepted.origin, accepted.input_size)

    def _need_module(self, accepted: Accepted) -> None:
        needed = self._modules.get(_module(accepted))
        if needed is None:
            needed = self._modules[_module(accepted)] = _Needed(0, accepted.origin)
        needed.users[accepted.id] = accepted.origin
        size = counted(accepted.module_size)
        if size > needed.size:
            _take(self.module_bytes, needed.holder, size - needed.size)
            needed.size = size

    def _release_module(self, accepted: Accepted) -> None:
        needed = self._modules[_module(accepted)]
        del needed.users[accepted.id]
        holder = next(iter(needed.users.values()), None)
        if holder == needed.holder:
            return
        _give(self.module_bytes, needed.holder, needed.size)
        if holder is None:
            del self._modules[_module(accepted)]
        else:
            _take(self.module_bytes, holder, needed.size)
            needed.holder = holder


def counted(size: int) -> int:
    """What an input or module of `size` bytes counts: nothing where it is small, since places are bounded."""
    return size if size > INLINE_BYTES else 0


def _module(accepted: Accepted) -> str:
    return accepted.job.manifest.module_hash


def _place(origin: Origin) -> tuple[str, str]:
    return (origin.network, origin.address)


def _take(shares: Shares, origin: Origin, amount: int) -> None:
    if amount and origin is not OWN:
        shares.take(origin, amount)


def _give(shares: Shares, origin: Origin, amount: int) -> None:
    if amount and origin is not OWN:
        shares.give(origin, amount)


def _wake_one(events: deque[anyio.Event]) -> None:
    if events:
        events.popleft().set()


async def _woken(events: deque[anyio.Event]) -> None:
    woken = anyio.Event()
    events.append(woken)
    try:
        await woken.wait()
    except BaseException:
        if woken.is_set():
            # What it was woken for is there for another.
            _wake_one(events)
        else:
            events.remove(woken)
        raise

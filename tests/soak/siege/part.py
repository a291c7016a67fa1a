"""The part of the soak: each kind of attack in turn, then all at once, beside an honest client."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from tests.bench.processes import Child, child, home, node
from tests.soak.siege.honest import JOB_SECONDS, WAYS
from tests.soak.siege.processor_group import NoGroups, ProcessorGroup, processor_group

KINDS = (
    "connections",
    "handshakes",
    "frames",
    "fragments",
    "silence",
    "records",
    "outputs",
    "noise",
    "requests",
    "results",
    "pushes",
    "cancels",
    "unfinished",
    "trickle",
    "bombs",
    "everything",
)
"""The bombs late: what they leave behind is compiled for minutes, and would stand in the way of the other attackers."""
CORES = 0.5
"""The attackers share the machine with the node and the honest client, and are not to win by that."""
LEAST_SUCCESS = 0.99
MOST_SLOWER = 3.0
"""The honest client's median by the quiet one."""
_START_SECONDS = 120.0
_QUIET_PART = 0.5
"""The quiet rounds before and after all of the attacks, by the time of one attack."""
_LATE_SECONDS = 10 * JOB_SECONDS
"""After the time of a round: for the jobs that it has begun."""
_MOST_SHOWN = 5

Say = Callable[[str], None]


@dataclass
class Round:
    """What the honest client had while one kind of attack went on."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    """What the attackers did."""

    def jobs(self, way: str) -> int:
        """How many jobs the client had run in that way, or tried to."""
        return len(self.seconds.get(way, ())) + len(self.failures.get(way, ()))

    @property
    def success(self) -> float:
        """The part of all jobs that succeeded."""
        jobs = sum(map(self.jobs, WAYS))
        return sum(len(self.seconds.get(way, ())) for way in WAYS) / jobs if jobs else 0.0

    def median(self, way: str) -> float | None:
        """Seconds; ``None`` where none succeeded."""
        seconds = self.seconds.get(way)
        return statistics.median(seconds) if seconds else None


@dataclass
class SiegeFigures:
    """What came of the siege."""

    quiet: Round = field(default_factory=Round)
    rounds: dict[str, Round] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def slower(self, kind: str, way: str) -> float | None:
        """The median of a way by the quiet one; ``None`` where either is not known."""
        under, quiet = self.rounds[kind].median(way), self.quiet.median(way)
        return under / quiet if under is not None and quiet else None

    def held(self, kind: str) -> bool:
        """Whether the honest client was served as it should be."""
        ratios = [self.slower(kind, way) for way in WAYS]
        served = self.rounds[kind].success >= LEAST_SUCCESS
        return served and all(ratio is not None and ratio <= MOST_SLOWER for ratio in ratios)

    @property
    def passed(self) -> bool:
        return bool(self.rounds) and not self.failures and all(map(self.held, self.rounds))

    def as_document(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "quiet_milliseconds": {way: _milliseconds(self.quiet.median(way)) for way in WAYS},
            "kinds": {
                kind: {
                    "held": self.held(kind),
                    "success": round.success,
                    "jobs": {way: round.jobs(way) for way in WAYS},
                    "milliseconds": {way: _milliseconds(round.median(way)) for way in WAYS},
                    "slower": {way: self.slower(kind, way) for way in WAYS},
                    "attackers": dict(round.done),
                    "failures": {way: round.failures.get(way, [])[:_MOST_SHOWN] for way in WAYS},
                }
                for kind, round in self.rounds.items()
            },
            "failures": self.failures,
        }

    def as_lines(self) -> list[str]:
        """For people."""
        lines = [f"siege: {'passed' if self.passed else 'FAILED'}", f"  quiet: {_ways(self.quiet)}"]
        for kind, round in self.rounds.items():
            ratios = (self.slower(kind, way) for way in WAYS)
            slower = ", ".join("–" if ratio is None else f"{ratio:.1f}" for ratio in ratios)
            verdict = "held" if self.held(kind) else "DID NOT HOLD"
            lines.append(
                f"  {kind}: {100 * round.success:.1f} % succeeded, {_ways(round)}, slower by {slower}: {verdict}"
            )
            lines.append("    attackers: " + ", ".join(f"{what} {count}" for what, count in round.done.most_common(8)))
            for way in WAYS:
                lines += [f"    {way}: {failure}" for failure in round.failures.get(way, [])[:_MOST_SHOWN]]
        return lines + [f"  {failure}" for failure in self.failures]


class SiegeSoak:
    """One run. `figures` are right at any moment."""

    def __init__(self, folder: Path, config: str) -> None:
        self.figures = SiegeFigures()
        self._folder = folder
        self._config = config

    async def go(self, seconds: float, stop: anyio.Event, say: Say) -> None:
        """Attack in each way for its part of `seconds`, or until `stop`."""
        self._folder.mkdir(exist_ok=True)
        each = seconds / (len(KINDS) + 2 * _QUIET_PART)
        try:
            with processor_group(CORES) as group:
                await self._besiege(group, each, stop, say)
        except NoGroups as error:
            self.figures.failures.append(str(error))

    async def _besiege(self, group: ProcessorGroup, each: float, stop: anyio.Event, say: Say) -> None:
        async with node("node", self._folder, config=self._config) as running:
            command = ["tests.soak.siege.honest", str(home(self._folder, "honest")), running.address]
            async with child("honest", self._folder, command) as honest:
                await honest.reply(_START_SECONDS)
                # Not counted: the first job has its module compiled.
                await _round(honest, 1.0)
                before = self.figures.quiet = await _round(honest, _QUIET_PART * each)
                for kind in KINDS:
                    if stop.is_set():
                        return
                    say(f"siege: {kind}, {each:.0f} s")
                    self.figures.rounds[kind] = await self._attack(kind, each, running.address, honest, group)
                # What the attackers left behind may keep nobody waiting either.
                self.figures.quiet = _together([before, await _round(honest, _QUIET_PART * each)])

    async def _attack(self, kind: str, seconds: float, address: str, honest: Child, group: ProcessorGroup) -> Round:
        async with child(f"attackers-{kind}", self._folder, ["tests.soak.siege.attackers", kind, address]) as attackers:
            group.add(attackers.pid)
            await attackers.reply(_START_SECONDS)
            # Half of them are there by now; the rest come while the client works.
            await anyio.sleep(min(seconds / 4, 10))
            result = await _round(honest, seconds)
            assert attackers.process.stdin is not None
            await attackers.process.stdin.aclose()
            result.done = Counter((await attackers.reply(_START_SECONDS))["done"])
            return result


async def _round(honest: Child, seconds: float) -> Round:
    reply = await honest.ask({"seconds": seconds}, seconds + _LATE_SECONDS)
    return Round(seconds=reply["seconds"], failures=reply["failures"])


def _together(rounds: list[Round]) -> Round:
    def joined(parts: list[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
        return {way: [one for part in parts for one in part[way]] for way in WAYS}

    return Round(seconds=joined([r.seconds for r in rounds]), failures=joined([r.failures for r in rounds]))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)


def _ways(round: Round) -> str:
    return ", ".join(f"{way} {_milliseconds(round.median(way))} ms of {round.jobs(way)}" for way in WAYS)

"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

FORMAT = 1
_DISTRIBUTIONS = ("plasm", "wasmtime", "pywasm3", "libp2p", "distributed", "ray")


@dataclass(frozen=True)
class Figure:
    """One measured thing: a value for each round; `value` is their median."""

    name: str
    unit: str
    rounds: Sequence[float]

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Target:
    """What was asked of a figure: at most, or at least, so much."""

    name: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


class Rounds:
    """Values as they come, round by round."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[str, list[float]]] = {}

    def note(self, name: str, unit: str, value: float) -> None:
        self._values.setdefault(name, (unit, []))[1].append(value)

    def __iter__(self) -> Iterator[Figure]:
        for name, (unit, values) in self._values.items():
            yield Figure(name, unit, tuple(values))


@dataclass
class Report:
    """Everything of one run. `say` tells how far it is."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is missing, and why."""
    say: Callable[[str], None] = lambda line: None

    def add(self, name: str, unit: str, rounds: Sequence[float]) -> None:
        self.figures[name] = Figure(name, unit, tuple(rounds))

    def add_all(self, rounds: Rounds) -> None:
        for figure in rounds:
            self.figures[figure.name] = figure

    def note(self, line: str) -> None:
        self.notes.append(line)
        self.say(line)

    def difference(self, ours: str, theirs: str) -> None:
        """Adds the figure ``OURS, over bare``: round by round, so that what disturbed a round disturbed both."""
        pairs = self._pairs(ours, theirs)
        self.add(f"{ours}, over bare", self.figures[ours].unit, [our - their for our, their in pairs])

    def quotient(self, ours: str, theirs: str) -> None:
        """Adds the figure of :meth:`ratio`, named ``OURS by bare`` or, where that is no yardstick, by its name."""
        name = f"{ours} by bare" if theirs.endswith("bare") else f"{ours}: by {theirs}"
        self.add(name, "times", [our / their for our, their in self._pairs(ours, theirs)])

    def ask(self, name: str, measured: float, bound: float, *, at_least: bool = False) -> None:
        self.targets.append(Target(name, measured, bound, at_least))

    def ratio(self, ours: str, theirs: str) -> float:
        """Ours by theirs: the median over the rounds, so that what disturbed a round disturbed both."""
        return statistics.median(our / their for our, their in self._pairs(ours, theirs))

    def _pairs(self, ours: str, theirs: str) -> Iterator[tuple[float, float]]:
        return zip(self.figures[ours].rounds, self.figures[theirs].rounds, strict=True)

    def as_document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": FORMAT,
            "machine": {
                "cores": os.cpu_count(),
                "load": list(os.getloadavg()),
                "python": platform.python_version(),
                "system": platform.platform(),
                "versions": {name: _version(name) for name in _DISTRIBUTIONS},
            },
            "settings": dict(self.settings),
            "figures": {
                name: {"unit": figure.unit, "value": figure.value, "rounds": list(figure.rounds)}
                for name, figure in self.figures.items()
            },
            "targets": [
                {
                    "name": target.name,
                    "measured": target.measured,
                    "bound": target.bound,
                    "at_least": target.at_least,
                    "met": target.met,
                }
                for target in self.targets
            ],
            "notes": list(self.notes),
        }

    def as_table(self) -> str:
        """For people."""
        width = max(len(name) for name in (*self.figures, *(target.name for target in self.targets)))
        lines = [f"{'':{width}}  {'median':>10}  {'least':>10}  {'most':>10}"]
        for figure in self.figures.values():
            numbers = "  ".join(f"{_number(n):>10}" for n in (figure.value, min(figure.rounds), max(figure.rounds)))
            lines.append(f"{figure.name:{width}}  {numbers}  {figure.unit}")
        lines.append("")
        for target in self.targets:
            sign = "≥" if target.at_least else "≤"
            asked = f"asked {sign} {_number(target.bound)}"
            verdict = "met" if target.met else "FALLS SHORT"
            lines.append(f"{target.name:{width}}  {_number(target.measured):>10}  {asked}  {verdict}")
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of `values`."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.1f}"

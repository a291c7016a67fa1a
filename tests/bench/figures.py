"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

FORMAT = 1


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


@dataclass
class Report:
    """Everything of one run."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)

    def add(self, name: str, unit: str, rounds: Sequence[float]) -> None:
        self.figures[name] = Figure(name, unit, tuple(rounds))

    def ask(self, name: str, measured: float, bound: float, *, at_least: bool = False) -> None:
        self.targets.append(Target(name, measured, bound, at_least))

    def ratio(self, ours: str, theirs: str) -> float:
        """Ours by theirs: the median over the rounds, so that what disturbed a round disturbed both."""
        pairs = zip(self.figures[ours].rounds, self.figures[theirs].rounds, strict=True)
        return statistics.median(our / their for our, their in pairs)

    def as_document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": FORMAT,
            "machine": {
                "cores": os.cpu_count(),
                "load": list(os.getloadavg()),
                "python": platform.python_version(),
                "system": platform.platform(),
                "versions": {name: _version(name) for name in ("plasm", "wasmtime", "libp2p", "distributed")},
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
        return "\n".join(lines)


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
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.1f}"

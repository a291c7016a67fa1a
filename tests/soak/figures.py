"""What a soak found, for people and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.soak.generated import GeneratedFigures
from tests.soak.growth import Growth, as_document
from tests.soak.ledger import Discrepancy
from tests.soak.siege.part import SiegeFigures

FORMAT = 1
_MOST_LISTED = 50


@dataclass
class KillFigures:
    """What came of killing the node."""

    seconds: float = 0
    kills: int = 0
    restart_seconds: list[float] = field(default_factory=list)
    submitted: int = 0
    accepted: int = 0
    delivered: int = 0
    unanswered: int = 0
    """Submissions that ended without a result while the node was down; those that were accepted are asked for again."""
    asked_again: int = 0
    given_up: int = 0
    left_over: list[str] = field(default_factory=list)
    """Processes of a killed node that outlived it."""
    discrepancies: list[Discrepancy] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        complete = self.accepted > 0 and self.asked_again == self.accepted
        return complete and not (self.discrepancies or self.failures or self.left_over)

    def as_document(self) -> dict[str, Any]:
        found = Counter(each.what for each in self.discrepancies)
        return {
            "passed": self.passed,
            "seconds": self.seconds,
            "kills": self.kills,
            "restart_seconds": _spread(self.restart_seconds),
            "submitted": self.submitted,
            "accepted": self.accepted,
            "delivered": self.delivered,
            "unanswered": self.unanswered,
            "asked_again": self.asked_again,
            "given_up": self.given_up,
            **{what: found[what] for what in ("lost", "wrong", "changed")},
            "left_over": self.left_over,
            "discrepancies": [vars(each) for each in self.discrepancies[:_MOST_LISTED]],
            "failures": self.failures[:_MOST_LISTED],
        }


@dataclass
class MixedFigures:
    """What came of jobs of all kinds."""

    seconds: float = 0
    jobs: Counter[str] = field(default_factory=Counter)
    """By kind."""
    growths: list[Growth] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.jobs) and not self.failures and all(growth.harmless for growth in self.growths)

    def as_document(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "seconds": self.seconds,
            "jobs": dict(sorted(self.jobs.items())),
            "growth": [as_document(growth) for growth in self.growths],
            "failures": self.failures[:_MOST_LISTED],
        }


@dataclass
class CellFigures:
    """What came of killing the processes that jobs run in."""

    seconds: float = 0
    kills: Counter[str] = field(default_factory=Counter)
    """By what was killed."""
    submitted: int = 0
    accepted: int = 0
    delivered: int = 0
    asked_again: int = 0
    runs_died: int = 0
    """Attempts whose process died."""
    tried_again: Counter[str] = field(default_factory=Counter)
    """Other reasons for which the node made an attempt again."""
    given_up: int = 0
    before: float = 0
    """Milliseconds of a job, before anything was killed."""
    after: float = 0
    held: dict[str, tuple[float, float]] = field(default_factory=dict)
    """What the node held at rest, before and after."""
    left_over: list[str] = field(default_factory=list)
    """Processes and control groups of the node that outlived it."""
    growths: list[Growth] = field(default_factory=list)
    discrepancies: list[Discrepancy] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        complete = self.accepted > 0 and self.asked_again == self.accepted and self.kills.total() > 0
        wrong = self.discrepancies or self.failures or self.left_over
        return complete and not wrong and all(growth.harmless for growth in self.growths)

    def as_document(self) -> dict[str, Any]:
        found = Counter(each.what for each in self.discrepancies)
        return {
            "passed": self.passed,
            "seconds": self.seconds,
            "kills": dict(sorted(self.kills.items())),
            "submitted": self.submitted,
            "accepted": self.accepted,
            "delivered": self.delivered,
            "asked_again": self.asked_again,
            "runs_died": self.runs_died,
            "tried_again": dict(self.tried_again.most_common(_MOST_LISTED)),
            "given_up": self.given_up,
            "job_milliseconds": {"before": self.before, "after": self.after},
            "held": {name: {"before": before, "after": after} for name, (before, after) in self.held.items()},
            **{what: found[what] for what in ("lost", "wrong", "changed")},
            "left_over": self.left_over,
            "growth": [as_document(growth) for growth in self.growths],
            "discrepancies": [vars(each) for each in self.discrepancies[:_MOST_LISTED]],
            "failures": self.failures[:_MOST_LISTED],
        }

    def as_lines(self) -> list[str]:
        """For people."""
        kills = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kills.items()))
        return [
            f"kill -9 of cells: {self.kills.total()} in {self.seconds:.0f} s ({kills}): {_word(self.passed)}",
            f"  submitted {self.submitted}, accepted {self.accepted}, delivered {self.delivered}, "
            f"asked for at the end {self.asked_again}",
            f"  runs that died {self.runs_died}, given up by the node after three attempts {self.given_up}, "
            f"tried again for other reasons {self.tried_again.total()}",
            f"  {_counts(self.discrepancies)}",
            f"  a job took {self.before:.1f} ms before, {self.after:.1f} ms after",
            *(
                f"  {name} at rest: {before:.1f} before, {after:.1f} after"
                for name, (before, after) in self.held.items()
            ),
            *map(_grown, self.growths),
            *(f"  tried again {count} times: {why}" for why, count in self.tried_again.most_common(20)),
            *(f"  {each.what}: {each.kind} {each.job_id}: {each.detail}" for each in self.discrepancies[:20]),
            *(f"  outlived the node: {each}" for each in self.left_over[:20]),
            *(f"  {each}" for each in self.failures[:20]),
        ]


@dataclass
class RequestFigures:
    """What came of requests to a boot provider that nobody should send."""

    seconds: float = 0
    requests: int = 0
    downloads: int = 0
    """Of an honest client meanwhile."""
    grown: int = 0
    """Bytes of the provider's memory."""
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return self.requests > 0 and self.downloads > 0 and not self.failures

    def as_document(self) -> dict[str, Any]:
        return {"passed": self.passed, **vars(self), "failures": self.failures[:_MOST_LISTED]}

    def as_lines(self) -> list[str]:
        """For people."""
        return [
            f"requests to a provider: {self.requests} in {self.seconds:.0f} s: {_word(self.passed)}",
            f"  downloads meanwhile {self.downloads}, memory {self.grown / 2**20:+.1f} MiB",
            *(f"  {each}" for each in self.failures[:20]),
        ]


@dataclass
class Figures:
    """Everything of one soak; a part that did not begin is ``None``."""

    interrupted: bool = False
    kill: KillFigures | None = None
    mixed: MixedFigures | None = None
    cells: CellFigures | None = None
    siege: SiegeFigures | None = None
    requests: RequestFigures | None = None
    generated: GeneratedFigures | None = None

    @property
    def passed(self) -> bool:
        every = (self.kill, self.mixed, self.cells, self.siege, self.requests, self.generated)
        parts = [part for part in every if part is not None]
        return bool(parts) and all(part.passed for part in parts)

    def as_document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": FORMAT,
            "passed": self.passed,
            "interrupted": self.interrupted,
            "kill": self.kill.as_document() if self.kill is not None else None,
            "mixed": self.mixed.as_document() if self.mixed is not None else None,
            "cells": self.cells.as_document() if self.cells is not None else None,
            "siege": self.siege.as_document() if self.siege is not None else None,
            "requests": self.requests.as_document() if self.requests is not None else None,
            "generated": self.generated.as_document() if self.generated is not None else None,
        }

    def as_table(self) -> str:
        """For people."""
        lines = []
        if (kill := self.kill) is not None:
            lines += [
                f"kill -9: {kill.kills} times in {kill.seconds:.0f} s: {_word(kill.passed)}",
                f"  submitted {kill.submitted}, accepted {kill.accepted}, delivered at once {kill.delivered}, "
                f"unanswered meanwhile {kill.unanswered}",
                f"  asked for at the end {kill.asked_again}, given up by the node after three attempts {kill.given_up}",
                f"  {_counts(kill.discrepancies)}",
            ]
            if kill.restart_seconds:
                spread = _spread(kill.restart_seconds)
                lines.append(f"  from death to ready: median {spread['median']:.1f} s, most {spread['most']:.1f} s")
            lines += [f"  {each.what}: {each.kind} {each.job_id}: {each.detail}" for each in kill.discrepancies[:20]]
            lines += [f"  outlived the node: {each}" for each in kill.left_over[:20]]
            lines += [f"  {each}" for each in kill.failures[:20]]
        if (mixed := self.mixed) is not None:
            total = mixed.jobs.total()
            lines.append(f"mixed jobs: {total} in {mixed.seconds:.0f} s: {_word(mixed.passed)}")
            lines.append("  " + ", ".join(f"{kind} {count}" for kind, count in sorted(mixed.jobs.items())))
            lines += map(_grown, mixed.growths)
            lines += [f"  {each}" for each in mixed.failures[:20]]
        if self.cells is not None:
            lines += self.cells.as_lines()
        if self.siege is not None:
            lines += self.siege.as_lines()
        if self.requests is not None:
            lines += self.requests.as_lines()
        if self.generated is not None:
            lines += self.generated.as_lines()
        if self.interrupted:
            lines.append("interrupted: these figures are partial")
        return "\n".join(lines)


def _grown(growth: Growth) -> str:
    values = f"  {growth.name}: {growth.first:.1f} → {growth.last:.1f} {growth.unit}".rstrip()
    verdict = "harmless" if growth.harmless else f"MORE THAN {growth.allowed:g}"
    return f"{values}, {growth.rise:+.1f} by its slope ({growth.per_hour:+.1f} an hour), {verdict}"


def _word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def _counts(found: Sequence[Discrepancy]) -> str:
    counts = Counter(each.what for each in found)
    return ", ".join(f"{what} {counts[what]}" for what in ("lost", "wrong", "changed"))


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"median": statistics.median(values), "most": max(values)}

"""What a soak found, for people and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.soak.growth import Growth, as_document
from tests.soak.ledger import Discrepancy

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
class Figures:
    """Everything of one soak; a part that did not begin is ``None``."""

    interrupted: bool = False
    kill: KillFigures | None = None
    mixed: MixedFigures | None = None

    @property
    def passed(self) -> bool:
        parts = [part for part in (self.kill, self.mixed) if part is not None]
        return bool(parts) and all(part.passed for part in parts)

    def as_document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": FORMAT,
            "passed": self.passed,
            "interrupted": self.interrupted,
            "kill": self.kill.as_document() if self.kill is not None else None,
            "mixed": self.mixed.as_document() if self.mixed is not None else None,
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
            lines += [
                f"  {growth.name}: {growth.first:.1f} → {growth.last:.1f} {growth.unit}".rstrip()
                + f", {growth.rise:+.1f} by its slope ({growth.per_hour:+.1f} an hour), "
                + ("harmless" if growth.harmless else f"MORE THAN {growth.allowed:g}")
                for growth in mixed.growths
            ]
            lines += [f"  {each}" for each in mixed.failures[:20]]
        if self.interrupted:
            lines.append("interrupted: these figures are partial")
        return "\n".join(lines)


def _word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def _counts(found: Sequence[Discrepancy]) -> str:
    counts = Counter(each.what for each in found)
    return ", ".join(f"{what} {counts[what]}" for what in ("lost", "wrong", "changed"))


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"median": statistics.median(values), "most": max(values)}

"""Looks for programs on which engines differ, and has each made small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from .comparison import REFERENCE, differences
from .modules import Module
from .programs import Program, generate
from .reduction import reduce_program
from .voices import Kind, Panel

_BATCH: Final = 50
"""Programs that each engine runs before any answer is read."""
_REDUCED: Final = 5
"""So many programs are made small; more differences at once have few causes."""


@dataclass(frozen=True)
class Found:
    """A program on which engines differ: its seed, how they differ, and a smaller one that differs likewise."""

    seed: int
    differences: tuple[str, ...]
    smallest: Program | None = None

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {line}" for line in self.differences]
        if self.smallest is not None:
            lines.append(as_case(self.smallest, self.differences))
        return "\n".join(lines)


@dataclass
class Tally:
    """What came of the programs so far."""

    programs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    """Of the reference."""
    refused: Counter[str] = field(default_factory=Counter)
    """By engine: modules that it does not take, as it may."""
    found: list[Found] = field(default_factory=list)


def look(
    kinds: Sequence[Kind], first: int, programs: int, tally: Tally, going_on: Callable[[], bool] = lambda: True
) -> Iterator[Found]:
    """Run programs from the seed `first` on; each difference as it is found. `tally` is right after each batch."""
    with Panel(kinds) as panel:
        for begin in range(first, first + programs, _BATCH):
            if not going_on():
                return
            batch = [generate(seed) for seed in range(begin, min(begin + _BATCH, first + programs))]
            for program, told in zip(batch, panel.ask(batch), strict=True):
                tally.programs += 1
                tally.verdicts[str(told[REFERENCE][""].get("verdict"))] += 1
                tally.refused.update(name for name, answers in told.items() if "refused" in answers[""])
                if lines := differences(program, told):
                    found = Found(program.seed, tuple(lines), _smallest(program, panel, len(tally.found)))
                    tally.found.append(found)
                    yield found


def _smallest(program: Program, panel: Panel, before: int) -> Program | None:
    if before >= _REDUCED:
        return None
    try:
        return reduce_program(program, panel)
    except ValueError:
        # It does not differ by itself: what ran before it in the same process matters.
        return None


def as_case(program: Program, explained: Sequence[str]) -> str:
    """The text of a module, with its limits where they are not the usual ones."""
    usual = Program(0, Module())
    limits = ("memory_bytes", "output_bytes", "host_calls")
    changed = [f"{name}={getattr(program, name)}" for name in limits if getattr(program, name) != getattr(usual, name)]
    head = [f";; seed {program.seed}", *(f";; {line}" for line in explained), *(f";; limit {line}" for line in changed)]
    return "\n".join(head) + "\n" + program.module.as_text()

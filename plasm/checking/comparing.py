"""Two statements about one job held against each other: same, different, or not comparable and why.

Only what another honest run must repeat is compared: verdict, exit code and outputs, which the result digest covers.
Fuel and times are never compared. The rules are those of ``specs/checking.md``, section 1.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from plasm.jobs.manifest import canonical_json
from plasm.jobs.outputs import names_in_order
from plasm.jobs.receipt import EngineClaim, Predicate, Statement
from plasm.ports import Verdict

NOT_REPEATABLE: Final = frozenset({Verdict.TIMED_OUT, Verdict.CELL_DIED})
"""How fast, how loaded and how healthy a machine is decides these."""
BOUND_TO_THE_ENGINE: Final = frozenset(
    {
        Verdict.OUT_OF_FUEL,
        Verdict.OUT_OF_MEMORY,
        Verdict.OUTPUT_LIMIT,
        Verdict.HOST_CALL_LIMIT,
        Verdict.NOT_RUNNABLE,
    }
)
"""These repeat on the same engine, version and configuration alone: engines count, reserve and support differently."""
DETERMINISTIC_TRAPS: Final = frozenset(
    {
        "bad_conversion_to_integer",
        "bad_signature",
        "heap_misaligned",
        "indirect_call_to_null",
        "integer_division_by_zero",
        "integer_overflow",
        "memory_out_of_bounds",
        "null_reference",
        "table_out_of_bounds",
        "uncaught_exception",
        "unreachable",
    }
)
"""Traps that the module itself brings about. An exhausted stack and a failed allocation are not, nor is one unnamed."""
RULES_OF_THE_HOST: Final = "wasi"
"""The member of an engine's configuration that names how clock and random follow from a job."""
KNOWN_RULES: Final = "plasm-preview1/3"
"""The rules of this release (``specs/wasi.md``). What a node says that it did by others, nobody here can repeat."""

_PIECE = 64 * 1024


class Answer(enum.StrEnum):
    """What holding two runs against each other says."""

    SAME = "same"
    DIFFERENT = "different"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The answer; `differs` names what is different, `reason` says why nothing can be said."""

    answer: Answer
    differs: tuple[str, ...] = ()
    """``verdict``, ``exit code``, ``stdout``, ``stderr``, ``out/PATH``, in this order."""
    reason: str = ""

    def __str__(self) -> str:
        rest = ", ".join(self.differs) or self.reason
        return f"{self.answer.value}: {rest}" if rest else self.answer.value


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where outputs that are in hand part."""

    output: str
    """``stdout``, ``stderr`` or ``out/PATH``."""
    offset: int | None
    """Of the first byte that differs, from 0; the shorter length where one output begins with the other. ``None``
    where one run has no such output, and where only digests are known."""

    def __str__(self) -> str:
        return self.output if self.offset is None else f"{self.output} from byte {self.offset}"


def compare(one: Statement, other: Statement) -> Comparison:
    """What two statements, each proven by its own node's key, say of each other; the order does not matter."""
    first, second = one.predicate, other.predicate
    if first.job_digest != second.job_digest:
        return _not_comparable("they are about different jobs")
    for predicate in (first, second):
        if reason := _why_it_stands_alone(predicate):
            return _not_comparable(reason)
    if first.engine.configuration.get(RULES_OF_THE_HOST) != second.engine.configuration.get(RULES_OF_THE_HOST):
        return _not_comparable("clock and random follow different rules in the two engines")
    bound = sorted({first.verdict, second.verdict} & BOUND_TO_THE_ENGINE)
    if bound and not same_engine(first.engine, second.engine):
        return _not_comparable(f"{bound[0].value} repeats on the same engine, version and configuration only")
    if first.result_digest == second.result_digest:
        return Comparison(answer=Answer.SAME)
    return Comparison(answer=Answer.DIFFERENT, differs=tuple(_differences(one, other)))


def why_it_counts_for_nothing(statement: Statement) -> str:
    """Why a client, which knows its job, can hold no other answer against this one; empty where it can.

    Beside what makes a statement stand alone for everybody these are rules of the host that the client does not know:
    whether they are rules at all only the node says.
    """
    predicate = statement.predicate
    if reason := _why_it_stands_alone(predicate):
        return reason
    if predicate.engine.configuration.get(RULES_OF_THE_HOST) != KNOWN_RULES:
        return "clock and random follow rules that this client does not know"
    return ""


def same_engine(one: EngineClaim, other: EngineClaim) -> bool:
    """Whether name, version and all of the configuration are the same."""
    # Written out, because 1 and True are the same key value to Python and not to a receipt.
    return (one.name, one.version, canonical_json(one.configuration)) == (
        other.name,
        other.version,
        canonical_json(other.configuration),
    )


def first_difference(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> Difference | None:
    """At which output, and from which byte, two sets of outputs (name → content) part; ``None`` where they do not.

    Where several outputs differ it is the first of stdout, stderr and the files by name.
    """
    for name in names_in_order({*one, *other}):
        left, right = one.get(name), other.get(name)
        if left is None or right is None:
            return Difference(output=name, offset=None)
        if (offset := _first_byte(left, right)) is not None:
            return Difference(output=name, offset=offset)
    return None


def _why_it_stands_alone(predicate: Predicate) -> str:
    """Why no other run can be held against this one; empty where one can."""
    if predicate.verdict in NOT_REPEATABLE:
        return f"{predicate.verdict.value} depends on the machine and the moment"
    if predicate.verdict is Verdict.TRAPPED and predicate.trap not in DETERMINISTIC_TRAPS:
        return f"the trap {predicate.trap or 'without a name'} depends on the machine"[:120]
    if not predicate.reproducible:
        return "the run used what no other run gets: a real clock, real random bytes, or the node says so"
    return ""


def _differences(one: Statement, other: Statement) -> list[str]:
    found = []
    if one.predicate.verdict != other.predicate.verdict:
        found.append("verdict")
    if one.predicate.exit_code != other.predicate.exit_code:
        found.append("exit code")
    left, right = one.digests, other.digests
    return found + [name for name in names_in_order({*left, *right}) if left.get(name) != right.get(name)]


def _first_byte(one: bytes, other: bytes) -> int | None:
    if one == other:
        return None
    shorter = min(len(one), len(other))
    left, right = memoryview(one), memoryview(other)
    for start in range(0, shorter, _PIECE):
        end = min(start + _PIECE, shorter)
        if left[start:end] != right[start:end]:
            return next(at for at in range(start, end) if one[at] != other[at])
    return shorter


def _not_comparable(reason: str) -> Comparison:
    return Comparison(answer=Answer.NOT_COMPARABLE, reason=reason)

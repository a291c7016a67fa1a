"""Evidence: one file with two signed receipts that contradict each other, which anyone can check offline.

It is canonical JSON (RFC 8785) that holds the receipts' envelopes as they are::

    {"agreeing":[ENVELOPE, …],"receipts":[ENVELOPE, ENVELOPE],"type":"urn:phase:evidence:1"}

The type is the version. ``specs/checking.md``, section 3, has the format and what a finding means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from plasm.checking.comparing import Answer, compare, same_engine
from plasm.errors import one_line
from plasm.jobs.receipt import MAX_RECEIPT_BYTES, ReceiptRefused, Statement, claimed_node, verify_receipt
from plasm.ports import Digest, PeerId

EVIDENCE_TYPE: Final = "urn:phase:evidence:1"
MAX_AGREEING: Final = 8
MAX_EVIDENCE_BYTES: Final = (2 + MAX_AGREEING) * (MAX_RECEIPT_BYTES + 1) + 256


class EvidenceRefused(Exception):
    """The file, or the receipts, prove no contradiction; the message is one line and says why."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    agreeing: Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(max_length=MAX_AGREEING)]
    receipts: Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(min_length=2, max_length=2)]
    type: Literal["urn:phase:evidence:1"]


_files = msgspec.json.Decoder(_File)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a file of evidence proves."""

    job_digest: Digest
    statements: tuple[Statement, Statement]
    """The two that contradict each other, in the order of the file."""
    differs: tuple[str, ...]
    """As in :class:`plasm.checking.comparing.Comparison`."""
    agreeing: tuple[tuple[PeerId, ...], tuple[PeerId, ...]]
    """Further nodes that signed the same result as the first, and as the second."""
    same_engine: bool
    """Whether both name the same engine, version and configuration. Where they do not, it is the two engines that
    differ, and neither node is blamed: see ``specs/checking.md``, section 1."""
    odd_one: PeerId | None
    """Who stands alone against nodes that agree with the other, one of them on the same engine; ``None`` where that
    cannot be said. A majority of identities is no proof: identities are free."""

    @property
    def nodes(self) -> tuple[PeerId, PeerId]:
        """Who signed the two."""
        one, other = self.statements
        return PeerId(one.predicate.node), PeerId(other.predicate.node)

    @property
    def one_node(self) -> bool:
        """Whether one node signed both."""
        return self.nodes[0] == self.nodes[1]

    @property
    def self_contradiction(self) -> bool:
        """Whether one node signed both, about one engine: then it signed a false statement, whoever looks at it."""
        return self.one_node and self.same_engine


def make_evidence(one: bytes, other: bytes, agreeing: Sequence[bytes] = ()) -> bytes:
    """The file that holds the receipts `one` and `other`, and those of further nodes that agree with either.

    The same receipts give the same file in whatever order they come. Raises :exc:`EvidenceRefused`.
    """
    evidence = _written(sorted((one, other)), sorted(set(agreeing)))
    check_evidence(evidence)
    return evidence


def check_evidence(evidence: bytes) -> Finding:
    """What the file proves, with nothing else at hand. Raises :exc:`EvidenceRefused`.

    Each signature is verified with the key that its own receipt names. For a receipt that is held against a promise
    that would be worth nothing: anyone can sign as someone. Here it is all that is claimed: that these two identities
    signed statements that cannot both be true. A forger can make up identities, and then proves something about those
    alone; he cannot make a node that he does not own contradict anyone. It is not proven which of two different nodes
    signed the false one. Running the job again tells it, and further nodes that agree make it likely.
    """
    if len(evidence) > MAX_EVIDENCE_BYTES:
        raise EvidenceRefused(f"evidence of {len(evidence)} bytes is over the cap of {MAX_EVIDENCE_BYTES}")
    try:
        file = _files.decode(evidence)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EvidenceRefused(f"not a file of evidence: {one_line(str(error))}") from None
    receipts, further = [bytes(each) for each in file.receipts], [bytes(each) for each in file.agreeing]
    if receipts != sorted(receipts) or further != sorted(set(further)) or _written(receipts, further) != evidence:
        raise EvidenceRefused("the file is not in canonical form")
    one, other = (_proven(receipt) for receipt in receipts)
    comparison = compare(one, other)
    if comparison.answer is not Answer.DIFFERENT:
        raise EvidenceRefused(f"the two receipts do not contradict each other: {comparison}")
    left, right = _sides((one, other), [_proven(receipt) for receipt in further])
    return Finding(
        job_digest=Digest(one.predicate.job_digest),
        statements=(one, other),
        differs=comparison.differs,
        agreeing=(_nodes(left), _nodes(right)),
        same_engine=same_engine(one.predicate.engine, other.predicate.engine),
        odd_one=_odd_one((one, *left), (other, *right)),
    )


def _odd_one(one: Sequence[Statement], other: Sequence[Statement]) -> PeerId | None:
    """Of two sides, the node that is alone on its own; only the same engine, on the other side, can say so."""
    alone, many = sorted((one, other), key=len)
    node, engine = alone[0].predicate.node, alone[0].predicate.engine
    if len(alone) > 1 or len(many) == 1 or node == many[0].predicate.node:
        return None
    return PeerId(node) if any(same_engine(engine, each.predicate.engine) for each in many) else None


def _nodes(statements: Sequence[Statement]) -> tuple[PeerId, ...]:
    return tuple(PeerId(each.predicate.node) for each in statements)


def _sides(pair: tuple[Statement, Statement], further: Sequence[Statement]) -> tuple[list[Statement], list[Statement]]:
    sides: tuple[list[Statement], list[Statement]] = ([], [])
    nodes = [each.predicate.node for each in (*pair, *further)]
    if len(set(nodes[2:])) != len(nodes) - 2 or not set(nodes[2:]).isdisjoint(nodes[:2]):
        raise EvidenceRefused("a receipt that agrees is by a node that has another receipt in the file")
    for statement in further:
        agrees = [compare(statement, each).answer is Answer.SAME for each in pair]
        if agrees == [False, False]:
            raise EvidenceRefused("a receipt that should agree with one of the two agrees with neither")
        sides[agrees.index(True)].append(statement)
    return sides


def _proven(receipt: bytes) -> Statement:
    try:
        return verify_receipt(receipt, claimed_node(receipt))
    except ReceiptRefused as error:
        raise EvidenceRefused(f"a receipt in it is refused: {error}") from None


def _written(receipts: Sequence[bytes], agreeing: Sequence[bytes]) -> bytes:
    # The envelopes are canonical themselves, or they are refused; so the whole is.
    return b'{"agreeing":[%b],"receipts":[%b],"type":"%b"}' % (
        b",".join(agreeing),
        b",".join(receipts),
        EVIDENCE_TYPE.encode(),
    )

"""Signing with the keys that are at hand, publishing if that is enough, and saying what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plasm.commands import Context
from plasm_trust.changes import changes
from plasm_trust.cli.opening import at_hand
from plasm_trust.keys import did_of_key
from plasm_trust.published import Published
from plasm_trust.refusal import Reason, TrustRefused
from plasm_trust.repository import Repository
from plasm_trust.signing import Added, Wanted

_ONLINE = ("snapshot", "timestamp")


@dataclass
class Outcome:
    """What one round of signing did."""

    changes: tuple[str, ...] = ()
    """What was staged, in words."""
    signed: tuple[Added, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    """What is still staged."""
    absent: dict[str, str] = field(default_factory=dict)
    """Keys that were not at hand, and why."""
    published: Published | None = None
    first: bool = False
    """Whether nothing had been published before."""
    hindrance: str = ""
    """Why nothing was published, where all signatures that it takes are there."""

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "changes": list(self.changes),
            "signed": [{"role": each.role, "key": each.did} for each in self.signed],
            "staged": [staged_document(each) for each in self.wanted],
            "absent": self.absent,
            "published": self.published is not None,
            "versions": dict(self.published.versions) if self.published is not None else {},
            "root_sha256": self.published.root_fingerprint if self.published is not None else None,
            "hindrance": self.hindrance or None,
        }

    def text(self) -> str:
        """For people."""
        lines = [f"signed {each.role} with {each.did}" for each in self.signed]
        for each in self.wanted:
            lines.append(staged_text(each))
            lines += [f"    {did}: {self.absent.get(did, 'has not signed')}" for did in each.unsigned if each.missing]
        if self.hindrance:
            lines.append(f"not published: {self.hindrance}")
        if self.published is not None:
            versions = ", ".join(f"{role} {version}" for role, version in self.published.versions.items())
            lines.append(f"published: {versions}")
        return "\n".join(lines) or "there is nothing to sign"


async def sign_and_publish(
    repository: Repository,
    context: Context,
    *,
    keys: Sequence[str] = (),
    roles: Iterable[str] | None = None,
    always: bool = False,
) -> Outcome:
    """Sign what is staged, of `roles` or all of it, with the repository's keys that open here and the URIs `keys`.

    What is signed by all who must is then published; with `always` a new timestamp is, even where nothing is new.
    """
    outcome = Outcome(first=repository.published is None, changes=changes(repository.staging, repository.current()))
    chosen = None if roles is None else frozenset(roles)
    wanted = [each for each in repository.wanted() if each.missing and (chosen is None or each.role in chosen)]
    needed = dict.fromkeys(did for each in wanted for did in each.unsigned)
    known = repository.settings.keys
    async with at_hand(needed, known, keys, context) as found:
        outcome.signed = repository.sign(found.signers, [each.role for each in wanted])
        outcome.absent = found.absent
    choice = repository.choice()
    if choice is not None and (choice.new or always):
        root = choice.root.signed
        online = dict.fromkeys(did_of_key(root.get_key(name)) for role in _ONLINE for name in root.roles[role].keyids)
        async with at_hand(online, known, keys, context) as found:
            try:
                repository.publish(found.signers)
                outcome.published = Published.load(repository.folder)
            except TrustRefused as error:
                if error.reason not in (Reason.BAD_SIGNATURE, Reason.INCOMPLETE):
                    raise
                outcome.hindrance = str(error)
                outcome.absent |= found.absent
    outcome.wanted = repository.wanted()
    return outcome


def staged_text(wanted: Wanted) -> str:
    """How far the signing of one role is, in words."""
    if not wanted.missing:
        return f"{wanted.role} {wanted.version} is signed, and waits to be published"
    more = f"{wanted.missing} more signature{'' if wanted.missing == 1 else 's'}"
    return f"{wanted.role} {wanted.version} needs {more}, of:"


def staged_document(wanted: Wanted) -> dict[str, Any]:
    """The same for ``--json``."""
    return {
        "role": wanted.role,
        "version": wanted.version,
        "missing": wanted.missing,
        "signed": list(wanted.signed),
        "unsigned": list(wanted.unsigned),
    }


def how_to_pin(folder: Path, published: Published) -> str:
    """What a client needs to believe in this repository, in words."""
    return (
        f"root of trust: {folder / 'metadata' / '1.root.json'}\n"
        f"its SHA-256:   {published.root_fingerprint}\n"
        "clients pin it: hand the file over by a way that you trust, and name it with --root"
    )

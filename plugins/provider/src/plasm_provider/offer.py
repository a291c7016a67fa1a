"""What a provider offers at a moment: what is signed, and how each file in the folder stands to it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from plasm_fetching.artifact import Artifact
from plasm_trust.hashing import FileIdentity
from plasm_trust.published import Published


class State(enum.StrEnum):
    """How a file stands to what was signed under its name."""

    VERIFIED = "verified"
    """Its SHA-256 is the signed one; it is served."""
    WAITING = "waiting"
    """It has the right size and is still to be hashed."""
    CHANGED = "changed"
    """It is another one than was signed."""
    MISSING = "missing"
    """There is none."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One signed artifact, and the file that should be it."""

    artifact: Artifact
    state: State
    parts: tuple[str, ...] = ()
    """Its path below the folder of targets."""
    identity: FileIdentity | None = None
    """Of the file whose hash is known."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A snapshot; a change is another object."""

    targets: Path | None = None
    """The folder that has the artifacts."""
    published: Published | None = None
    holdings: Mapping[str, Holding] = field(default_factory=dict)
    """By target path, one for each signed artifact."""
    retired: Mapping[str, Holding] = field(default_factory=dict)
    """Artifacts of the state before, by the names that hold their digests (:func:`layout.hashed_name`): a client that
    began a moment ago still asks for them."""

    @cached_property
    def by_sha256(self) -> Mapping[str, Holding]:
        """The holdings by digest; of several with the same content one that is served, if any is."""
        current = sorted(self.holdings.values(), key=lambda each: each.state is State.VERIFIED)
        return {each.artifact.sha256: each for each in (*self.retired.values(), *current)}

    @property
    def channels(self) -> Mapping[tuple[str, str], int]:
        """Channel and architecture of each manifest → the version of the channel."""
        if self.published is None:
            return {}
        return {where: self.published.versions[where[0]] for where in sorted(self.published.manifests)}

    @property
    def first_root(self) -> str:
        """The name of the metadata file that clients pin. Raises :exc:`LookupError` where nothing is published."""
        names = self.published.metadata if self.published is not None else ()
        roots = [name for name in names if name.endswith(".root.json")]
        if not roots:
            raise LookupError("nothing is published")
        return min(roots, key=lambda name: int(name.partition(".")[0]))

    @property
    def counts(self) -> Mapping[State, int]:
        """How many holdings are in each state."""
        found = dict.fromkeys(State, 0)
        for each in self.holdings.values():
            found[each.state] += 1
        return found

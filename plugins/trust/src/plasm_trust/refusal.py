"""Why metadata, a manifest or an artifact is not believed."""

from __future__ import annotations

import enum

from plasm.errors import PlasmError


class Reason(enum.StrEnum):
    """What kind of untruth was met; the names of attacks are those of the TUF specification, section 1.5.2."""

    ROLLBACK = "rollback"
    """Older than what was already seen."""
    FROZEN = "frozen"
    """Expired: somebody serves what was true once, or a clock is wrong."""
    MIX_AND_MATCH = "mix_and_match"
    """Parts that were never published together."""
    WRONG_ROLE = "wrong_role"
    """Signed by a key that may not say this, or metadata of one role in the place of another."""
    ENDLESS_DATA = "endless_data"
    """More bytes than there may be."""
    BAD_SIGNATURE = "bad_signature"
    """Too few valid signatures of the keys that must sign."""
    WRONG_TARGET = "wrong_target"
    """An artifact that is not signed here, or is not what was signed."""
    MALFORMED = "malformed"
    """Not what the specification allows, whoever signed it."""
    INCOMPLETE = "incomplete"
    """What is kept here is not enough to tell."""
    NOT_PINNED = "not_pinned"
    """There is no root of trust to begin with."""
    OTHER_ROOT = "other_root"
    """Another root of trust is pinned already."""


class TrustRefused(PlasmError):
    """Something is not believed, and nothing of it is kept."""

    def __init__(self, reason: Reason, message: str, mend: str = "") -> None:
        super().__init__(message, mend)
        self.reason = reason

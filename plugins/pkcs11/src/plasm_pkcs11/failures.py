"""What a token reports, in one line for people."""

from __future__ import annotations

from typing import Final

import pkcs11

from plasm.errors import one_line
from plasm.ports import SignerError

_GONE = "it is gone, or was changed; put it back, then open the key again"
_WRONG_PIN = "the PIN is wrong; it was tried once, and some tokens lock after three"

_MEANINGS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (pkcs11.PinIncorrect, _WRONG_PIN),
    (pkcs11.PinInvalid, _WRONG_PIN),
    (pkcs11.PinLenRange, _WRONG_PIN),
    (pkcs11.PinLocked, "the PIN is locked; the security officer can set another"),
    (pkcs11.PinExpired, "the PIN has expired; set another"),
    (pkcs11.UserPinNotInitialized, "no user PIN is set; the security officer can set one"),
    (pkcs11.TokenWriteProtected, "it is write-protected, and no key can be made"),
    (pkcs11.MechanismInvalid, "it has no Ed25519 (CKM_EDDSA); use another token"),
    (pkcs11.TokenNotPresent, _GONE),
    (pkcs11.DeviceRemoved, _GONE),
    (pkcs11.SlotIDInvalid, _GONE),
    (pkcs11.SessionHandleInvalid, _GONE),
    (pkcs11.SessionClosed, _GONE),
    (pkcs11.ObjectHandleInvalid, _GONE),
    (pkcs11.KeyHandleInvalid, _GONE),
    (pkcs11.UserNotLoggedIn, _GONE),
)


def failure(what: str, error: pkcs11.PKCS11Error) -> SignerError:
    """`error` of the token or module that `what` names."""
    meaning = next((meaning for kind, meaning in _MEANINGS if isinstance(error, kind)), "")
    if not meaning:
        # The library knows most return values as classes, and says nothing more.
        detail = f": {error}" if str(error) else ""
        meaning = f"it reports {type(error).__name__}{detail}"
    return SignerError(one_line(f"{what}: {meaning}"))

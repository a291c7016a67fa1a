"""Tokens: which one a URI means, and the session with it that its signers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pkcs11

from plasm.errors import one_line
from plasm.ports import SignerError
from plasm_pkcs11.failures import failure
from plasm_pkcs11.modules import Module
from plasm_pkcs11.uri import KeyUri


@dataclass(frozen=True)
class Token:
    """A token that is there."""

    label: str
    slot: int
    found: Any
    """The library's own."""
    wrong_pin_before: bool
    """Whether the last PIN that it was given was wrong."""
    last_try: bool
    """Whether one more wrong PIN locks it."""

    @property
    def name(self) -> str:
        return f"the token {self.label!r}"


def find_token(module: Module, uri: KeyUri) -> Token:
    """The one token that fits `uri`, ready for a login. Raises :exc:`SignerError`."""
    with module.lock:
        found = [token for token in _present(module) if _fits(token, uri)]
        if len(found) != 1:
            count = "no token fits" if not found else f"{len(found)} tokens fit"
            there = ", ".join(sorted(repr(each.label) for each in _present(module))) or "none"
            raise SignerError(one_line(f"{count} the URI (there: {there}); say which by token and serial"))
        (token,) = found
        flags = token.flags
        if flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
            raise failure(f"the token {token.label!r}", pkcs11.PinLocked())
        return Token(
            label=token.label,
            slot=token.slot.slot_id,
            found=token,
            wrong_pin_before=bool(flags & pkcs11.TokenFlag.USER_PIN_COUNT_LOW),
            last_try=bool(flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY),
        )


def _present(module: Module) -> list[Any]:
    """The tokens that are there and initialized."""
    tokens = []
    try:
        for slot in module.library.get_slots(token_present=True):
            try:
                token = slot.get_token()
            except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised, pkcs11.DeviceRemoved):
                continue
            if token.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED:
                tokens.append(token)
    except pkcs11.PKCS11Error as error:
        raise failure(f"the PKCS#11 module {module.path}", error) from error
    return tokens


def _fits(token: Any, uri: KeyUri) -> bool:
    facts = (
        (uri.token, token.label),
        (uri.serial, token.serial.decode(errors="replace")),
        (uri.manufacturer, token.manufacturer_id),
        (uri.model, token.model),
    )
    return all(wanted is None or wanted == fact for wanted, fact in facts)


def join_session(module: Module, token: Token, pin: str | None) -> Any | None:
    """The session with `token`, opened by `pin` where there is none; given back by :func:`leave_session`.

    Without `pin` only a session that is open already; ``None`` where there is none. `pin` is tried once at most. Raises
    :exc:`SignerError`.
    """
    with module.lock:
        session = module.sessions.get(token.slot)
        if session is None:
            if pin is None:
                return None
            try:
                # Where the login fails, python-pkcs11 leaves the session open until the module is finalized.
                session = token.found.open(user_pin=pin)
            except pkcs11.PKCS11Error as error:
                raise failure(token.name, error) from None
            module.sessions[token.slot] = session
        module.session_users[token.slot] = module.session_users.get(token.slot, 0) + 1
        return session


def leave_session(module: Module, token: Token) -> None:
    """Give the session back; with its last user it is logged out and closed."""
    with module.lock:
        module.session_users[token.slot] -= 1
        if module.session_users[token.slot]:
            return
        del module.session_users[token.slot]
        try:
            module.sessions.pop(token.slot).close()
        except pkcs11.PKCS11Error:
            # The token was pulled out: its session went with it.
            return

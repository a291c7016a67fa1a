"""The signer ``pkcs11``."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import pkcs11

from plasm.drivers import DriverUnavailable, Scope
from plasm.errors import one_line
from plasm.passphrases import obtain_secret, secret_in_file
from plasm.ports import Signer, SignerError
from plasm_pkcs11 import keys
from plasm_pkcs11.failures import failure
from plasm_pkcs11.hooks import Pkcs11Options
from plasm_pkcs11.modules import Module, acquire, find_module, release
from plasm_pkcs11.tokens import Token, find_token, join_session, leave_session
from plasm_pkcs11.uri import KeyUri, parse_uri, without_pin_source

PIN_VARIABLE: Final = "PLASM_PIN_FILE"
"""The environment variable that names a file with the PIN."""

_CLOSE_SECONDS = 5.0


class KeyInToken:
    """A signer whose key stays where it is."""

    def __init__(self, module: Module, token: Token, private: Any, public_key: bytes) -> None:
        self._module = module
        self._token = token
        self._private: Any | None = private
        self._public_key = public_key

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message` (RFC 8032). Raises :exc:`SignerError`."""
        with self._module.lock:
            if self._private is None:
                raise SignerError(f"the key in {self._token.name} is closed; open it again")
            try:
                signature = keys.sign(self._private, message)
            except pkcs11.PKCS11Error as error:
                raise failure(self._token.name, error) from error
        if len(signature) != keys.SIGNATURE_BYTES:
            raise SignerError(f"{self._token.name} made no Ed25519 signature; use another token")
        return signature

    def close(self) -> None:
        """Nothing is signed any more."""
        with self._module.lock:
            self._private = None


@asynccontextmanager
async def pkcs11_signer(scope: Scope, options: Pkcs11Options) -> AsyncIterator[Signer]:
    """The key that ``options.uri`` names.

    The PIN comes from the file that the URI names in ``pin-source`` or ``PLASM_PIN_FILE``, else from a person; it is
    tried once, and is not needed where this process has the token open already. Raises :exc:`DriverUnavailable` without
    a URI or a module, and :exc:`SignerError`.
    """
    if not options.uri:
        raise DriverUnavailable(
            "no key is named", 'say which: uri = "pkcs11:token=TOKEN;object=KEY" in [signer.pkcs11]'
        )
    uri = parse_uri(options.uri)
    path = await anyio.to_thread.run_sync(
        find_module, uri.module_path, Path(options.module) if options.module else None
    )
    module = await anyio.to_thread.run_sync(acquire, path)
    try:
        token = await anyio.to_thread.run_sync(find_token, module, uri)
        session = await anyio.to_thread.run_sync(join_session, module, token, None)
        if session is None:
            pin = await _obtain_pin(scope, uri, token, options.uri)
            session = await anyio.to_thread.run_sync(join_session, module, token, pin)
        try:
            signer = await anyio.to_thread.run_sync(_open_key, module, token, session, uri, options, scope)
            try:
                yield signer
            finally:
                signer.close()
        finally:
            await _finish(leave_session, module, token)
    finally:
        await _finish(release, module)


async def _obtain_pin(scope: Scope, uri: KeyUri, token: Token, text: str) -> str:
    named = bool(os.environ.get(PIN_VARIABLE))
    if (named or uri.pin_source is not None) and (token.wrong_pin_before or token.last_try):
        # A service that is restarted again and again would lock the token.
        unset = f"env -u {PIN_VARIABLE} " if named else ""
        by_hand = f"{unset}plasm key show {shlex.quote(without_pin_source(text))}"
        reason = f"{token.name} was given a wrong PIN last time, so none is taken from a file"
        raise SignerError(one_line(f"{reason}; give it by hand: {by_hand}"))
    if uri.pin_source is not None:
        return await anyio.to_thread.run_sync(secret_in_file, uri.pin_source)
    warning = ", at the last try before it locks" if token.last_try else ""
    return await obtain_secret(scope, f"PIN of {token.name}{warning}", variable=PIN_VARIABLE)


def _open_key(
    module: Module, token: Token, session: Any, uri: KeyUri, options: Pkcs11Options, scope: Scope
) -> KeyInToken:
    with module.lock:
        private = keys.find_private_key(session, uri, token.name)
        if private is None:
            if options.create == "never":
                make = f"plasm key generate {shlex.quote(options.uri)}"
                raise SignerError(one_line(f"{token.name} has no key {uri.key}; make one: {make}"))
            private = keys.make_key(session, uri, token.name)
        elif options.create == "new":
            raise SignerError(one_line(f"{token.name} has a key {uri.key} already; name another"))
        elif keys.extractable(private):
            scope.log.warning(
                "%s", one_line(f"{token.name} may let the key {uri.key} out: it was not made to stay there")
            )
        return KeyInToken(module, token, private, keys.public_key_of(session, private, uri, token.name))


async def _finish(close: Callable[..., None], *arguments: object) -> None:
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
        await anyio.to_thread.run_sync(close, *arguments, abandon_on_cancel=True)

"""Opens a signer by its URI, for those that sign with keys other than the node's own.

Public: ``specs/plugins.md``, section 9.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, Literal

import anyio.to_thread
import msgspec

from plasm.addresses import allow_any
from plasm.distributions import install_anew
from plasm.drivers import DriverUnavailable, Options, Scope
from plasm.errors import PlanError, PlasmError, ungrouped
from plasm.passphrases import ask_on_terminal
from plasm.ports import Signer
from plasm.registry import NAME, Registered, Registry, load_registry

__all__ = ["Create", "Registry", "create_signer", "load_registry", "open_signer", "scheme_of"]

Create = Literal["never", "missing", "new"]
"""What a driver does about a key: opens one that is there, makes one where there is none, or makes one and fails where
there is one already."""

LONGEST_URI: Final = 4096
"""Characters."""


def scheme_of(uri: str) -> str:
    """The signer that `uri` names: its scheme, or ``file`` for a plain path.

    A path with a colon in its first part is written ``./a:b``. Raises :exc:`~plasm.errors.PlanError`.
    """
    if not uri or len(uri) > LONGEST_URI or not uri.isprintable():
        raise PlanError(
            f"a key's URI has 1 to {LONGEST_URI} printable characters", "for example file:/keys/release.key"
        )
    head, colon, _ = uri.partition(":")
    if not colon or "/" in head:
        return "file"
    if not NAME.fullmatch(head):
        raise PlanError(f"{head[:80]!r} is not the name of a signer", "for a file write its path with ./ before it")
    return head


@asynccontextmanager
async def open_signer(
    uri: str,
    *,
    registry: Registry | None = None,
    prompt: Callable[[str], str] | None = None,
    create: bool = False,
) -> AsyncIterator[Signer]:
    """Open the key that `uri` names (``file:/PATH``, ``encrypted:/PATH``, ``pkcs11:token=…;object=…``, a path).

    The scheme is the name of an installed signer. With `create` a key is made where there is none; without it, its
    absence is a :exc:`~plasm.ports.SignerError`. `registry` is what is installed, collected anew where it is not given.
    `prompt` is called in a thread with what is asked for ("PIN of the token release") and returns the answer; without
    it the question is put at the terminal. It is asked only where the signer needs a secret that no file holds.

    Raises :exc:`~plasm.errors.PlasmError` where no such signer can be had here, and :exc:`~plasm.ports.SignerError`
    where it does not open this key. No message holds more of `uri` than the driver lets out.
    """
    async with _open(uri, registry, prompt, "missing" if create else "never") as signer:
        yield signer


@asynccontextmanager
async def create_signer(
    uri: str, *, registry: Registry | None = None, prompt: Callable[[str], str] | None = None
) -> AsyncIterator[Signer]:
    """Make the key that `uri` names and open it; else as :func:`open_signer`.

    A key that is there already stays as it is, and is a :exc:`~plasm.ports.SignerError`.
    """
    async with _open(uri, registry, prompt, "new") as signer:
        yield signer


@asynccontextmanager
async def _open(
    uri: str, registry: Registry | None, prompt: Callable[[str], str] | None, create: Create
) -> AsyncIterator[Signer]:
    name = scheme_of(uri)
    if registry is None:
        registry = await anyio.to_thread.run_sync(load_registry)
    found = _find(registry, name)
    scope = Scope(
        home=None,
        allows=allow_any,
        log=logging.getLogger(f"plasm.signer.{name}"),
        ask=ask_on_terminal if prompt is None else _in_a_thread(prompt),
    )
    options = _options(found, uri, create)
    with ungrouped():
        async with AsyncExitStack() as stack:
            signer = await _enter(stack, found, scope, options)
            yield signer


async def _enter(stack: AsyncExitStack, found: Registered, scope: Scope, options: Options) -> Signer:
    try:
        with ungrouped():
            manager: AbstractAsyncContextManager[Any] = found.driver.open(scope, options)
            signer: Signer = await stack.enter_async_context(manager)
    except DriverUnavailable as error:
        raise PlasmError(f"{found.qualified} cannot be opened: {error}", error.mend) from error
    except ImportError as error:
        mend = install_anew(found.distribution, found.version)
        raise PlasmError(f"{found.qualified} cannot be opened: {error}", mend) from error
    return signer


def _find(registry: Registry, name: str) -> Registered:
    found = registry.find("signer", name)
    if found is None:
        if (broken := registry.breakage("signer", name)) is not None:
            raise broken.error(f"signer:{name} cannot be used")
        known = ", ".join(each.name for each in registry.drivers if each.port == "signer" and _takes_uri(each))
        hint = registry.provider_hint(name) or "for a file write its path with ./ before it"
        raise PlanError(f"no signer {name} is installed (installed: {known or 'none'})", hint)
    if not _takes_uri(found):
        raise PlanError(f"{found.qualified} has no keys that a URI could name", "name another signer")
    return found


def _takes_uri(registered: Registered) -> bool:
    fields = {each.name for each in msgspec.structs.fields(registered.driver.options)}
    return {"uri", "create"} <= fields and not registered.driver.needs


def _options(found: Registered, uri: str, create: Create) -> Options:
    kind: Callable[..., Options] = found.driver.options
    try:
        return kind(uri=uri, create=create)
    except ValueError as error:
        raise PlasmError(f"{found.qualified} cannot be opened: {error}") from error


def _in_a_thread(prompt: Callable[[str], str]) -> Callable[[str], Awaitable[str]]:
    async def ask(question: str) -> str:
        # Not abandoned when cancelled: two would read from one terminal.
        return await anyio.to_thread.run_sync(prompt, question)

    return ask

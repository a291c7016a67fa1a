"""Opening keys by URI: those that a command names, and those that this machine happens to have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from plasm.commands import Context
from plasm.errors import PlasmError, one_line
from plasm.identity import InvalidIdentity, public_key
from plasm.ports import Signer, SignerError
from plasm.signing import create_signer, open_signer
from plasm_trust.keys import did_of


@dataclass
class AtHand:
    """The keys that could be opened here."""

    signers: list[Signer] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """did:key → why it is not among them."""


@dataclass(frozen=True)
class NamedKey:
    """A key that a command names: by the URI under which it is opened, or, as a did:key, by its public half alone."""

    did: str
    uri: str


async def name_key(text: str, context: Context, *, create: bool = False) -> NamedKey:
    """The key that `text`, a URI or a did:key, names; with `create` it is made, and must not be there.

    What stands in a ``pkcs11:`` URI after a question mark is for this machine alone, and is used but not kept. Raises
    :exc:`PlasmError` or :exc:`SignerError`.
    """
    if text.startswith("did:"):
        try:
            return NamedKey(did_of(public_key(text)), "")
        except InvalidIdentity as error:
            raise PlasmError(f"{text[:80]!r}: {error}", "plasm key show URI prints a key's did:key") from None
    registry = context.registry()
    stored = text.partition("?")[0] if text.startswith("pkcs11:") else text
    opened = create_signer(text, registry=registry) if create else open_signer(text, registry=registry)
    async with opened as signer:
        return NamedKey(did_of(signer.public_key), stored)


@asynccontextmanager
async def at_hand(
    wanted: Iterable[str], known: Mapping[str, str], named: Iterable[str], context: Context
) -> AsyncIterator[AtHand]:
    """The keys of `wanted` (did:keys) that open under their URI in `known`, and those of the URIs `named`.

    One of `wanted` that does not open here is not at hand; one of `named` must: raises :exc:`PlasmError` or
    :exc:`SignerError`.
    """
    registry = context.registry()
    async with AsyncExitStack() as stack:
        found = AtHand()
        for uri in named:
            found.signers.append(await stack.enter_async_context(open_signer(uri, registry=registry)))
        have = {did_of(signer.public_key) for signer in found.signers}
        for did in wanted:
            uri = known.get(did, "")
            if did in have:
                continue
            if not uri:
                found.absent[did] = "no URI is known here for it"
                continue
            try:
                signer = await stack.enter_async_context(open_signer(uri, registry=registry))
            except (PlasmError, SignerError) as error:
                found.absent[did] = one_line(str(error))
                continue
            if did_of(signer.public_key) == did:
                found.signers.append(signer)
            else:
                found.absent[did] = f"{uri} is another key"
        yield found

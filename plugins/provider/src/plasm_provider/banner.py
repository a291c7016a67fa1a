"""What a provider says about itself when it serves: what really runs, and how a client comes to trust it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from plasm.ports import Bootstrapped
from plasm_provider.advertising import RUNNING
from plasm_provider.offer import State
from plasm_provider.provider import Provider

_NAMES: Final = {"dht": "DHT", "mdns": "mDNS"}


def banner(provider: Provider) -> Iterator[str]:
    """Lines for people."""
    offer = provider.catalog.offer
    yield from provider.source.notes
    size = sum(each.artifact.size for each in offer.holdings.values() if each.state is State.VERIFIED)
    what = ", ".join(f"{channel}/{arch} (version {version})" for (channel, arch), version in offer.channels.items())
    count = offer.counts[State.VERIFIED]
    yield f"serves {what or 'nothing yet'}: {count} {'artifact' if count == 1 else 'artifacts'}, {size} bytes"
    for state in (State.CHANGED, State.MISSING):
        paths = [path for path, each in offer.holdings.items() if each.state is state]
        if paths:
            yield f"NOT served, being {state.value}: {', '.join(paths)}"
    for name, said in sorted(provider.advertising.states.items()):
        yield f"{_NAMES.get(name, name)}: {_described(provider, name) if said == RUNNING else f'not running, {said}'}"
    yield from (f"others join through {address}" for address in _addresses(provider))
    if offer.published is None:
        return
    yield f"until {offer.published.expires:%Y-%m-%d %H:%M} UTC what is signed holds; the root of trust has SHA-256"
    yield f"  {offer.published.root_fingerprint}"
    yield "who was told this number by a way that they trust pins the root so, and fetches:"
    yield from (f"  {line}" for line in how_to_pin(provider))


def how_to_pin(provider: Provider) -> list[str]:
    """The commands by which a client pins the root, if it is the one with this SHA-256, and fetches under it."""
    offer = provider.catalog.offer
    assert offer.published is not None
    url, root = provider.urls[0], offer.first_root
    where = next(iter(offer.channels), None)
    commands = [f"phase-fetch --pin {url}metadata/{root} --fingerprint {offer.published.root_fingerprint}"]
    if where is not None:
        commands.append(f"phase-fetch --output boot {url}{where[0]}/{where[1]}/manifest.json")
    return commands


def document(provider: Provider) -> dict[str, Any]:
    """The same for programs."""
    offer = provider.catalog.offer
    return {
        "urls": list(provider.urls),
        "offers": [
            {"channel": channel, "arch": arch, "version": version}
            for (channel, arch), version in offer.channels.items()
        ],
        "artifacts": {state.value: count for state, count in offer.counts.items()},
        "root_sha256": offer.published.root_fingerprint if offer.published is not None else None,
        "root_path": f"metadata/{offer.first_root}" if offer.published is not None else None,
        "advertised": dict(provider.advertising.states),
        "p2p": list(_addresses(provider)),
    }


def _addresses(provider: Provider) -> Iterator[str]:
    """Multiaddrs of this provider's peer, of which a client gives one to ``phase-discover --bootstrap``."""
    for _, transport in provider.advertising.network.transports:
        yield from transport.addresses


def _described(provider: Provider, name: str) -> str:
    discovery = dict(provider.advertising.network.discoveries).get(name)
    if isinstance(discovery, Bootstrapped):
        return f"{RUNNING}, {'; '.join(discovery.sources())}"
    return RUNNING

"""Runs a provider until SIGTERM or Ctrl-C, and says on stderr what really runs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from plasm_trust.client import PINNED
from plasm_trust.layout import HOME_TRUST

from plasm.commands import CommandFailed, Context, run_with_ports
from plasm.errors import PlasmError
from plasm.exitcodes import INTERRUPTED
from plasm_provider.advertising import Network
from plasm_provider.banner import banner, document
from plasm_provider.provider import Provider, Settings, open_provider
from plasm_provider.sources.source import Source

if TYPE_CHECKING:
    from plasm.drivers import AddressFilter
    from plasm.home import Home

LOG: Final = logging.getLogger("plasm.service.provider")
PREFERRED: Final = ("discovery:dht", "discovery:mdns")
_LEFT_OUT: Final = "left out"
_PROGRESS_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Surroundings:
    """What a source may need of the open plan."""

    home: Path | None
    """The provider's folder in the home; ``None`` where nothing may be written."""
    pinned: Path | None
    """The root that the user of this home has pinned, whether for booting or for a mirror."""
    network: Network
    allows: AddressFilter


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a provider."""

    settings: Settings
    listen: tuple[str, ...]
    peers: tuple[str, ...]
    left_out: frozenset[str]
    """Names of discoveries."""
    as_json: bool
    source: Callable[[Surroundings], Source]
    beside: Callable[[Surroundings], Coroutine[Any, Any, None]] | None = None
    """Runs for as long as the provider does."""


def run_provider(context: Context, run: Run) -> None:
    """Serve until SIGTERM or Ctrl-C, which is how it is meant to end. Raises :exc:`PlasmError`."""
    LOG.setLevel(min(LOG.getEffectiveLevel(), logging.INFO))
    absent = dict.fromkeys(sorted(run.left_out), _LEFT_OUT)
    while True:
        try:
            run_with_ports(
                context,
                ("discovery",),
                partial(_serve, run, absent),
                listen=run.listen,
                bootstrap=run.peers,
                preferred=PREFERRED,
                without=[f"discovery:{name}" for name in absent],
            )
        except PlasmError as error:
            driver = str(getattr(error, "driver", ""))
            if isinstance(error, CommandFailed) and error.code == INTERRUPTED:
                return
            if driver.startswith("transport:"):
                mend = "--listen ADDR listens elsewhere, --no-dht does without"
                raise CommandFailed(error.message, "; ".join(filter(None, (error.mend, mend)))) from error
            if driver != "discovery:mdns" or "mdns" in absent:
                raise
            # Many a network has no multicast. That the provider cannot be found there is said, and no reason to end.
            absent["mdns"] = error.message


async def _serve(run: Run, absent: dict[str, str], opened: Any, plan: Any) -> None:
    network = Network(
        peer=opened.peer if opened.discoveries else None,
        transports=opened.transports,
        discoveries=opened.discoveries,
        absent=absent | _not_selected(absent, [name for name, _ in opened.discoveries]),
    )
    around = Surroundings(plan.home.folder("service/provider"), _pinned(plan.home), network, plan.allows)
    source = run.source(around)
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(
            open_provider(source, run.settings, home=around.home, network=network, allows=around.allows, log=LOG)
        )
        tasks = await stack.enter_async_context(anyio.create_task_group())
        if run.beside is not None:
            tasks.start_soon(run.beside, around)
        await _until_offering(provider)
        for line in banner(provider):
            _say(line)
        if run.as_json:
            print(json.dumps(document(provider)), flush=True)
        else:
            for url in provider.urls:
                print(f"ready {url}", flush=True)
        await anyio.sleep_forever()


def _pinned(home: Home) -> Path | None:
    if home.path is None or not (home.path / HOME_TRUST / PINNED).exists():
        return None
    # It is there, so that this makes none; it refuses one that others can write to.
    folder = home.folder(HOME_TRUST)
    return None if folder is None else folder / PINNED


def _not_selected(absent: dict[str, str], running: list[str]) -> dict[str, str]:
    names = (name.partition(":")[2] for name in PREFERRED)
    return {name: "not selected" for name in names if name not in absent and name not in running}


async def _until_offering(provider: Provider) -> None:
    while not provider.offering.is_set():
        with anyio.move_on_after(_PROGRESS_SECONDS):
            await provider.offering.wait()
            return
        hashing = provider.catalog.hashing
        if hashing is not None:
            _say(f"hashing {hashing.path}: {100 * hashing.done // max(hashing.total, 1)} % of {hashing.total} bytes")


def _say(line: str) -> None:
    print(f"plasm: {line}", file=sys.stderr, flush=True)

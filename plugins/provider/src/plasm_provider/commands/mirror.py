"""``plasm mirror``: serves on what a publisher signed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plasm.commands import context_of
from plasm_provider.commands.options import base_urls, p2p_addresses, serving_options

if TYPE_CHECKING:
    from plasm_provider.sources.bases import Bases


@click.command("mirror")
@click.option(
    "--from",
    "named",
    multiple=True,
    callback=base_urls,
    metavar="URL",
    help="A provider to copy from; repeatable.  [default: those that are found]",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The publisher's root, pinned at the first start.  [default: the one that phase-fetch --pin pinned]",
)
@click.option(
    "--refresh",
    type=click.FloatRange(1, 86400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How often what is new is asked for.",
)
@serving_options
@click.pass_context
def mirror(
    context: click.Context,
    *,
    named: tuple[str, ...],
    root: Path | None,
    refresh: float,
    channel: str,
    arch: str,
    port: int,
    bind: str,
    no_dht: bool,
    no_mdns: bool,
    listen: tuple[str, ...],
    peers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fetch what a publisher signed, verify it, and serve it on, without a key of one's own.

    Everything that is signed under the pinned root is copied, all channels. It goes on being served while the publisher
    is gone, until it expires.
    """
    from plasm.ports import BootTopic
    from plasm_provider.commands.running import LOG, Run, Surroundings, run_provider
    from plasm_provider.provider import Settings
    from plasm_provider.searching import search
    from plasm_provider.sources.bases import Bases
    from plasm_provider.sources.mirrored import Mirrored

    if not named and no_dht and no_mdns:
        raise click.UsageError("with --no-dht and --no-mdns nobody can be found; name a provider with --from")

    def source(around: Surroundings) -> Mirrored:
        return Mirrored(
            around.home,
            bases,
            LOG,
            how_to_pin=_how_to_pin(ours.home_path, bases),
            root=root,
            pinned=around.pinned,
            refresh_seconds=refresh,
            allows=around.allows,
        )

    async def look(around: Surroundings) -> None:
        await search(around.network, BootTopic(channel, arch), bases, allows=around.allows)

    bases, ours = Bases(named), context_of(context)
    run_provider(
        ours,
        Run(
            settings=Settings(bind=bind, port=port, channel=channel, arch=arch),
            listen=p2p_addresses(listen, bind),
            peers=peers,
            left_out=frozenset([*["dht"] * no_dht, *["mdns"] * no_mdns]),
            as_json=as_json,
            source=source,
            beside=None if named else look,
        ),
    )


def _how_to_pin(home: Path | None, bases: Bases) -> str:
    where = f" --home {shlex.quote(str(home))}" if home is not None else ""
    root = shlex.quote(f"{next(iter(bases.all()), 'URL/')}metadata/1.root.json")
    return (
        f"get its SHA-256 from the publisher, then: phase-fetch{where} --pin {root} --fingerprint HEX;"
        " or name the root's file: plasm mirror --root FILE"
    )

"""``plasm serve``: a boot provider over a plain folder or a publisher's repository."""

from __future__ import annotations

from pathlib import Path

import click

from plasm.commands import context_of
from plasm_provider.commands.options import p2p_addresses, serving_options


@click.command("serve")
@click.option(
    "-a",
    "--artifacts",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder CHANNEL/ARCH/NAME that is signed and served.  [default: the platform's]",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A publisher's repository: nothing is served but what is signed in it.",
)
@serving_options
@click.pass_context
def serve(
    context: click.Context,
    *,
    artifacts: Path | None,
    repository: Path | None,
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
    """Serve boot artifacts to any machine that asks, and say on the network that they are here.

    A plain folder just works: what it holds is signed with keys of this provider's own, and what clients must pin is
    printed.
    """
    from plasm_provider.commands.running import LOG, Run, Surroundings, run_provider
    from plasm_provider.defaults import artifacts_folder
    from plasm_provider.provider import Settings
    from plasm_provider.sources.plain_folder import PlainFolder
    from plasm_provider.sources.repository import SignedRepository
    from plasm_provider.sources.source import Source

    if artifacts is not None and repository is not None:
        raise click.UsageError("--artifacts and --repository exclude each other")

    def source(around: Surroundings) -> Source:
        if repository is not None:
            return SignedRepository(repository.absolute(), LOG)
        return PlainFolder((artifacts or artifacts_folder()).absolute(), around.home, LOG)

    run_provider(
        context_of(context),
        Run(
            settings=Settings(bind=bind, port=port, channel=channel, arch=arch),
            listen=p2p_addresses(listen, bind),
            peers=peers,
            left_out=frozenset([*["dht"] * no_dht, *["mdns"] * no_mdns]),
            as_json=as_json,
            source=source,
        ),
    )

"""``plasm init``: a home with a configuration and an identity."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from plasm.cli.context import Context, fail, pass_context

if TYPE_CHECKING:
    from plasm.plan import Plan
    from plasm.ports import PeerId

TEMPLATE = """\
# Plasm's configuration. What stands here behind a # is the default; `plasm plugins` lists the drivers.

# profile = "internet"          # or "local", "private"
# plugins = []                  # drivers in place of the profile's, of each port the preferred first: ["fs", "memory"]

[node]
# listen = []                   # multiaddrs: ["/ip4/0.0.0.0/tcp/4001"]; empty is every interface, port 4001
# bootstrap = []                # multiaddrs ending in /p2p/PEER
# allow = "anyone"              # who may send jobs: "anyone", "nobody" or a list of peer IDs
# trust = "nobody"              # whose jobs may share a process, with isolation = "reused"; like allow
# slots = 2                     # jobs at once; as many as there are cores
# compile_slots = 2             # modules compiled at once, beside them, at most; half of slots, two at least
# max_queue = 256               # accepted jobs that wait
# max_per_peer = 64             # of them, by one peer
# keep_seconds = 86400          # how long a result can be asked for again
# max_kept_bytes = 1073741824   # of all results
# max_module_bytes = 67108864
# max_modules_bytes = 2147483648
# max_input_bytes = 16777216
# max_waiting_input_bytes = 1073741824  # of all jobs that have not ended
# max_output_bytes = 16777216
# max_file_bytes = 268435456    # of one job's files while it runs, in memory
# max_host_calls = 9007199254740991
# max_memory_mb = 4096          # of one job; half of the memory that this node may have
# max_running_memory_mb = 8192  # of all that run at once; five eighths of it
# max_timeout_seconds = 3600    # of one job
# transfer_seconds = 120
# drain_seconds = 30

# Options of a driver stand under its port and name:
# [discovery.dht]
# [store.fs]
"""


@click.command("init")
@click.option(
    "-p",
    "--path",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Make the home here instead of in --home, PLASM_HOME or the platform's folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def command(context: Context, path: Path | None, as_json: bool) -> None:
    """Make a home with a configuration and an identity; what is there already stays as it is."""
    from plasm.config import FILE_NAME
    from plasm.home import Home

    if path is not None:
        context.home_path = path
    plan = context.plan({"signer"})
    if not plan.writes:
        fail(f"the profile {plan.profile.name} writes nothing, so there is nothing to make", "choose another --profile")
    home = context.home
    new_home = not home.exists()
    Home(home).folder()
    new_config = _write_template(home / FILE_NAME)
    keys = home / "keys"
    new_identity = not (keys.is_dir() and any(keys.iterdir()))
    peer = anyio.run(_identity, plan, backend=plan.backend)
    if as_json:
        import json

        made = {"home": new_home, "config": new_config, "identity": new_identity}
        click.echo(json.dumps({"home": str(home), "peer_id": peer, "made": made}))
        return
    for what, new in ((f"home {home}", new_home), (f"configuration {home / FILE_NAME}", new_config)):
        click.echo(f"{'made' if new else 'kept'} {what}")
    click.echo(f"{'made' if new_identity else 'kept'} identity {peer}")


def _write_template(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(TEMPLATE)
    return True


async def _identity(plan: Plan) -> PeerId:
    from plasm.node import open_plan

    async with open_plan(plan) as ports:
        return ports.peer

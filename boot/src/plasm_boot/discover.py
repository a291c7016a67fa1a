"""``phase-discover``: where a boot channel is served."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from plasm.commands import context_of, run_script
from plasm.ports import BootTopic
from plasm_boot.options import HELP, arch_option, bootstrap_option, channel_option, plasm_options, timeout_option

if TYPE_CHECKING:
    from plasm_boot.looking import Answered


@click.command("phase-discover", context_settings=HELP)
@arch_option("-a", "--arch")
@channel_option
@bootstrap_option
@timeout_option("How long to look.")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="MANIFEST_URL=…, or an object with key, manifest_url, peer_id, provider_count and all providers.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the result.")
@click.option("--ephemeral", is_flag=True, help="Leave no key behind; each run does so without it too.")
@plasm_options
@click.pass_context
def command(
    context: click.Context,
    *,
    arch: str,
    channel: str,
    bootstrap: tuple[str, ...],
    timeout: float,
    form: str,
    as_json: bool,
    quiet: bool,
    ephemeral: bool,
) -> None:
    """Look for providers of a boot channel by mDNS and the DHT, and print where the fastest one has its manifest.

    Exits 1 where none answered in time. What is found is a hint: only phase-fetch and phase-verify tell what is
    genuine. Nothing in the home is used or changed, so a node may run meanwhile.
    """
    from plasm_boot.looking import look_for

    topic = BootTopic(channel, arch)
    answered = look_for(context_of(context), topic, bootstrap=bootstrap, seconds=timeout)
    best = answered[0]
    if form == "json" or as_json:
        print(json.dumps(_document(answered, topic)))
    else:
        if not quiet:
            count = len(answered)
            print(
                f"phase-discover: {count} provider{'s' if count > 1 else ''} found,"
                f" {best.provider.base_url} ({best.provider.source}) answered in {best.seconds * 1000:.0f} ms",
                file=sys.stderr,
            )
        print(f"MANIFEST_URL={best.manifest_url}")


def _document(answered: list[Answered], topic: BootTopic) -> dict[str, Any]:
    best = answered[0]
    return {
        "key": topic.key,
        "manifest_url": best.manifest_url,
        "peer_id": best.provider.peer,
        "provider_count": len(answered),
        "providers": [
            {
                "manifest_url": each.manifest_url,
                "peer_id": each.provider.peer,
                "source": each.provider.source,
                "milliseconds": round(each.seconds * 1000, 3),
            }
            for each in answered
        ],
    }


def main() -> None:
    """The program."""
    run_script(command, "phase-discover")

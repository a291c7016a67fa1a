"""``plasm repo``: the commands of a publisher, each imported when it is called."""

from __future__ import annotations

import importlib
from typing import Final

import click

COMMANDS: Final = {
    "init": ("plasm_trust.cli.init:command", "Make a repository, and keys where none are named."),
    "add": ("plasm_trust.cli.add:command", "Stage an artifact."),
    "remove": ("plasm_trust.cli.remove:command", "Stage that an artifact is no more."),
    "sign": ("plasm_trust.cli.sign:command", "Sign what is staged, and publish what all have signed."),
    "status": ("plasm_trust.cli.status:command", "Show what is staged and what expires; exits 1 when it is time."),
    "renew": ("plasm_trust.cli.renew:command", "Sign anew what expires."),
    "rotate": ("plasm_trust.cli.rotate:command", "Put a new key in the place of an old one, or revoke it."),
    "channel": ("plasm_trust.cli.channel:command", "Add a channel, or give it other keys."),
}
"""Where each command is, and its line in the list of commands, which must not import it."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_LazyGroup)
def repo() -> None:
    """Keep a repository of signed boot artifacts: who may sign what, what is signed, and until when.

    Whatever is changed is staged; plasm repo sign signs it with the keys that are at hand here, and publishes once
    enough keys have signed, on however many machines. Nothing that is staged is served.
    """

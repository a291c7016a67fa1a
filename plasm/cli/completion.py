"""``plasm completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAMS = ("plasm", "plasmd")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that completes plasm and plasmd in SHELL: commands, options, drivers, profiles, job ids.

    \b
    bash, in ~/.bashrc:
      eval "$(plasm completion bash)"

    \b
    zsh, in ~/.zshrc, below compinit:
      autoload -Uz compinit && compinit
      eval "$(plasm completion zsh)"

    \b
    fish, in ~/.config/fish/config.fish:
      plasm completion fish | source
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root().command
    for program in PROGRAMS:
        click.echo(kind(root, {}, program, f"_{program.upper()}_COMPLETE").source())

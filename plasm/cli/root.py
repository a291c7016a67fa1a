"""The root command: the options before the command, and commands that are imported when they are called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem, shell_complete

from plasm.cli import completers, version_text
from plasm.cli.context import CommandFailed, Context
from plasm.cli.failures import report
from plasm.cli.logs import configure_logging
from plasm.distributions import upgrade

GROUP: Final = "plasm.commands"
"""The entry-point group of commands that plugins bring."""

COMMANDS: Final = {
    "start": ("plasm.cli.start:command", "Run a node that takes jobs."),
    "run": ("plasm.cli.run:command", "Run a WebAssembly program on this machine."),
    "execute-job": ("plasm.cli.execute_job:command", "Run a program on this machine and print its signed receipt."),
    "submit": ("plasm.cli.submit:command", "Run a program on another node and verify what it answers."),
    "result": ("plasm.cli.result:command", "Ask again for the result of a job that was submitted."),
    "jobs": ("plasm.cli.jobs:command", "List the jobs that were submitted or taken."),
    "cancel": ("plasm.cli.cancel:command", "Cancel a job."),
    "nodes": ("plasm.cli.nodes:command", "Show the nodes that can be found."),
    "verify": ("plasm.cli.verify:command", "Check a receipt, offline."),
    "plugins": ("plasm.cli.plugins:command", "List the installed drivers and check them."),
    "init": ("plasm.cli.init:command", "Make a home with a configuration and an identity."),
    "demo": ("plasm.cli.demo:command", "Start two nodes on this machine and run a job between them."),
    "version": ("plasm.cli.version:command", "Print the version."),
    "completion": ("plasm.cli.completion:command", "Print the script that completes commands in a shell."),
}
"""Where each command is, and its line in the list of commands, which must not import it."""

_LONGEST_PLUGIN_LIST = 4096


class LazyGroup(click.Group):
    """Imports a command when it is called, be it built in or a plugin's; a built-in name cannot be taken over."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *(name for name in sorted(_plugin_commands()) if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name][0].partition(":")
            built_in: click.Command = getattr(importlib.import_module(module), attribute)
            return built_in
        entry_points = _plugin_commands().get(cmd_name, [])
        return _load(cmd_name, entry_points) if entry_points else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        # The name as it was called, not as a plugin's function happens to be named.
        return (args[0] if command is not None else name), command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])
        plugins = _plugin_commands()
        rows = [(name, f"From {_origin(plugins[name][0])}.") for name in sorted(plugins) if name not in COMMANDS]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=COMMANDS[name][1] if name in COMMANDS else None) for name in names]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]


def _plugin_commands() -> dict[str, list[metadata.EntryPoint]]:
    found: dict[str, list[metadata.EntryPoint]] = {}
    for entry_point in metadata.entry_points(group=GROUP):
        found.setdefault(entry_point.name, []).append(entry_point)
    return found


def _origin(entry_point: metadata.EntryPoint) -> str:
    return f"{entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist else entry_point.value


def _load(name: str, entry_points: Sequence[metadata.EntryPoint]) -> click.Command:
    origins = [_origin(each) for each in entry_points]
    distribution, _, version = origins[0].partition(" ")
    if len(entry_points) > 1:
        raise CommandFailed(
            f"the command {name} is offered by {' and by '.join(origins)}",
            f"uninstall one of them: pip uninstall {distribution}",
        )
    mend = f"{upgrade(distribution, version)}, or uninstall it"
    try:
        command = entry_points[0].load()
    # A plugin that calls sys.exit() while it is imported is as broken as one that raises.
    except (Exception, SystemExit) as error:
        message = f"the command {name} of {origins[0]} is broken: {type(error).__name__}: {error}"
        raise CommandFailed(message, mend) from error
    if not isinstance(command, click.Command):
        raise CommandFailed(f"the command {name} of {origins[0]} is broken: it is no click.Command", mend)
    return command


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    if value is not None and len(value) > _LONGEST_PLUGIN_LIST:
        raise click.BadParameter(f"longer than {_LONGEST_PLUGIN_LIST} characters")
    return tuple(name for part in (value or "").split(",") if (name := part.strip()))


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(version_text())
        context.exit()


def _set_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    # At once, and not in the body of root: the command is imported before that runs, and may be broken.
    context.ensure_object(Context).verbose = value


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--plugins",
    callback=_names,
    metavar="A,B",
    help="Drivers to use, by name or as port:name; of one port, the preferred one first.",
    shell_complete=completers.drivers,
)
@click.option(
    "--profile",
    metavar="NAME",
    help="internet (the default), local, private, or a plugin's own.",
    shell_complete=completers.profiles,
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read this configuration instead of the home's config.toml.",
)
@click.option(
    "--home",
    "home_path",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keys, journal, store and caches; else PLASM_HOME, else the platform's folder.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_verbose,
    help="Tracebacks and a debug log on stderr.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.pass_context
def root(
    context: click.Context,
    plugins: tuple[str, ...],
    profile: str | None,
    config_path: Path | None,
    home_path: Path | None,
) -> None:
    """A node of Phase, an open network for verifiable computation."""
    own = context.ensure_object(Context)
    own.plugins, own.profile = plugins, profile
    own.config_path, own.home_path = config_path, home_path
    configure_logging(own.verbose)


def run(arguments: Sequence[str]) -> int:
    """Run `arguments` and return the exit code; whatever is raised has become one line on stderr.

    Not ``root.main()``: that makes a closed pipe, also one to a node, into exit code 1, which means "no" here.
    """
    for program in ("plasm", "plasmd"):
        variable = f"_{program.upper()}_COMPLETE"
        if instruction := os.environ.get(variable):
            return shell_complete(root, {}, program, variable, instruction)
    return invoke(root, "plasm", arguments, Context())


def invoke(command: click.Command, name: str, arguments: Sequence[str], context: Context) -> int:
    """Run `command` under `name` as :func:`run` does the root command."""
    try:
        with command.make_context(name, list(arguments), obj=context) as click_context:
            answer = command.invoke(click_context)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx is not None else "", err=True)
        return 2
    # SystemExit and KeyboardInterrupt too, which may arrive inside a group of exceptions.
    except BaseException as error:
        as_json = _asks_for_json(command, arguments)
        answer = report(error, verbose=context.verbose, as_json=as_json, program=name)
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        return report(error, verbose=False, program=name)
    # A command may return its exit code.
    return answer if isinstance(answer, int) else 0


def _asks_for_json(called: click.Command, arguments: Sequence[str]) -> bool:
    """Whether the command that `arguments` of `called` name is given its ``--json``; a program's own is not meant."""
    command: click.Command | None = called
    rest = list(arguments)
    try:
        while isinstance(command, click.Group):
            rest = _parsed(command, rest)[1]
            command = command.get_command(click.Context(command), rest.pop(0)) if rest else None
        if command is None:
            return False
        given = _parsed(command, rest)[0]
    # Wrong usage, or a command that cannot be imported: that is the failure which is being told.
    except Exception:
        return False
    return any("--json" in each.opts and given.get(each.name or "", False) for each in command.params)


def _parsed(command: click.Command, arguments: list[str]) -> tuple[Mapping[str, object], list[str]]:
    """The options as they were given, and what is left."""
    settings = {**command.context_settings, "ignore_unknown_options": True}
    context = click.Context(command, resilient_parsing=True, **settings)
    options, rest, _ = command.make_parser(context).parse_args(arguments)
    return options, rest

"""What a plugin's command may use of Plasm's own. Public: ``specs/plugins.md``, section 13."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from plasm.cli.context import CommandFailed, Context, fail

if TYPE_CHECKING:
    from plasm.node import OpenPorts
    from plasm.plan import Plan

__all__ = ["CommandFailed", "Context", "context_of", "fail", "run_script", "run_with_ports"]

T = TypeVar("T")

_FORGOTTEN = ("signer:ephemeral", "store:memory")
"""What a command that leaves nothing behind opens, whatever else is selected."""


def context_of(context: click.Context) -> Context:
    """The options before the command: home, profile, plugins, configuration."""
    return context.ensure_object(Context)


def run_with_ports(
    context: Context,
    ports: Collection[str],
    action: Callable[[OpenPorts, Plan], Awaitable[T]],
    *,
    listen: Sequence[str] = (),
    bootstrap: Sequence[str] = (),
    preferred: Sequence[str] = (),
    without: Collection[str] = (),
    ephemeral: bool = False,
) -> T:
    """Open the drivers of `ports`, run `action` with them on their event loop, and return what it returns.

    The selection is the user's; `preferred` names drivers (``discovery:mdns``) that are taken in place of the
    profile's, as far as they are installed and not banned, and those in `without` stay closed. The home is locked
    meanwhile; with `ephemeral` it is left alone, and the identity is a new one. SIGTERM and Ctrl-C cancel `action`.
    Raises :exc:`~plasm.errors.PlasmError`: what cannot be opened, or a home that another process has.
    """
    import anyio

    from plasm.cli.running import stoppable
    from plasm.home import Home
    from plasm.node import open_plan
    from plasm.plan import make_plan

    settings = context.settings()
    if ephemeral:
        plan = make_plan(
            context.registry(),
            ports=ports,
            cli=(*_FORGOTTEN, *context.plugins),
            config=settings,
            profile=context.profile,
            home=Home(None),
            preferred=preferred,
            without=without,
        )
    else:
        plan = context.plan(ports, preferred=preferred, without=without)

    async def run() -> T:
        with plan.home.lock():
            async with open_plan(plan, listen=listen, bootstrap=(*settings.node.bootstrap, *bootstrap)) as opened:
                return await stoppable(lambda: action(opened, plan))

    return anyio.run(run, backend=plan.backend)


def run_script(command: click.Command, name: str) -> NoReturn:
    """Run `command` as the program `name` and exit, with failures told as those of ``plasm`` are."""
    from plasm.cli.logs import configure_logging
    from plasm.cli.root import invoke
    from plasm.streams import open_standard_streams

    open_standard_streams()
    configure_logging(False)
    sys.exit(invoke(command, name, sys.argv[1:], Context()))

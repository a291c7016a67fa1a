"""What every command shares: the global options, and what they lead to when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from plasm.errors import PlasmError

if TYPE_CHECKING:
    from plasm.config import Config
    from plasm.plan import Plan
    from plasm.registry import Registry


class CommandFailed(PlasmError):
    """The command ends with `code`; the message is its one line on stderr."""

    def __init__(self, message: str, mend: str = "", code: int = 125) -> None:
        super().__init__(message, mend)
        self.code = code


@dataclass
class Context:
    """The options before the command; ``click.Context.obj`` of every command."""

    plugins: tuple[str, ...] = ()
    profile: str | None = None
    config_path: Path | None = None
    verbose: bool = False
    home_path: Path | None = None
    """What ``--home`` says."""

    @property
    def home(self) -> Path:
        """``--home``, else ``PLASM_HOME``, else the platform's folder; it need not exist.

        Raises :exc:`plasm.home.NoHome`.
        """
        if self.home_path is not None:
            return self.home_path.absolute()
        from plasm.home import default_home

        return default_home()

    @cached_property
    def _settings(self) -> Config:
        from plasm.config import load_config
        from plasm.home import NoHome

        try:
            home: Path | None = self.home
        except NoHome:
            home = None
        return load_config(self.config_path, home)

    @cached_property
    def _registry(self) -> Registry:
        from plasm.registry import load_registry

        return load_registry()

    def settings(self) -> Config:
        """The user's configuration, read once. Raises :exc:`plasm.config.ConfigError`."""
        return self._settings

    def registry(self) -> Registry:
        """What the installed plugins offer, collected once."""
        return self._registry

    def plan(
        self,
        ports: Collection[str],
        services: Sequence[str] = (),
        *,
        preferred: Sequence[str] = (),
        without: Collection[str] = (),
    ) -> Plan:
        """The plan for `ports` and `services`, with `preferred` and `without` as :func:`plasm.plan.make_plan` has them.

        Raises :exc:`PlanError`, :exc:`plasm.config.ConfigError` or :exc:`plasm.home.NoHome`: a profile that writes
        nothing needs no home.
        """
        from plasm.home import Home, NoHome
        from plasm.plan import make_plan

        missing: NoHome | None = None
        try:
            home = Home(self.home)
        except NoHome as error:
            home, missing = Home(None), error
        plan = make_plan(
            self.registry(),
            ports=ports,
            cli=self.plugins,
            environ=os.environ.get("PLASM_PLUGINS"),
            config=self.settings(),
            profile=self.profile,
            home=home,
            services=services,
            preferred=preferred,
            without=without,
        )
        if missing is not None and plan.profile.writes:
            raise missing
        return plan


pass_context = click.make_pass_decorator(Context)
"""Gives a command its :class:`Context` as first argument."""


def fail(message: str, mend: str = "", code: int = 125) -> NoReturn:
    """End the command with one line on stderr and exit code `code`."""
    raise CommandFailed(message, mend, code)

"""What a shell completes besides commands and options. A completer that fails completes nothing and says nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

_MOST_JOBS = 200


def drivers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For a list with commas: the drivers whose names begin like its last part; ``port:name`` once a port is named."""
    before, comma, last = incomplete.rpartition(",")
    with _silently():
        from plasm.registry import load_registry

        return [
            CompletionItem(f"{before}{comma}{name}", help=f"{each.port}: {each.driver.summary}")
            for each in load_registry().drivers
            if (name := each.qualified if ":" in last else each.name).startswith(last)
        ]
    return []


def runtimes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The installed runtimes."""
    with _silently():
        from plasm.registry import load_registry

        return [CompletionItem(name) for name in load_registry().names("runtime") if name.startswith(incomplete)]
    return []


def profiles(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The installed profiles."""
    with _silently():
        from plasm.registry import load_registry

        return [CompletionItem(name) for name in load_registry().profiles if name.startswith(incomplete)]
    return []


def jobs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The jobs that were submitted from this home, newest first."""
    with _silently():
        from plasm.home import default_home
        from plasm.jobs.book import read_submissions

        home: Path = context.find_root().params.get("home_path") or default_home()
        ids = [each.job_id for each in read_submissions(home / "submissions") if each.job_id.startswith(incomplete)]
        return [CompletionItem(each) for each in ids[:_MOST_JOBS]]
    return []


@contextlib.contextmanager
def _silently() -> Iterator[None]:
    """A traceback would land in the line that is being typed."""
    with contextlib.suppress(Exception):
        yield

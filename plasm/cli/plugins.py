"""``plasm plugins``: what is installed, and whether it can be opened here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from plasm.cli.context import Context, pass_context
from plasm.drivers import DriverUnavailable
from plasm.errors import one_line
from plasm.registry import Broken, Registered, Registry


@click.command("plugins")
@click.option("--check", is_flag=True, help="Say whether each can be opened here, and what would mend it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def command(context: Context, check: bool, as_json: bool) -> int:
    """List the installed drivers with their port, distribution and version.

    With --check the exit code is 1 where something cannot be opened.
    """
    registry = context.registry()
    rows = [_driver(each) | (_health(each, registry) if check else {}) for each in registry.drivers]
    rows += [_broken(each) | (_breakage(each) if check else {}) for each in registry.broken]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows, check)
    return int(check and not all(row["ok"] for row in rows))


def _driver(registered: Registered) -> dict[str, Any]:
    driver = registered.driver
    return {
        "port": registered.port,
        "name": registered.name,
        "distribution": registered.distribution,
        "version": registered.version,
        "summary": one_line(driver.summary),
        "offers": sorted(driver.offers),
        "needs": sorted(driver.needs),
        "backends": sorted(driver.backends),
    }


def _broken(broken: Broken) -> dict[str, Any]:
    return {
        "port": "broken",
        "name": broken.entry_point,
        "distribution": broken.distribution,
        "version": broken.version,
        "summary": broken.reason,
        "offers": [],
        "needs": [],
        "backends": [],
    }


def _breakage(broken: Broken) -> dict[str, Any]:
    return {"ok": False, "problem": broken.reason, "mend": broken.mend}


def _health(registered: Registered, registry: Registry) -> dict[str, Any]:
    problem = mend = ""
    try:
        if registered.driver.check is not None:
            registered.driver.check()
    except DriverUnavailable as error:
        problem, mend = str(error), error.mend
    except ImportError as error:
        problem, mend = str(error), f"pip install --force-reinstall {registered.distribution}"
    # The check is a plugin's code; whatever it raises is an answer. OSError and SystemExit come from native libraries.
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error}"
        mend = f"pip install --upgrade {registered.distribution}, or tell its authors"
    if not problem:
        problem, mend = _missing_need(registered, registry)
    return {"ok": not problem, "problem": one_line(problem), "mend": one_line(mend)}


def _missing_need(registered: Registered, registry: Registry) -> tuple[str, str]:
    for need in sorted(registered.driver.needs):
        port, colon, name = need.partition(":")
        if colon and registry.find(port, name) is None:
            broken = registry.breakage(port, name)
            hint = broken.mend if broken is not None else registry.provider_hint(name)
            return f"it needs {need}, which is not installed or broken", hint
        if not registry.names(port):
            return f"it needs a {port}, and none is installed", f"install a plugin that offers a {port}"
    return "", ""


def _print_table(rows: Sequence[dict[str, Any]], check: bool) -> None:
    columns = ["port", "name", "distribution", "version"]
    widths = [max(len(column), *(len(row[column]) for row in rows), 0) for column in columns] if rows else []
    if not rows:
        click.echo("no plugins are installed; pip install plasm-libp2p plasm-wasmtime plasm-keys plasm-fs", err=True)
        return
    last = "state" if check else "summary"
    click.echo("  ".join([*(column.upper().ljust(width) for column, width in _pairs(columns, widths)), last.upper()]))
    for row in rows:
        cells = [str(row[column]).ljust(width) for column, width in _pairs(columns, widths)]
        click.echo("  ".join([*cells, _state(row) if check else row["summary"]]).rstrip())


def _pairs(columns: Sequence[str], widths: Sequence[int]) -> list[tuple[str, int]]:
    return list(zip(columns, widths, strict=True))


def _state(row: dict[str, Any]) -> str:
    if row["ok"]:
        return "ok"
    return f"{row['problem']}; {row['mend']}" if row["mend"] else str(row["problem"])

"""``plasm plugins``: what is installed, and whether it can be opened here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from plasm.cli.context import Context, pass_context
from plasm.cli.table import table
from plasm.distributions import install_all, install_anew, upgrade
from plasm.drivers import DriverUnavailable
from plasm.errors import one_line
from plasm.registry import Broken, Registered, Registry

_COLUMNS = ("port", "name", "distribution", "version")


@click.command("plugins")
@click.option("--check", is_flag=True, help="Say whether each can be opened here, and what would mend it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def command(context: Context, check: bool, as_json: bool) -> int:
    """List the installed drivers with their port, distribution and version.

    With --check the exit code is 1 where something cannot be opened. A driver that brings no check is not opened to
    find out: it is "not checked".
    """
    registry = context.registry()
    rows = [_driver(each) | (_health(each, registry) if check else {}) for each in registry.drivers]
    if as_json:
        click.echo(json.dumps({"drivers": rows, "broken": [_broken(each) for each in registry.broken]}, indent=2))
    else:
        _print_table(rows, registry.broken, check)
    return int(check and (bool(registry.broken) or any(row["ok"] is False for row in rows)))


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
        "entry_point": broken.entry_point,
        "distribution": broken.distribution,
        "version": broken.version,
        "problem": broken.reason,
        "mend": broken.mend,
    }


def _health(registered: Registered, registry: Registry) -> dict[str, Any]:
    problem = mend = ""
    check = registered.driver.check
    try:
        if check is not None:
            check()
    except DriverUnavailable as error:
        problem, mend = str(error), error.mend
    except ImportError as error:
        problem, mend = str(error), install_anew(registered.distribution, registered.version)
    # The check is a plugin's code; whatever it raises is an answer. OSError and SystemExit come from native libraries.
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error}"
        mend = upgrade(registered.distribution, registered.version)
    if not problem:
        problem, mend = _missing_need(registered, registry)
    return {
        "ok": None if not problem and check is None else not problem,
        "problem": one_line(problem),
        "mend": one_line(mend),
    }


def _missing_need(registered: Registered, registry: Registry) -> tuple[str, str]:
    for need in sorted(registered.driver.needs):
        port, colon, name = need.partition(":")
        if colon and registry.find(port, name) is None:
            broken = registry.breakage(port, name)
            if broken is not None:
                return f"it needs {need}, and {broken.line}", broken.mend
            return f"it needs {need}, which is not installed", registry.provider_hint(name)
        if not registry.names(port):
            return f"it needs a {port}, and none is installed", f"install a plugin that offers a {port}"
    return "", ""


def _print_table(rows: Sequence[dict[str, Any]], broken: Sequence[Broken], check: bool) -> None:
    if not rows and not broken:
        click.echo(f"no plugins are installed; {install_all()}", err=True)
        return
    lines = [(*(row[key] for key in _COLUMNS), _state(row) if check else row["summary"]) for row in rows]
    for each in broken:
        said = f"{each.reason}; {each.mend}" if check else each.reason
        lines.append(("broken", each.entry_point, each.distribution, each.version, said))
    click.echo(table([column.upper() for column in (*_COLUMNS, "state" if check else "summary")], lines))


def _state(row: dict[str, Any]) -> str:
    if row["ok"] is None:
        return "not checked"
    if row["ok"]:
        return "ok"
    return f"{row['problem']}; {row['mend']}" if row["mend"] else str(row["problem"])

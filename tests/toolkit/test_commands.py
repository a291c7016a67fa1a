"""What a plugin's command may use of Plasm's own."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import click
import pytest

from plasm.cli.running import Interrupted
from plasm.commands import Context, context_of, run_script, run_with_ports
from plasm.home import Home, HomeBusy
from plasm.node import OpenPorts
from plasm.plan import Plan


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(home_path=tmp_path / "home")


async def peer_and_drivers(ports: OpenPorts, plan: Plan) -> tuple[str, list[str]]:
    return ports.peer, [each.registered.qualified for each in plan.selected]


def test_the_users_identity_and_drivers_are_open_while_the_action_runs(context: Context) -> None:
    peer, drivers = run_with_ports(context, {"signer", "store"}, peer_and_drivers)
    assert drivers == ["signer:file", "store:fs"]
    assert run_with_ports(context, {"signer"}, peer_and_drivers)[0] == peer


def test_an_ephemeral_command_leaves_nothing_behind_and_needs_no_lock(context: Context) -> None:
    with Home(context.home).lock():
        before = sorted(context.home.rglob("*"))
        first, drivers = run_with_ports(context, {"signer", "store"}, peer_and_drivers, ephemeral=True)
        second, _ = run_with_ports(context, {"signer", "store"}, peer_and_drivers, ephemeral=True)
        assert sorted(context.home.rglob("*")) == before
    assert drivers == ["signer:ephemeral", "store:memory"]
    assert first != second


def test_the_home_is_locked_while_the_action_runs(context: Context) -> None:
    async def action(ports: OpenPorts, plan: Plan) -> None:
        with pytest.raises(HomeBusy), plan.home.lock():
            pass

    run_with_ports(context, {"signer"}, action)
    with Home(context.home).lock():
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_the_action_and_what_it_opened_is_closed(context: Context, number: int) -> None:
    ended: list[str] = []

    async def action(ports: OpenPorts, plan: Plan) -> None:
        try:
            os.kill(os.getpid(), number)
            await anyio.sleep_forever()
        finally:
            ended.append(ports.peer)

    with pytest.raises(Interrupted):
        run_with_ports(context, {"signer"}, action)
    assert len(ended) == 1


def test_a_command_finds_the_options_before_it() -> None:
    given = Context(profile="local")
    assert context_of(click.Context(click.Command("serve"), obj=given)) is given


@pytest.fixture
def logging_put_back() -> Iterator[None]:
    yield
    logging.getLogger("plasm").setLevel(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)


@pytest.mark.usefixtures("logging_put_back")
def test_a_script_tells_failures_as_plasm_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json: bool) -> None:
        raise FileNotFoundError(2, "No such file or directory", "kernel")

    monkeypatch.setattr("sys.argv", ["phase-test", "--json"])
    with pytest.raises(SystemExit) as ended:
        run_script(command, "phase-test")
    said = capsys.readouterr()
    assert ended.value.code == 125
    assert said.err == "phase-test: kernel: No such file or directory\n"
    assert json.loads(said.out)["error"]["code"] == 125

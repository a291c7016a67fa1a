from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.processes import Cli, RunningNode, running_node

WASM = Callable[[str], Path]
NOBODY = "12D3KooWRS8X7N12H9YhM7d9s2RA4934DzvDzDXXhYtB5Z9hHre8"

COUNTS_FOR_SECONDS = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\05\\00\\00\\00")
  (data (i32.const 16) "done\\n")
  (func (export "_start") (local $n i64)
    (local.set $n (i64.const 1500000000))
    (loop $again
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br_if $again (i64.ne (local.get $n) (i64.const 0))))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""


def test_submit_is_a_quiet_pipe(sender: Cli, hello: Path):
    done = sender("submit", hello, stdin=b"stressed")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"desserts", b"")


def test_submit_finds_a_node_by_itself_and_takes_its_answer(sender: Cli, worker: RunningNode, hello: Path):
    done = sender("submit", "--json", hello)

    result = json.loads(done.stdout)
    assert result["node"] == worker.peer
    assert (result["verdict"], result["exit_code"], result["stdout"]) == ("exited", 0, "dlroW ,olleH")


def test_submit_without_a_running_node_opens_what_it_needs(cli: Cli, worker: RunningNode, hello: Path):
    done = cli("submit", "--peer", worker.address, hello)

    assert (done.returncode, done.stdout) == (0, b"dlroW ,olleH"), done.stderr


def test_submit_looks_through_a_bootstrap_peer(cli: Cli, worker: RunningNode, hello: Path):
    done = cli("submit", "--bootstrap", worker.address, hello)

    assert (done.returncode, done.stdout) == (0, b"dlroW ,olleH"), done.stderr


def test_arguments_and_environment_reach_the_program(sender: Cli, wasm: WASM):
    done = sender("submit", "--env", "NAME=value", wasm("arguments"), "one", "--two")

    assert done.returncode == 0
    for text in (b"one", b"--two", b"NAME=value"):
        assert text in done.stdout + done.stderr


def test_the_programs_own_exit_code_is_passed_on(sender: Cli, wasm: WASM):
    assert sender("submit", wasm("cope-without-memory")).returncode == 7
    assert sender("run", wasm("cope-without-memory")).returncode == 7


def test_a_detached_job_is_there_when_it_is_asked_for(sender: Cli, worker: RunningNode, hello: Path, tmp_path: Path):
    detached = sender("submit", "--detach", hello, stdin=b"abc")
    job_id = detached.stdout.decode().strip()
    result = sender("result", "--receipt", tmp_path / "receipt.json", job_id)

    assert (result.returncode, result.stdout) == (0, b"cba")
    assert job_id in {job["job_id"] for job in json.loads(sender("jobs", "--json").stdout)["submitted"]}
    checked = sender("verify", tmp_path / "receipt.json", "--node", worker.peer)
    assert checked.returncode == 0


@pytest.mark.parametrize("option", ["--receipt", "--out"])
def test_what_cannot_be_written_here_is_not_lost(sender: Cli, hello: Path, tmp_path: Path, option: str):
    (tmp_path / "file").touch()
    done = sender("submit", option, tmp_path / "file" / "below", hello)

    assert done.returncode == 125
    job_id = json.loads(sender("jobs", "--json").stdout)["submitted"][0]["job_id"]
    assert f"plasm result {job_id} gets it again" in done.stderr.decode()


def test_cancel_reaches_the_running_job(sender: Cli, wasm: WASM):
    job_id = sender("submit", "--detach", "--timeout", "600", wasm("spin")).stdout.decode().strip()

    assert sender("cancel", job_id).returncode == 0
    assert sender("cancel", job_id).returncode == 1
    ended = sender("result", job_id)
    assert ended.returncode == 125
    assert b"ancelled" in ended.stderr


@pytest.mark.parametrize("text", ["0c604", "nonsense", "0C6044", "0" * 33])
@pytest.mark.parametrize("command", ["result", "cancel"])
def test_what_cannot_be_a_job_id_is_wrong_usage(cli: Cli, command: str, text: str):
    done = cli(command, text)

    assert done.returncode == 2
    assert f"invalid job id '{text}': expected 6 to 32 digits" in done.stderr.decode()


def test_an_unknown_job_is_one_clear_line(sender: Cli):
    done = sender("result", "0" * 32)

    assert done.returncode == 125
    assert done.stderr.decode().count("\n") == 1


def test_nodes_shows_runtimes_slots_and_latency(sender: Cli, worker: RunningNode):
    done = sender("nodes", "--json")

    assert done.returncode == 0
    (seen,) = [node for node in json.loads(done.stdout) if node["peer"] == worker.peer]
    assert seen["runtimes"] == ["wasmtime"]
    assert seen["slots"] >= 1
    assert 0 < seen["latency_ms"] < 5000
    assert worker.peer in sender("nodes").stdout.decode()


def test_no_node_says_where_it_looked_and_for_how_long(cli: Cli, hello: Path, free_port: int):
    done = cli("submit", "--look", "1", "--bootstrap", f"/ip4/127.0.0.1/tcp/{free_port}/p2p/{NOBODY}", hello)

    assert done.returncode == 125
    assert done.stdout == b""
    line = done.stderr.decode()
    assert line.count("\n") == 1
    assert "dht" in line
    assert "1 s" in line


def test_submit_tries_the_next_node_and_says_why_the_first_failed(
    cli: Cli, worker: RunningNode, hello: Path, free_port: int
):
    gone = f"/ip4/127.0.0.1/tcp/{free_port}/p2p/12D3KooWRS8X7N12H9YhM7d9s2RA4934DzvDzDXXhYtB5Z9hHre8"
    done = cli("submit", "--peer", gone, "--peer", worker.address, hello)

    assert (done.returncode, done.stdout) == (0, b"dlroW ,olleH")
    assert b"12D3KooWRS8X7N12H9YhM7d9s2RA4934DzvDzDXXhYtB5Z9hHre8" in done.stderr


def test_execute_job_prints_a_receipt_that_verifies_here_and_nowhere_else(cli: Cli, hello: Path, tmp_path: Path):
    done = cli("execute-job", "--stdout", tmp_path / "out", "--wasm", hello, stdin=b"abc")
    assert done.returncode == 0
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(done.stdout)
    (tmp_path / "in").write_bytes(b"abc")
    (tmp_path / "other").write_bytes(b"abd")

    good = ("--module", hello, "--stdin", tmp_path / "in", "--stdout", tmp_path / "out")
    assert cli("verify", receipt, *good).returncode == 0
    assert cli("verify", receipt, "--stdin", tmp_path / "other").returncode == 1
    assert cli("verify", receipt, "--stdout", tmp_path / "other").returncode == 1
    assert cli("verify", receipt, "--module", tmp_path / "other").returncode == 1
    stranger = Cli(tmp_path / "stranger")
    assert stranger("verify", receipt).returncode == 1
    assert stranger("verify", receipt, "--any-node").returncode == 0
    node = json.loads(done.stdout)["signatures"][0]["keyid"]
    assert stranger("verify", receipt, "--node", node).returncode == 0
    assert not (tmp_path / "stranger").exists(), "looking at a receipt makes no home"


def test_execute_job_on_a_home_with_a_running_node_is_run_and_signed_by_it(sender: Cli, hello: Path):
    done = sender("execute-job", "--json", hello)

    assert done.returncode == 0
    result = json.loads(done.stdout)
    assert result["stdout"] == "dlroW ,olleH"
    shown = json.loads(sender("key", "show", "--json").stdout)
    assert result["node"] in shown.values()


def test_an_accepted_job_survives_kill_9_and_is_finished_after_restart(
    sender: Cli, wasm: WASM, tmp_path: Path, free_port: int
):
    listen = f"/ip4/127.0.0.1/tcp/{free_port}"
    home = tmp_path / "node"
    with running_node(home, listen=listen) as node:
        long = ("submit", "--detach", "--peer", node.address, wasm(COUNTS_FOR_SECONDS))
        jobs = [sender(*long, str(number)).stdout.decode().strip() for number in range(4)]
        node.process.kill()
        node.process.wait()
    with running_node(home, listen=listen):
        for job in jobs:
            done = sender("result", job)
            assert (done.returncode, done.stdout) == (0, b"done\n"), done.stderr


def test_sigterm_lets_what_runs_end_and_exits_0(sender: Cli, wasm: WASM, tmp_path: Path):
    with running_node(tmp_path / "node") as node:
        job = sender("submit", "--detach", "--peer", node.address, wasm(COUNTS_FOR_SECONDS), "x").stdout.decode()
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < 25
    with running_node(tmp_path / "node", listen=node.address.rpartition("/p2p/")[0]):
        assert sender("result", job.strip()).stdout == b"done\n"


def test_a_second_sigterm_stops_at_once(sender: Cli, wasm: WASM, tmp_path: Path):
    with running_node(tmp_path / "node") as node:
        sender("submit", "--detach", "--timeout", "600", "--peer", node.address, wasm("spin"))
        node.process.terminate()
        deadline = time.monotonic() + 10
        while b"press Ctrl-C again" not in node.log.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < 10


def test_a_taken_port_is_one_clear_line(cli: Cli, worker: RunningNode):
    done = cli("start", "--listen", worker.address.rpartition("/p2p/")[0])

    assert done.returncode == 125
    assert b"Traceback" not in done.stderr
    assert done.stderr.decode().strip().splitlines()[-1].startswith("plasm: ")


def test_two_nodes_never_share_a_home(worker: RunningNode):
    done = Cli(worker.home)("start", "--listen", "/ip4/127.0.0.1/tcp/0")

    assert done.returncode == 125
    assert str(worker.process.pid) in done.stderr.decode()


def test_the_home_and_what_is_in_it_belong_to_its_owner_alone(worker: RunningNode):
    assert (worker.home / "control.sock").stat().st_mode & 0o777 == 0o600
    for path in (worker.home, worker.home / "keys"):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in (worker.home / "keys").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (worker.home / "journal.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("wanted", [['allow = "nobody"'], ['allow = ["{own}"]']])
def test_a_policy_names_who_may_send_jobs(cli: Cli, hello: Path, tmp_path: Path, wanted: list[str]):
    own = json.loads(cli("key", "generate", "--json").stdout)["peer_id"] if "own" in wanted[0] else ""
    home = tmp_path / "node"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text("[node]\n" + wanted[0].format(own=own) + "\n")
    with running_node(home) as node:
        done = cli("submit", "--peer", node.address, hello)
        if own:
            assert (done.returncode, done.stdout) == (0, b"dlroW ,olleH")
            assert Cli(tmp_path / "other")("submit", "--peer", node.address, hello).returncode == 125
        else:
            assert done.returncode == 125
            assert b"NotAllowed" in done.stderr


def test_who_may_send_jobs_is_said_at_start(worker: RunningNode):
    assert "anyone" in worker.log.read_text()

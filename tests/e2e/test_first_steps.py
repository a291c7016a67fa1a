"""What a newcomer meets: a node that is alone, one that is starting, jobs that run, and what was typed in a hurry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.processes import ROOT, Cli, RunningNode, clean_environment, first_address, running_node

WASM = Callable[[str], Path]


@contextmanager
def background(home: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs while the block does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "plasm", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=clean_environment(home),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def hosted(cli: Cli) -> dict[str, str]:
    """The jobs that the node of `cli` took, with their states."""
    return {job["job_id"]: job["state"] for job in json.loads(cli("jobs", "--json").stdout)["hosted"]}


def spin(cli: Cli, node: RunningNode, wasm: WASM) -> str:
    """The id of a job that runs on `node` until it is cancelled."""
    done = cli("submit", "--detach", "--timeout", "600", "--peer", node.address, wasm("spin"))
    return done.stdout.decode().strip()


# --- alone ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["submit", "nodes"])
def test_who_knows_nobody_is_told_at_once_what_to_name(cli: Cli, hello: Path, command: str):
    done = cli(command, *([hello] if command == "submit" else []), timeout=25)

    assert (done.returncode, done.stdout) == (125, b"")
    for mend in (b"--peer ADDR", b"--bootstrap ADDR", b"--profile local", b"does not take its own jobs"):
        assert mend in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_node_that_is_alone_says_so_and_looks_for_nobody_for_long(hello: Path, tmp_path: Path):
    with running_node(tmp_path / "node") as node:
        assert "alone" in node.log.read_text()
        assert "--peer ADDR" in node.log.read_text()
        done = Cli(node.home)("submit", hello, timeout=25)

    assert done.returncode == 125
    assert b"looked 3 s by dht" in done.stderr
    assert b"does not take its own jobs" in done.stderr


def test_a_node_that_joins_through_a_peer_says_whom_it_looks_through(worker: RunningNode, tmp_path: Path):
    with running_node(tmp_path / "node", "--peer", worker.address) as node:
        assert "1 bootstrap peer" in node.log.read_text()
        assert "alone" not in node.log.read_text()


def test_a_node_says_that_its_own_job_is_not_for_itself(hello: Path, tmp_path: Path):
    with running_node(tmp_path / "node") as node:
        done = Cli(node.home)("submit", "--peer", node.address, hello)

    assert done.returncode == 125
    assert b"does not take its own jobs" in done.stderr


def test_private_leaves_no_job_whose_result_nobody_could_ask_for(cli: Cli, worker: RunningNode, hello: Path):
    done = cli("--profile", "private", "submit", "--detach", "--peer", worker.address, hello)

    assert (done.returncode, done.stdout) == (125, b"")
    assert b"--detach" in done.stderr


def test_a_taken_port_says_how_to_get_a_free_one(cli: Cli, worker: RunningNode):
    done = cli("start", "--listen", worker.address.rpartition("/p2p/")[0])

    assert done.returncode == 125
    assert done.stderr.count(b"\n") == 1
    assert b"--listen /ip4/127.0.0.1/tcp/0" in done.stderr


# --- a home that is taken -------------------------------------------------------------------------------------------


def test_a_command_waits_for_a_node_that_is_starting(tmp_path: Path):
    home = tmp_path / "home"
    with background(home, "start", "--listen", "/ip4/127.0.0.1/tcp/0") as node:
        until((home / "lock").exists)
        done = Cli(home)("jobs")
        assert done.returncode == 0, done.stderr
        first_address(node, home / "lock")
        node.terminate()
        assert node.wait(20) == 0


def test_a_home_whose_holder_stays_silent_is_told_after_a_while(cli: Cli):
    import fcntl

    cli.home.mkdir(mode=0o700)
    with (cli.home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        done = cli("jobs")

    assert done.returncode == 125
    assert f"process {os.getpid()}" in done.stderr.decode()
    assert b"starting" in done.stderr


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_jobs_shows_what_became_of_them_with_and_without_a_running_node(cli: Cli, wasm: WASM, hello: Path, tmp_path):
    with running_node(tmp_path / "node") as node:
        own = Cli(node.home)
        short = cli("submit", "--detach", "--peer", node.address, hello).stdout.decode().strip()
        long = spin(cli, node, wasm)
        until(lambda: hosted(own) == {short: "done", long: "running"})
        submitted = {job["job_id"]: job["state"] for job in json.loads(cli("jobs", "--json").stdout)["submitted"]}
        assert submitted == {short: "exited 0", long: "running"}
        shown = cli("jobs").stdout.decode()
        assert "STATE" in shown
        assert "exited 0" in shown
        assert cli("cancel", long[:8]).returncode == 0
        log = node.log.read_text()
    for line in (f"job {short} accepted from", f"job {short} ended: exited 0", f"job {long} ended: cancelled"):
        assert line in log

    assert hosted(own) == {short: "done", long: "cancelled"}
    assert short in own("jobs").stdout.decode()


def test_a_job_that_runs_is_no_failure_for_who_does_not_wait(cli: Cli, worker: RunningNode, wasm: WASM):
    job = spin(cli, worker, wasm)
    try:
        until(lambda: b"running" in cli("result", "--no-wait", job).stderr)
        told = cli("result", "--no-wait", job[:6])
        assert (told.returncode, told.stdout) == (1, b"")
        assert told.stderr.decode().startswith(f"plasm: job {job} is still running")
        as_json = cli("result", "--no-wait", "--json", job)
        assert as_json.returncode == 1
        assert json.loads(as_json.stdout) == {"job_id": job, "state": "running"}
    finally:
        assert cli("cancel", job).returncode == 0


def test_an_id_that_is_too_short_or_unknown_is_one_clear_line(cli: Cli):
    for text, code in (("abcde", 2), ("abcdef", 125)):
        done = cli("result", text)
        assert (done.returncode, done.stderr.count(b"\n")) == (code, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_submission_that_is_told_to_stop_cancels_its_job_and_says_so(
    cli: Cli, wasm: WASM, tmp_path: Path, number: int
):
    with running_node(tmp_path / "node") as node:
        own = Cli(node.home)
        with background(cli.home, "submit", "--timeout", "600", "--peer", node.address, wasm("spin")) as submit:
            until(lambda: "running" in hosted(own).values())
            submit.send_signal(number)
            _, told = submit.communicate(timeout=20)
        (job,) = hosted(own)
        assert submit.returncode == 130
        assert told.decode() == f"plasm: interrupted; job {job} was cancelled\n"
        assert hosted(own) == {job: "cancelled"}


def test_a_run_that_is_told_to_stop_leaves_no_process_behind(cli: Cli, wasm: WASM):
    with background(cli.home, "run", "--timeout", "600", wasm("spin")) as run:
        process = psutil.Process(run.pid)
        until(lambda: sum(child.cpu_times().user for child in process.children(recursive=True)) > 1)
        children = process.children(recursive=True)
        run.terminate()
        assert run.wait(20) == 130
        assert psutil.wait_procs(children, timeout=10)[1] == []


# --- failures -------------------------------------------------------------------------------------------------------


def test_a_rejection_is_told_once_with_its_mend(cli: Cli, worker: RunningNode, hello: Path):
    done = cli("submit", "--json", "--memory", "32768", "--peer", worker.address, hello)

    line = done.stderr.decode()
    assert done.returncode == 125
    assert (line.count("\n"), line.count("InsufficientResources"), line.count(worker.peer)) == (1, 1, 1)
    assert "trying" not in line
    assert "--memory" in line
    error = json.loads(done.stdout)["error"]
    assert error["code"] == 125
    assert "InsufficientResources" in error["message"]
    assert "--memory" in error["mend"]


def test_watching_ends_well_with_ctrl_c_and_has_one_header(cli: Cli, worker: RunningNode):
    with background(cli.home, "nodes", "--watch", "--peer", worker.address) as watch:
        assert watch.stdout is not None
        header = watch.stdout.readline().decode()
        line = watch.stdout.readline().decode()
        watch.send_signal(signal.SIGINT)
        rest, _ = watch.communicate(timeout=20)
    assert watch.returncode == 0
    assert header.split()[:2] == ["PEER", "RUNTIMES"]
    assert worker.peer in line
    assert b"PEER" not in rest

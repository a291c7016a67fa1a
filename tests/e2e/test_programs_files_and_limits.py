"""What a program writes and opens works wherever it is, and what bounds it can be raised by who runs it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.processes import Cli, RunningNode

WASM = Callable[[str], Path]
WRITE = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
MEGABYTES = f"""
(module {WRITE} (memory (export "memory") 3)
  (func (export "_start") (local $left i32)
    (memory.fill (i32.const 65536) (i32.const 97) (i32.const 65536))
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 65536))
    (local.set $left (i32.const 320))
    (loop $more
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))
"""
FILL = """
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "tmp/f")
  (func (export "_start")
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 1)
        (i64.const 0x1ff) (i64.const 0) (i32.const 0) (i32.const 0))
      (then (call $exit (i32.const 99))))
    (call $exit (call $allocate (i32.load (i32.const 0)) (i64.const 0) (i64.const 0x5000000)))))
"""
"""80 MiB at once; the exit code is the error number."""
NOSPC = 51


@pytest.mark.parametrize("name", ["sync-open", "trunc-open", "devices", "scratch"])
def test_a_program_opens_what_other_hosts_open(cli: Cli, wasm: WASM, name: str) -> None:
    done = cli("run", wasm(name))
    assert (done.returncode, done.stderr.splitlines()[1:]) == (0, []), done.stderr


def test_devices_give_the_same_bytes_here_and_on_a_node(cli: Cli, sender: Cli, worker: RunningNode, wasm: WASM) -> None:
    here = cli("run", wasm("devices"))
    assert (here.returncode, here.stdout[:32], len(here.stdout)) == (0, bytes(32), 64)
    assert here.stdout[32:] != bytes(32)
    assert sender("submit", "--peer", worker.address, wasm("devices")).stdout == here.stdout
    assert cli("run", wasm("devices"), "another argument").stdout[32:] != here.stdout[32:]


def test_an_input_is_changed_for_the_program_alone(cli: Cli, wasm: WASM, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"? what")
    done = cli("run", "--input", f"data/in={tmp_path / 'in'}", "--out", tmp_path / "out", wasm("scratch"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "in").read_bytes() == b"? what"
    assert (tmp_path / "out/in").read_bytes() == b"! what"
    assert (tmp_path / "out/made").read_bytes() == b"!"


@pytest.mark.parametrize("option", ["--out", "--receipt"])
def test_what_one_place_does_not_take_the_others_still_get(
    cli: Cli, sender: Cli, worker: RunningNode, wasm: WASM, tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    (tmp_path / "in").write_bytes(b"? what")
    places = {"--out": tmp_path / "out", "--receipt": tmp_path / "receipt"} | {option: tmp_path / "file" / "below"}
    written = [part for place in places.items() for part in place]
    done = sender("submit", "--peer", worker.address, *written, wasm("devices"))
    assert (done.returncode, len(done.stdout)) == (125, 64), done.stderr
    assert b"file/below cannot be written" in done.stderr
    done = sender(
        "submit", "--peer", worker.address, "--input", f"data/in={tmp_path / 'in'}", *written, wasm("scratch")
    )
    assert done.returncode == 125, done.stderr
    assert (tmp_path / "out" / "in").exists() == (option != "--out")
    assert (tmp_path / "receipt").exists() == (option != "--receipt")


def test_on_ones_own_machine_memory_alone_bounds_the_output(cli: Cli, wasm: WASM) -> None:
    done = cli("run", wasm(MEGABYTES))
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 20 << 20, b"")


@pytest.mark.parametrize(("option", "value"), [("--output", "19MiB"), ("--host-calls", "100")])
def test_a_limit_that_is_reached_is_named(cli: Cli, wasm: WASM, option: str, value: str) -> None:
    done = cli("run", option, value, wasm(MEGABYTES))
    assert done.returncode == 153
    assert f"{option} grants more" in done.stderr.decode()


def test_a_program_that_fails_for_want_of_room_is_told_how_to_get_it(cli: Cli, wasm: WASM) -> None:
    assert cli("run", wasm(FILL)).returncode == 0
    done = cli("run", "--files", "64M", wasm(FILL))
    assert done.returncode == NOSPC
    assert done.stderr == b"plasm: the program exited with 51: it had no room left for its files; --files grants more\n"


def test_limits_go_along_to_a_node_and_its_own_are_said(sender: Cli, worker: RunningNode, wasm: WASM) -> None:
    submit = ("submit", "--peer", worker.address)
    done = sender(*submit, wasm(MEGABYTES))
    assert done.returncode == 153
    assert b"--output grants more" in done.stderr
    done = sender(*submit, "--output", "20MB", wasm(MEGABYTES))
    assert done.returncode == 125
    assert b"InsufficientResources (20971520 bytes of output asked, 16777216 at most)" in done.stderr
    assert sender(*submit, wasm(FILL)).returncode == NOSPC
    assert sender(*submit, "--files", "100MB", wasm(FILL)).returncode == 0


def test_what_runs_here_for_a_receipt_has_a_jobs_limits(cli: Cli, wasm: WASM, tmp_path: Path) -> None:
    done = cli("execute-job", "--stdout", tmp_path / "out", wasm(MEGABYTES))
    assert (done.returncode, (tmp_path / "out").stat().st_size) == (153, 16 << 20)
    limits = json.loads(base64.b64decode(json.loads(done.stdout)["payload"]))["predicate"]["limits"]
    assert limits["outputBytes"] == 16 << 20
    done = cli("execute-job", "--output", "20MB", wasm(MEGABYTES))
    assert done.returncode == 125
    assert b"InsufficientResources: 20971520 bytes of output asked, 16777216 at most" in done.stderr


def test_a_tool_brings_thousands_of_small_files(
    cli: Cli, sender: Cli, worker: RunningNode, wasm: WASM, tmp_path: Path
) -> None:
    (tmp_path / "share").mkdir()
    for number in range(3000):
        (tmp_path / f"share/{number}.v").write_bytes(b"%d" % number)
    given = ("--input", f"share={tmp_path / 'share'}", "--input", f"more={tmp_path / 'share'}")
    assert cli("run", *given, wasm("devices")).returncode == 0
    assert sender("submit", "--peer", worker.address, *given[:2], wasm("devices")).returncode == 0
    done = sender("submit", "--peer", worker.address, *given, wasm("devices"))
    assert (done.returncode, done.stderr) == (125, b"plasm: these are more than 4096 input files; pack them into one\n")


@pytest.mark.parametrize(
    ("text", "code"),
    [("1k", 153), ("1KiB", 153), ("20", 0), ("20m", 0), ("1 GB", 0), ("x", 2), ("-1", 2), ("9999T", 2)],
)
def test_sizes_have_units(cli: Cli, wasm: WASM, text: str, code: int) -> None:
    assert cli("run", f"--output={text}", wasm(MEGABYTES)).returncode == code

"""The commands of README and CONTRIBUTING do what is said of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from plasm.host import architecture
from tests.e2e.processes import ROOT, Cli, RunningNode, clean_environment, running_node


def commands(document: str) -> list[str]:
    fences = re.findall(r"^```sh\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for fence in fences for line in fence.splitlines()]
    return [line for line in lines if line]


USED = [line for line in commands("README.md") if line.startswith("plasm ")]


def test_the_readme_starts_with_its_two_commands():
    hatch = "python3 -m venv .venv && .venv/bin/pip install hatch && .venv/bin/hatch"
    assert commands("README.md")[:2] == [f"{hatch} run plasm demo", f"{hatch} test"]


def test_ci_runs_the_readmes_test_command():
    assert commands("README.md")[1] in (ROOT / ".ci" / "run").read_text().splitlines()


BOOTING = [line for line in commands("README.md") if line.startswith(("plasm serve", "plasm mirror", "phase-"))]
APART = [
    line for line in USED if line in ("plasm start", "plasm nodes") or "--replicas" in line or "receipt.json" in line
]
APART += [line for line in USED if "--evidence" in line]
APART += BOOTING


@pytest.mark.parametrize("line", [line for line in USED if line not in APART])
def test_a_command_of_the_readme_works(sender: Cli, line: str):
    done = sender(*shlex.split(line)[1:])

    assert done.returncode == 0, done.stderr


def test_start_and_nodes_of_the_readme_work_together(tmp_path: Path, worker: RunningNode):
    assert {"plasm start", "plasm nodes"} <= set(USED)
    with running_node(tmp_path / "home", "--peer", worker.address) as node:
        assert worker.peer in Cli(node.home)("nodes").stdout.decode()


def test_a_job_on_three_nodes_of_which_two_must_agree(tmp_path: Path, worker: RunningNode):
    (line,) = [line for line in APART if "--replicas" in line]
    with (
        running_node(tmp_path / "second", "--peer", worker.address),
        running_node(tmp_path / "third", "--peer", worker.address),
        running_node(tmp_path / "home", "--peer", worker.address) as asking,
    ):
        done = Cli(asking.home)(*shlex.split(line)[1:])
    assert (done.returncode, done.stdout) == (0, b"dlroW ,olleH"), done.stderr
    assert b"nodes agree" in done.stderr


def test_the_commands_about_receipts_and_evidence_work(tmp_path: Path, sender: Cli, cli: Cli, worker: RunningNode):
    vector = json.loads((ROOT / "specs" / "vectors" / "evidence.json").read_text())["valid"][0]
    (tmp_path / "evidence.json").write_text(vector["file"])
    receipt = tmp_path / "receipt.json"
    (submit,) = [line for line in APART if line.startswith("plasm submit --receipt")]
    program, command, *rest = shlex.split(submit.replace("receipt.json", str(receipt)))
    sent = sender(command, "--peer", worker.address, *rest)
    assert (program, sent.returncode) == ("plasm", 0), sent.stderr
    lines = [line for line in APART if " verify " in line]
    assert len(lines) == 3
    for line in lines:
        line = line.replace("PEER", worker.peer).replace("receipt.json", str(receipt))
        line = line.replace("evidence.json", str(tmp_path / "evidence.json"))
        done = cli(*shlex.split(line)[1:])
        assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_one_machine_serves_and_another_fetches_and_serves_on(tmp_path: Path):
    serve, pin, fetch, mirror = BOOTING
    folder = tmp_path / "boot-artifacts" / "stable" / architecture()
    folder.mkdir(parents=True)
    (folder / "kernel").write_bytes(b"a kernel" * 1000)
    with providing(tmp_path, "server", serve) as url:
        root = urlopen(f"{url}metadata/1.root.json", timeout=10).read()
        pin = pin.replace("URL", f"{url}metadata/1.root.json").replace("HEX", hashlib.sha256(root).hexdigest())
        assert phase(tmp_path, pin).returncode == 0
        done = phase(tmp_path, f"{fetch} --profile local")
        assert done.returncode == 0, done.stderr
        with providing(tmp_path, "client", f"{mirror} --from {url}") as copy:
            served = urlopen(f"{copy}stable/{architecture()}/kernel", timeout=10).read()
    assert (tmp_path / "boot" / "kernel").read_bytes() == served == b"a kernel" * 1000


@contextlib.contextmanager
def providing(folder: Path, home: str, line: str) -> Iterator[str]:
    """The URL of a provider that `line` starts in `folder`, on loopback; it must end well."""
    process = subprocess.Popen(
        [sys.executable, "-m", *shlex.split(line), "--bind", "127.0.0.1", "--port", "0", "--no-dht"],
        cwd=folder,
        env=clean_environment(folder / home),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        word, url = process.stdout.readline().split()
        assert word == "ready"
        yield url
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def phase(folder: Path, line: str) -> subprocess.CompletedProcess[bytes]:
    program, *arguments = shlex.split(line)
    return subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=folder,
        env=clean_environment(folder / "client"),
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("line", [line for line in commands("CONTRIBUTING.md") if line.startswith("hatch run")])
def test_contributing_names_scripts_that_are_there(line: str):
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["envs"]["default"]["scripts"]
    assert shlex.split(line)[2] in scripts


def test_the_embedded_node_of_the_examples_has_its_job_run(tmp_path: Path, hello: Path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "embed_node.py", hello],
        capture_output=True,
        timeout=90,
        cwd=tmp_path,
        env=clean_environment(tmp_path / "home"),
    )

    assert done.returncode == 0, done.stderr
    assert b"wrote: dlroW ,olleH" in done.stdout

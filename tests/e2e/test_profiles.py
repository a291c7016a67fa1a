"""What the profiles promise, on kernels that can show it: mounts and network namespaces of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import Cli, running_node

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"),
    reason="mounts and network namespaces are root's: runs in .ci/run",
)

READ_ONLY = (
    'mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$1/work" && shift'
    ' && exec "$@"'
)

# Every destination that a packet on the way out of any interface has: printed at the end, one to a line.
CAPTURE = """
import ipaddress, select, signal, socket, sys
done = []
signal.signal(signal.SIGTERM, lambda *_: done.append(1))
capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
print("capturing", flush=True)
seen = set()
while not done:
    if not select.select([capture], [], [], 0.1)[0]:
        continue
    frame, (_, protocol, *_) = capture.recvfrom(65536)
    if protocol == 0x0800:
        seen.add(str(ipaddress.ip_address(frame[30:34])))
    elif protocol == 0x86DD:
        seen.add(str(ipaddress.ip_address(frame[38:54])))
print("\\n".join(sorted(seen)), flush=True)
"""


@needs_root
def test_private_runs_a_job_with_home_and_working_folder_on_a_read_only_mount(tmp_path: Path, hello: Path):
    fixed = tmp_path / "fixed"
    (fixed / "work").mkdir(parents=True)
    (fixed / "home").mkdir(mode=0o700)
    prefix = ("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(fixed))
    with running_node(
        fixed / "home", options=("--profile", "private"), prefix=prefix, log=tmp_path / "node.log"
    ) as node:
        client = Cli(fixed / "home", prefix=list(prefix))
        done = client("--profile", "private", "submit", "--peer", node.address, hello.absolute(), stdin=b"abc")

        assert (done.returncode, done.stdout) == (0, b"cba"), done.stderr
        assert not list((fixed / "home").iterdir())
        assert not list((fixed / "work").iterdir())


@needs_root
def test_the_read_only_mount_of_that_test_is_one(tmp_path: Path, hello: Path):
    fixed = tmp_path / "fixed"
    (fixed / "work").mkdir(parents=True)
    (fixed / "home").mkdir(mode=0o700)
    prefix = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(fixed)]
    done = Cli(fixed / "home", prefix=prefix)("execute-job", hello.absolute())

    assert done.returncode == 125
    assert b"--profile private" in done.stderr


def test_private_refuses_what_writes_even_when_it_is_named(cli: Cli):
    done = cli("--profile", "private", "--plugins", "store:fs", "start")

    assert done.returncode == 125
    assert b"writes-disk" in done.stderr
    assert not cli.home.exists()


def test_private_has_another_identity_each_time(tmp_path: Path):
    peers = []
    for _ in range(2):
        with running_node(tmp_path / "home", options=("--profile", "private")) as node:
            peers.append(node.peer)

    assert peers[0] != peers[1]


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[str]:
    """A network namespace with a private and a public address, whose default route is the public one."""
    name = f"plasm-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for command in (
            "link set lo up",
            "link add lan type veth peer name lan-end",
            "link add wan type veth peer name wan-end",
            "addr add 10.77.0.1/24 dev lan",
            "addr add 8.8.4.1/24 dev wan",
            "link set lan up multicast on",
            "link set lan-end up",
            "link set wan up multicast on",
            "link set wan-end up",
            "neigh add 8.8.4.2 lladdr 02:00:00:00:00:01 dev wan",
            "route add default via 8.8.4.2 dev wan",
        ):
            subprocess.run(["ip", "-n", name, *command.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def public(destinations: list[str]) -> list[str]:
    return [each for each in destinations if each.startswith("8.8.")]


class Capture:
    def __init__(self, namespace: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-c", CAPTURE], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"capturing\n"

    def stop(self) -> list[str]:
        self.process.terminate()
        output, _ = self.process.communicate(timeout=10)
        return output.decode().split()


STRANGER = "/ip4/8.8.8.8/tcp/4001/p2p/12D3KooWRS8X7N12H9YhM7d9s2RA4934DzvDzDXXhYtB5Z9hHre8"


@needs_root
def test_local_finds_and_runs_and_sends_no_packet_to_a_public_address(namespace: str, tmp_path: Path, hello: Path):
    inside = ("ip", "netns", "exec", namespace)
    local = ("--profile", "local")
    capture = Capture(namespace)
    with running_node(tmp_path / "node", "--peer", STRANGER, options=local, prefix=inside, listen="/ip4/0.0.0.0/tcp/0"):
        cli = Cli(tmp_path / "home", prefix=list(inside))
        done = cli(*local, "submit", hello.absolute())
        refused = cli(*local, "submit", "--peer", STRANGER, hello.absolute())
    destinations = capture.stop()

    assert (done.returncode, done.stdout) == (0, b"dlroW ,olleH"), done.stderr
    assert refused.returncode == 125
    assert destinations
    assert not public(destinations)


@needs_root
def test_that_capture_sees_a_packet_to_a_public_address(namespace: str, tmp_path: Path, hello: Path):
    cli = Cli(tmp_path / "home", prefix=["ip", "netns", "exec", namespace])
    capture = Capture(namespace)
    cli("submit", "--peer", STRANGER, hello.absolute())

    assert public(capture.stop()) == ["8.8.8.8"]


def test_local_refuses_the_dht_even_when_it_is_named(cli: Cli):
    done = cli("--profile", "local", "--plugins", "dht", "start")

    assert done.returncode == 125
    assert b"public-network" in done.stderr


def test_drivers_are_chosen_by_name_port_by_port(tmp_path: Path, cli: Cli, hello: Path):
    with running_node(tmp_path / "node", options=("--plugins", "mdns,wasmtime,memory")) as node:
        log = node.log.read_text()
        assert "discovery:mdns" in log
        assert "store:memory" in log
        assert "dht" not in log
        assert cli("submit", "--peer", node.address, hello).stdout == b"dlroW ,olleH"

"""``plasm serve`` and ``plasm provider`` as their users meet them."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
from pathlib import Path

import pytest

from .conftest import KERNEL, Publisher
from .machines import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in the seed's layout."""
    folder = tmp_path / "boot-artifacts"
    (folder / "stable" / "x86_64").mkdir(parents=True)
    (folder / "stable" / "x86_64" / "kernel").write_bytes(KERNEL)
    return folder


def test_a_plain_folder_just_works_and_its_banner_leads_a_client_to_what_it_holds(machine, folder, tmp_path) -> None:
    client = Machine(tmp_path / "client")
    with machine.provides("serve", "--artifacts", folder, "--arch", "x86_64") as provider:
        root = hashlib.sha256(provider.get("metadata/1.root.json")).hexdigest()
        pin = f"phase-fetch --pin {provider.url}metadata/1.root.json --fingerprint {root}"
        fetch = f"phase-fetch --output boot {provider.url}stable/x86_64/manifest.json"
        assert client(*pin.split()).returncode == 0
        assert client(*fetch.replace("boot ", f"{tmp_path}/boot ").split()).returncode == 0
        code, said = provider.stop()
    assert code == 0
    assert f"plasm:   {pin}\nplasm:   {fetch}\n" in said
    assert (tmp_path / "boot" / "kernel").read_bytes() == KERNEL


def test_the_banner_says_what_runs_and_not_what_was_asked_for(machine, folder) -> None:
    with machine.provides("serve", "--artifacts", folder) as provider:
        _, said = provider.stop()
    assert "DHT: not running, left out" in said
    assert "mDNS: not running, left out" in said


def test_the_root_of_a_folder_stays_the_same_from_one_start_to_the_next(machine, folder) -> None:
    roots = []
    for _ in range(2):
        with machine.provides("serve", "--artifacts", folder) as provider:
            roots.append(provider.get("metadata/1.root.json"))
    assert roots[0] == roots[1]


def test_of_a_repository_only_what_is_signed_is_served(machine, publisher: Publisher) -> None:
    with machine.provides("serve", "--repository", publisher.folder, "--arch", "x86_64") as provider:
        assert provider.get("stable/x86_64/kernel") == KERNEL
        assert provider.get("metadata/1.root.json") == publisher.root
        code, said = provider.stop()
    assert code == 0
    assert f"serves what is signed in {publisher.folder}" in said


def test_ctrl_c_ends_it_well(machine, folder) -> None:
    with machine.provides("serve", "--artifacts", folder) as provider:
        provider.process.send_signal(signal.SIGINT)
        assert provider.process.wait(20) == 0


def test_as_json_it_says_what_it_is_in_one_line(machine, folder) -> None:
    with machine.provides("serve", "--artifacts", folder, "--json", "--arch", "x86_64") as provider:
        document = json.loads(provider.first_line)
        assert provider.stop()[0] == 0
    assert document["offers"] == [{"channel": "stable", "arch": "x86_64", "version": 1}]
    assert document["advertised"] == {"dht": "left out", "mdns": "left out"}
    assert document["p2p"] == []


def test_a_folder_that_is_not_there_is_one_clear_line(machine, tmp_path) -> None:
    done = machine("serve", "--artifacts", tmp_path / "nowhere", "--port", "0", "--no-dht", "--no-mdns")
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1
    assert "nowhere cannot be read" in done.stderr
    assert "--artifacts" in done.stderr


def test_a_port_that_is_taken_is_one_clear_line(machine, folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = machine("serve", "-a", folder, "--bind", "127.0.0.1", "--port", port, "--no-dht", "--no-mdns")
    assert done.returncode == 125
    assert f"{port}" in done.stderr.splitlines()[-1]
    assert "--port" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_status_and_list_ask_a_provider(machine, folder) -> None:
    with machine.provides("serve", "--artifacts", folder, "--arch", "x86_64") as provider:
        status = machine("provider", "status", "--addr", provider.url)
        assert (status.returncode, status.stdout.splitlines()[0]) == (0, "healthy")
        document = json.loads(machine("provider", "status", "--json", "--addr", provider.url).stdout)
        assert document["health"]["status"] == "healthy"
        listed = machine("provider", "list", "--addr", provider.url)
        assert listed.returncode == 0
        assert hashlib.sha256(KERNEL).hexdigest() in listed.stdout
    for command in ("status", "list"):
        gone = machine("provider", command, "--addr", provider.url)
        assert (gone.returncode, gone.stdout) == (1, "")
        assert "does not answer" in gone.stderr


def test_status_of_one_that_is_not_healthy_is_no(machine, folder) -> None:
    with machine.provides("serve", "--artifacts", folder, "--arch", "x86_64") as provider:
        folder.rename(folder.with_name("elsewhere"))
        for _ in range(100):
            status = machine("provider", "status", "--addr", provider.url)
            if status.returncode == 1:
                break
        assert status.stdout.startswith("unhealthy: artifacts cannot be read\n")
        assert machine("provider", "list", "--addr", provider.url).returncode == 1


def test_where_mdns_cannot_be_had_it_serves_without_and_says_so(machine, folder) -> None:
    machine.home.mkdir(mode=0o700)
    (machine.home / "config.toml").write_text('[discovery.mdns]\ninterfaces = ["none0"]\n')
    with machine.provides("serve", "--artifacts", folder, "--no-dht", "--json", advertises=True) as provider:
        said = json.loads(provider.first_line)["advertised"]["mdns"]
        assert "no interface of 'none0' takes multicast" in said
        assert f"mDNS: not running, {said}" in provider.stop()[1]


def test_a_p2p_port_that_is_taken_is_one_clear_line(machine, folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        done = machine("serve", "-a", folder, "--bind", "127.0.0.1", "--port", 0, "--no-mdns", "--listen", address)
    assert done.returncode == 125
    assert "--listen ADDR listens elsewhere, --no-dht does without" in done.stderr.splitlines()[-1]

from __future__ import annotations

import json

import pytest

from tests.e2e.processes import Cli


@pytest.mark.parametrize("discovery", ["dht", "mdns"])
def test_demo_has_one_node_run_the_others_job_within_a_minute(cli: Cli, discovery: str):
    done = cli("demo", "--discovery", discovery, timeout=60)

    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert any(line.startswith("Discovered node: plasm@12D3Koo") for line in lines)
    assert "Sending job: hello.wasm" in lines
    assert "Result: dlroW ,olleH" in lines
    assert "Receipt verified ✓" in lines
    assert any("runtime" in line and "plasm-wasmtime" in line for line in lines)
    assert any("discovery" in line and discovery in line for line in lines)


def test_demo_as_json_is_the_verified_result(cli: Cli):
    done = cli("demo", "--json", timeout=60)

    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout)
    assert result["stdout"] == "dlroW ,olleH"
    assert result["verified"] is True

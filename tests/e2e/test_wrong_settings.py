"""What is set wrongly is named where it stands, with what there is instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.processes import Cli


@pytest.mark.parametrize("address", ["/carrier/pigeon", "/ip4/1.2.3/tcp/4001", "/ip4/192.0.2.1/tcp/4001"])
def test_a_wrong_listen_names_the_file_and_the_key(cli: Cli, tmp_path: Path, address: str):
    config = tmp_path / "mine.toml"
    config.write_text(f'[node]\nlisten = ["{address}"]\n')
    done = cli("--config", config, "start")

    assert done.returncode == 125
    line = done.stderr.decode()
    assert line.count("\n") == 1
    assert str(config) in line
    assert "[node] listen" in line


def test_a_runtime_that_is_not_there_is_answered_with_those_that_are(cli: Cli, hello: Path):
    for command in (["run"], ["execute-job"], ["submit", "--look", "1"]):
        done = cli(*command, "--runtime", "bogus", hello)

        assert done.returncode == 125
        assert re.search(rb"there is .*wasmtime", done.stderr), done.stderr

"""A module that was here once is named by its digest from then on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.e2e.processes import Cli


def test_a_module_in_the_store_runs_by_its_digest(cli: Cli, hello: Path):
    assert cli("execute-job", hello).returncode == 0
    digest = f"sha256:{hashlib.sha256(hello.read_bytes()).hexdigest()}"

    done = cli("run", digest)
    assert (done.returncode, done.stdout) == (0, b"dlroW ,olleH")
    assert cli("execute-job", digest).returncode == 0


def test_a_digest_that_no_store_has_is_one_clear_line(cli: Cli):
    done = cli("run", "sha256:" + "0" * 64)
    assert done.returncode == 125
    assert done.stderr.decode() == f"plasm: no store holds sha256:{'0' * 64}\n"

"""A receipt is taken as it comes out of other commands, or the answer says what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.processes import Cli


@dataclass
class Signed:
    cli: Cli
    document: bytes
    """What ``--json`` prints."""
    receipt: bytes

    @property
    def node(self) -> str:
        return str(json.loads(self.document)["node"])


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, hello: Path) -> Signed:
    folder = tmp_path_factory.mktemp("signed")
    cli = Cli(folder / "home")
    done = cli("execute-job", "--json", "--receipt", folder / "receipt.json", hello)
    assert done.returncode == 0, done.stderr
    return Signed(cli, done.stdout, (folder / "receipt.json").read_bytes())


def test_a_receipt_is_taken_from_stdin(signed: Signed):
    done = signed.cli("verify", "-", stdin=signed.receipt)

    assert done.returncode == 0, done.stdout


def test_too_much_on_stdin_is_one_line(signed: Signed):
    done = signed.cli("verify", "-", stdin=bytes(2**20 + 1))

    assert done.returncode == 125
    assert b"stdin is longer than" in done.stderr


@pytest.mark.parametrize(
    "name", ["{node}", "/ip4/192.0.2.1/tcp/4001/p2p/{node}", "/dns4/node.example/tcp/4001/p2p/{node}"]
)
def test_the_node_is_named_by_its_id_or_by_an_address_of_it(signed: Signed, name: str):
    assert signed.cli("verify", "--node", name.format(node=signed.node), "-", stdin=signed.receipt).returncode == 0


def test_an_address_without_an_id_or_with_anothers_does_not_do(signed: Signed):
    assert signed.cli("verify", "--node", "/ip4/192.0.2.1/tcp/4001", "-", stdin=signed.receipt).returncode == 2
    other = "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWRS8X7N12H9YhM7d9s2RA4934DzvDzDXXhYtB5Z9hHre8"
    assert signed.cli("verify", "--node", other, "-", stdin=signed.receipt).returncode == 1


def test_a_run_that_nothing_can_be_compared_with_is_not_answered_with_yes(tmp_path: Path, wasm: Callable[[str], Path]):
    recursion = wasm('(module (memory (export "memory") 1) (func $f (export "_start") (call $f)))')
    cli, receipt = Cli(tmp_path / "home"), tmp_path / "receipt.json"
    assert cli("execute-job", "--receipt", receipt, recursion).returncode == 134
    assert cli("verify", receipt).returncode == 0

    done = cli("verify", "--reexec", "--module", recursion, "--json", receipt)

    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert said["ok"] is False
    assert [each["answer"] for each in said["checks"] if each["what"] == "reexec"] == ["not checked"]


def test_a_reformatted_receipt_is_refused_with_what_undoes_it(signed: Signed):
    done = signed.cli("verify", "-", stdin=json.dumps(json.loads(signed.receipt), indent=2).encode())

    assert done.returncode == 1
    assert b"reformatted, which can be undone: jq -cS . FILE" in done.stdout


def test_a_result_with_a_receipt_in_it_is_refused_with_how_to_take_it_out(signed: Signed):
    done = signed.cli("verify", "-", stdin=signed.document)

    assert done.returncode == 1
    assert b"jq -cS .receipt FILE" in done.stdout
    # What jq does, which may not be installed here.
    taken_out = json.dumps(json.loads(signed.document)["receipt"], sort_keys=True, separators=(",", ":"))
    assert signed.cli("verify", "-", stdin=taken_out.encode() + b"\n").returncode == 0


@pytest.mark.parametrize("document", [b"", b"{}", b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"receipt": 3}'])
def test_what_is_no_receipt_gets_no_hint(signed: Signed, document: bytes):
    done = signed.cli("verify", "-", stdin=document)

    assert done.returncode == 1
    assert b"jq" not in done.stdout


def test_a_job_that_is_not_given_whole_says_what_to_give(signed: Signed, hello: Path, tmp_path: Path):
    receipt = tmp_path / "receipt.json"
    assert signed.cli("execute-job", "--env", "X=1", "--receipt", receipt, hello, "one").returncode == 0
    whole = ("verify", "--reexec", "--module", hello, "--env", "X=1", receipt, "one")
    assert signed.cli(*whole).returncode == 0

    done = signed.cli("verify", "--reexec", "--module", hello, receipt)

    assert done.returncode == 1
    said = done.stdout.decode()
    assert "not run: the receipt is for another job; give --module, --stdin, --input, --env and ARGS as" in said

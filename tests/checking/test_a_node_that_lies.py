"""Nodes in processes of their own, over sockets: one of them lies, and is found out by whoever looks."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from plasm.checking.evidence import check_evidence
from plasm.checking.ledger import FILE_NAME as LEDGER
from plasm.checking.ledger import open_ledger
from plasm.checking.quorum import NoQuorum
from plasm.checking.standing import PeerRecord, Standing
from plasm.cli.context import Context
from plasm.cli.progress import Progress
from plasm.cli.rechecking import Given, recheck, verify_evidence
from plasm.cli.replicas import finish_replicated, keep_evidence, submit_replicas
from plasm.home import Home
from plasm.jobs.conversation import Submission
from plasm.jobs.manifest import Job, Manifest, sha256
from plasm.jobs.receipt import verify_receipt
from plasm.ports import PeerId
from tests.e2e.processes import ROOT, RunningNode, running_node

LYING = Path(__file__).parent / "lying"
MODULE = (ROOT / "examples" / "hello.wasm").read_bytes()
STDIN = b"stressed"
JOB = Job(manifest=Manifest(module_hash=sha256(MODULE)), stdin=sha256(STDIN))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningNode]]:
    """Two honest nodes and one that lies."""
    folder = tmp_path_factory.mktemp("nodes")
    lying = {"options": ("--plugins", "runtime:liar"), "prefix": ("env", f"PYTHONPATH={LYING}")}
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(running_node(folder / name, **how))
            for name, how in {"honest": {}, "other": {}, "liar": lying}.items()
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def context(home: Home, *plugins: str) -> Context:
    return Context(home_path=home.path, plugins=plugins)


def submitted(home: Home, asked: list[RunningNode], replicas: int, quorum: int):
    with Progress(quiet=True, verbose=False) as progress:
        return submit_replicas(
            context(home),
            Submission(job=JOB, module=MODULE, stdin=STDIN),
            name="hello",
            replicas=replicas,
            quorum=quorum,
            peers=[node.address for node in asked],
            bootstrap=(),
            look_seconds=5,
            progress=progress,
        )


def known(home: Home, node: RunningNode) -> PeerRecord:
    async def read() -> PeerRecord:
        async with open_ledger(home.path / LEDGER, logging.getLogger()) as ledger:
            return await ledger.find(PeerId(node.peer))

    return anyio.run(read)


def test_two_honest_nodes_outvote_the_liar_and_the_evidence_holds_without_any_of_them(nodes, home, capsys):
    honest, other, liar = nodes["honest"], nodes["other"], nodes["liar"]
    done = submitted(home, [liar, honest, other], replicas=3, quorum=2)
    assert done.result.stdout == b"desserts"
    assert {each.node for each in done.agreeing} == {honest.peer, other.peer}
    for each in done.odd:
        assert (each.node, each.stdout) == (liar.peer, b"dessert!")
    assert known(home, honest).agreed == 1


def test_a_liar_who_is_asked_first_is_contradicted_by_those_after_him(nodes, home):
    honest, other, liar = nodes["honest"], nodes["other"], nodes["liar"]
    done = submitted(home, [liar, honest, other], replicas=2, quorum=2)
    assert done.result.stdout == b"desserts"
    (odd,) = done.odd
    assert odd.node == liar.peer
    (evidence,) = done.evidence
    finding = check_evidence(evidence)
    assert finding.odd_one == liar.peer
    assert finding.same_engine
    assert finding.differs == ("stdout",)
    record = known(home, liar)
    assert (record.contradicted, record.streak, record.standing) == (1, 0, Standing.CONTRADICTED)


def test_two_that_contradict_each_other_give_no_result_but_evidence_that_a_third_party_checks(
    nodes, home, tmp_path, capsys
):
    with pytest.raises(NoQuorum) as caught:
        submitted(home, [nodes["honest"], nodes["liar"]], replicas=2, quorum=2)
    assert len(caught.value.replicated.odd) == 2
    (kept,) = (home.path / "evidence").glob("*.json")
    # Somewhere else, with nothing but the file.
    alone = tmp_path / "evidence.json"
    shutil.copy(kept, alone)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        verify_evidence(alone, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (ended.value.code, said["ok"], said["odd_one"]) == (0, True, None)


def test_running_the_job_again_here_shows_the_lie_and_from_which_byte(nodes, home, tmp_path):
    liar = nodes["liar"]
    # One replica of an unknown node is checked, and with nobody to check it the answer comes back alone.
    lie = submitted(home, [liar], replicas=1, quorum=1).result
    statement = verify_receipt(lie.receipt, PeerId(liar.peer))
    summary = tmp_path / "summary.json"
    done = recheck(
        context(home),
        statement,
        lie.receipt,
        given=Given(module=MODULE, stdin=STDIN),
        outputs=lie.outputs,
        summary=summary,
    )
    assert done.answer == "refused"
    assert "different: stdout from byte 7" in done.detail
    assert check_evidence(done.evidence[0].read_bytes()).same_engine
    assert known(home, liar).standing is Standing.LIAR
    assert json.loads(summary.read_bytes())["payloadType"] == "application/vnd.in-toto+json"


def test_a_result_that_was_to_be_checked_and_that_nobody_could_check_comes_with_a_word_that_says_so(
    nodes, home, capsys
):
    alone = submitted(home, [nodes["honest"]], replicas=1, quorum=1)
    with pytest.raises(SystemExit):
        finish_replicated(context(home), alone, receipt=None, out=None, as_json=False, quiet=False)
    said = "plasm: not checked: there is no answer of a second node to hold this result against\n"
    assert capsys.readouterr().err == said
    with pytest.raises(SystemExit):
        finish_replicated(context(home), alone, receipt=None, out=None, as_json=True, quiet=True)
    assert json.loads(capsys.readouterr().out)["checked"] is False


def test_running_an_honest_job_again_by_another_node_confirms_it(nodes, home):
    honest, other = nodes["honest"], nodes["other"]
    true = submitted(home, [honest], replicas=1, quorum=1).result
    statement = verify_receipt(true.receipt, PeerId(honest.peer))
    done = recheck(context(home), statement, true.receipt, given=Given(module=MODULE, stdin=STDIN), via=other.address)
    assert (done.answer, list(done.evidence)) == ("ok", [])
    assert done.detail.startswith("same, run again on wasmtime")
    assert known(home, honest).agreed == 1


def test_a_node_that_says_the_same_again_proves_nothing(nodes, home, tmp_path):
    liar = nodes["liar"]
    lie = submitted(home, [liar], replicas=1, quorum=1).result
    done = recheck(
        context(home),
        verify_receipt(lie.receipt, PeerId(liar.peer)),
        lie.receipt,
        given=Given(module=MODULE, stdin=STDIN),
        via=liar.address,
        summary=tmp_path / "summary.json",
    )
    assert done.answer == "not checked"
    assert done.detail.endswith("which signed the receipt itself: name another with --via")
    assert not (tmp_path / "summary.json").exists()


def test_a_profile_that_writes_nothing_keeps_no_evidence():
    assert keep_evidence(Home(None), [b"whatever"]) == []


def test_a_node_that_contradicts_itself_when_it_is_asked_again_is_a_liar(home, tmp_path):
    with running_node(
        tmp_path / "node", options=("--plugins", "runtime:liar"), prefix=("env", f"PYTHONPATH={LYING}")
    ) as liar:
        lie = submitted(home, [liar], replicas=1, quorum=1).result
    statement = verify_receipt(lie.receipt, PeerId(liar.peer))
    with running_node(tmp_path / "node") as again:
        assert again.peer == liar.peer
        done = recheck(
            context(home), statement, lie.receipt, given=Given(module=MODULE, stdin=STDIN), via=again.address
        )
    assert done.answer == "refused"
    assert check_evidence(done.evidence[0].read_bytes()).self_contradiction
    assert known(home, liar).standing is Standing.LIAR

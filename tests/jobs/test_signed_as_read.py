"""What a node signs its own reader takes; what no reader would take is signed by nobody and fails on the node."""

from __future__ import annotations

import datetime
from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.jobs.attempts import NoNode
from plasm.jobs.manifest import Job, Manifest, sha256
from plasm.jobs.receipt import MAX_COUNT, TRAPS, ReceiptRefused, make_statement, sign_receipt, verify_receipt
from plasm.ports import Engine, Invocation, Outcome, PeerId, Usage, Verdict
from plasm.testing import FakeSigner, ScriptedRuntime
from plasm.testing.fakes.scripts import echoes
from tests.jobs.world import ECHO, ENGINE, ignore, submission

NODE, CLIENT = FakeSigner(1), FakeSigner(2).peer
JOB = Job(manifest=Manifest(module_hash=sha256(b"")))
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
DONE = Outcome(verdict=Verdict.EXITED, exit_code=0)


def signed(
    outcome: Outcome = DONE,
    *,
    client: PeerId = CLIENT,
    engine: Engine = ENGINE,
    finished: datetime.datetime = NOON,
    isolation: str = "cell",
    signer: FakeSigner = NODE,
) -> bytes:
    statement = make_statement(
        job=JOB,
        outcome=outcome,
        engine=engine,
        isolation=isolation,
        node=NODE.peer,
        client=client,
        nonce=bytes(16),
        started=NOON,
        finished=finished,
    )
    return sign_receipt(statement, signer, NODE.peer)


def said(outcome: Outcome = DONE, **about: object):
    return verify_receipt(signed(outcome, **about), NODE.peer).predicate


@pytest.mark.parametrize(
    ("count", "stated"), [(MAX_COUNT, MAX_COUNT), (MAX_COUNT + 1, None), (2**70, None), (-1, None)]
)
def test_what_was_used_and_no_receipt_can_hold_counts_as_not_measured(count, stated):
    usage = said(replace(DONE, usage=Usage(fuel=count, peak_memory_bytes=count, peak_process_bytes=count))).usage
    assert (usage.fuel, usage.peak_memory_bytes, usage.peak_process_bytes) == (stated,) * 3


@pytest.mark.parametrize(
    ("seconds", "stated"),
    [(-1.0, 0), (float("nan"), 0), (float("inf"), MAX_COUNT), (1e300, MAX_COUNT), (2.5, 2_500_000)],
)
def test_seconds_that_no_receipt_can_hold_are_the_nearest_that_one_can(seconds, stated):
    usage = said(replace(DONE, usage=Usage(cpu_seconds=seconds, wall_seconds=seconds))).usage
    assert (usage.cpu_microseconds, usage.wall_microseconds) == (stated, stated)


def test_a_clock_that_was_set_back_while_the_job_ran_costs_no_receipt():
    times = said(finished=NOON - datetime.timedelta(hours=1))
    assert times.finished_at == times.started_at == "2026-01-02T12:00:00.000000Z"


def test_a_trap_that_has_no_name_in_receipts_is_another_one():
    for name in (*sorted(TRAPS), None):
        assert said(Outcome(verdict=Verdict.TRAPPED, trap=name)).trap == name
    assert said(Outcome(verdict=Verdict.TRAPPED, trap="my own trap")).trap == "other"


BAD_FILES = [
    {"a": b"", "a/b": b""},
    {"../a": b""},
    {"a\0b": b""},
    {"": b""},
    {"a//b": b""},
    {"\ud800": b""},
    {"x" * 201: b""},
]


@pytest.mark.parametrize("files", BAD_FILES, ids=ascii)
def test_outputs_that_no_reader_takes_are_signed_by_nobody(files):
    with pytest.raises(ReceiptRefused):
        signed(replace(DONE, files=files))


@pytest.mark.parametrize(
    "changed",
    [
        {"outcome": replace(DONE, exit_code=None)},
        {"outcome": replace(DONE, exit_code=256)},
        {"outcome": replace(DONE, trap="unreachable")},
        {"outcome": Outcome(verdict=Verdict.TRAPPED, exit_code=1)},
        {"client": "nobody"},
        {"isolation": "x" * 257},
        {"engine": replace(ENGINE, configuration={"größe": 1})},
        {"engine": replace(ENGINE, configuration={"size": 2**53})},
        {"engine": replace(ENGINE, configuration={"share": 0.5})},
    ],
    ids=repr,
)
def test_a_statement_that_no_reader_takes_is_signed_by_nobody(changed):
    class Untouched(FakeSigner):
        def sign(self, message: bytes) -> bytes:
            pytest.fail("it was signed")

    with pytest.raises(ReceiptRefused):
        signed(**changed, signer=Untouched(1))


def test_a_receipt_larger_than_a_reader_takes_does_not_leave():
    with pytest.raises(ReceiptRefused):
        signed(replace(DONE, files={f"{number:0>200}": b"" for number in range(257)}))


outcomes = st.builds(
    Outcome,
    verdict=st.sampled_from(Verdict),
    exit_code=st.none() | st.integers(-2, 258),
    stdout=st.binary(max_size=3),
    files=st.dictionaries(st.text(st.characters(), max_size=5) | st.sampled_from(["a", "a/b"]), st.binary(max_size=1)),
    usage=st.builds(
        Usage,
        fuel=st.none() | st.integers(),
        wall_seconds=st.floats(),
        cpu_seconds=st.floats(),
        peak_memory_bytes=st.none() | st.integers(),
    ),
    trap=st.none() | st.text(max_size=5) | st.sampled_from(sorted(TRAPS)),
    isolation=st.none() | st.text(st.characters(), max_size=300),
    reproducible=st.booleans(),
)


@given(outcomes, st.datetimes(timezones=st.just(datetime.UTC)))
def test_whatever_a_runtime_says_is_readable_or_not_signed(outcome, finished):
    try:
        receipt = signed(outcome, finished=finished)
    except ReceiptRefused:
        return
    verify_receipt(receipt, NODE.peer)


class Saying(ScriptedRuntime):
    """Changes what came of each run."""

    def __init__(self, **changes: object) -> None:
        super().__init__({ECHO: echoes()})
        self.changes = changes

    async def run(self, invocation: Invocation) -> Outcome:
        return replace(await super().run(invocation), **self.changes)


@pytest.mark.anyio
@pytest.mark.parametrize("changes", [{"files": files} for files in BAD_FILES[:3]] + [{"exit_code": 256}], ids=ascii)
async def test_an_outcome_that_no_receipt_states_is_a_failure_of_its_node(world, changes):
    runtime = Saying(**changes)
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}) as standing, world.client() as client:
            with pytest.raises(NoNode, match=r"NodeFailed.*no receipt can state") as caught:
                await client.submit(submission(), name="x", report=ignore, peers=[standing.address])
            assert str(caught.value).isprintable()
            assert len(runtime.calls) == 1


@pytest.mark.anyio
async def test_fuel_beyond_what_a_receipt_holds_costs_no_result(world):
    runtime = Saying(usage=Usage(fuel=2**53, wall_seconds=0.1, cpu_seconds=0.1))
    with anyio.fail_after(10):
        async with world.node(runtimes={"scripted": runtime}), world.client() as client:
            delivered = await client.submit(submission(stdin=b"in"), name="x", report=ignore)
    assert (delivered.stdout, delivered.statement.predicate.usage.fuel) == (b"in", None)

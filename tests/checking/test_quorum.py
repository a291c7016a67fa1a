"""Replicas: different nodes until enough agree; the odd one out is kept; what is not needed is cancelled."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasm.checking.comparing import KNOWN_RULES
from plasm.checking.evidence import check_evidence
from plasm.checking.ledger import open_ledger
from plasm.checking.quorum import GivenNodes, NoQuorum, Replicated, replicate
from plasm.checking.spotcheck import submit_checked
from plasm.checking.standing import TRUSTED_AFTER, Deed, Standing
from plasm.jobs.conversation import AttemptFailed, ConnectionLost, Delivered, JobCancelled
from plasm.ports import Found, Verdict
from tests.checking.said import ENGINE, OTHER_ENGINE, answer, ended, exited, found, node

LOG = logging.getLogger("plasm.tests")
LIE = exited(b"lie")
Behaviour = Callable[[int], Awaitable[Delivered]]


def says(outcome=None, **about: object) -> Behaviour:
    async def behave(number: int) -> Delivered:
        await anyio.lowlevel.checkpoint()
        return answer(outcome, by=number, **about)

    return behave


def fails(error: Exception) -> Behaviour:
    async def behave(number: int) -> Delivered:
        await anyio.lowlevel.checkpoint()
        raise error

    return behave


class Network:
    """Nodes by their numbers, each of which does what a test says."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.behaviours = dict(enumerate(behaviours, start=1))
        self.numbers = {node(number): number for number in self.behaviours}
        self.asked: list[int] = []
        self.cancelled: list[int] = []
        self.deeds: list[tuple[int, tuple[Deed, ...]]] = []
        self.at_once = self.most_at_once = 0

    @property
    def nodes(self) -> GivenNodes:
        return GivenNodes([found(number) for number in self.behaviours])

    async def submit(self, to: Found) -> Delivered:
        number = self.numbers[to.peer]
        self.asked.append(number)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.behaviours[number](number)
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(number)
            raise
        finally:
            self.at_once -= 1

    async def record(self, peer, *deeds: Deed) -> None:
        self.deeds.append((self.numbers[peer], deeds))

    async def replicate(self, replicas: int, quorum: int, **limits: object) -> Replicated:
        with anyio.fail_after(10):
            return await replicate(
                self.submit, self.nodes, replicas=replicas, quorum=quorum, record=self.record, **limits
            )


def numbers(delivered) -> list[int]:
    return sorted(next(n for n in range(1, 20) if node(n) == each.node) for each in delivered)


async def hang(number: int) -> Delivered:
    await anyio.sleep_forever()
    raise AssertionError


@pytest.mark.anyio
async def test_two_of_three_that_agree_give_the_result_and_the_third_is_cancelled():
    network = Network(says(), hang, says())
    done = await network.replicate(3, 2)
    assert numbers(done.agreeing) == [1, 3]
    assert done.result.stdout == b"out"
    assert (done.odd, done.evidence) == ((), ())
    assert network.cancelled == [2]


@pytest.mark.anyio
async def test_replicas_run_at_once_on_different_nodes():
    network = Network(*[hang] * 5)
    with anyio.move_on_after(0.05):
        await network.replicate(3, 2)
    assert (sorted(network.asked), network.most_at_once) == ([1, 2, 3], 3)
    assert sorted(network.cancelled) == [1, 2, 3]


@pytest.mark.anyio
async def test_the_odd_one_out_is_kept_with_its_receipt_and_evidence():
    late = anyio.Event()

    async def agrees_after_the_lie(number: int) -> Delivered:
        await late.wait()
        return answer(by=number)

    async def lies(number: int) -> Delivered:
        late.set()
        return answer(LIE, by=number)

    network = Network(says(), lies, agrees_after_the_lie)
    done = await network.replicate(3, 2)
    assert numbers(done.agreeing) == [1, 3]
    assert numbers(done.odd) == [2]
    assert done.odd[0].receipt == answer(LIE, by=2).receipt
    (evidence,) = done.evidence
    assert check_evidence(evidence).odd_one == node(2)


@pytest.mark.anyio
async def test_two_that_contradict_each_other_are_decided_by_a_third():
    network = Network(says(LIE), says(), says(), hang)
    done = await network.replicate(2, 2)
    assert numbers(done.agreeing) == [2, 3]
    assert numbers(done.odd) == [1]
    assert 4 not in network.asked


@pytest.mark.parametrize(
    "error", [AttemptFailed("rejected: QueueFull"), ConnectionLost("lost"), JobCancelled("so says the node")]
)
@pytest.mark.anyio
async def test_a_node_that_fails_is_replaced_and_the_reason_kept(error):
    network = Network(fails(error), says(), says())
    done = await network.replicate(2, 2)
    assert numbers(done.agreeing) == [2, 3]
    assert done.failures == ((node(1), str(error)),)


@pytest.mark.anyio
async def test_an_answer_in_the_name_of_another_node_is_a_failure():
    async def speaks_for_another(number: int) -> Delivered:
        await anyio.lowlevel.checkpoint()
        return answer(by=9)

    done = await Network(speaks_for_another, says(), says()).replicate(2, 2)
    assert done.failures == ((node(1), "the answer is another node's"),)


@pytest.mark.anyio
async def test_no_node_counts_twice():
    network = Network(says(), says())
    twice = GivenNodes([found(1), found(1), found(1), found(2), found(2)])
    done = await replicate(network.submit, twice, replicas=2, quorum=2)
    assert sorted(network.asked) == [1, 2]
    assert numbers(done.agreeing) == [1, 2]


@pytest.mark.anyio
async def test_engines_may_differ_where_the_program_exited():
    done = await Network(says(), says(engine=OTHER_ENGINE)).replicate(2, 2)
    assert numbers(done.agreeing) == [1, 2]


@pytest.mark.anyio
async def test_limits_agree_on_the_same_engine_only():
    fuel = ended(Verdict.OUT_OF_FUEL)
    network = Network(says(fuel), says(fuel, engine=OTHER_ENGINE), says(fuel))
    done = await network.replicate(2, 2)
    assert numbers(done.agreeing) == [1, 3]
    assert [each.delivered.node for each in done.undecided] == [node(2)]
    assert done.evidence == ()


@pytest.mark.anyio
async def test_without_a_quorum_it_is_said_what_was_said_by_whom():
    network = Network(says(LIE), says(), fails(AttemptFailed("rejected: QueueFull")))
    with pytest.raises(NoQuorum) as caught:
        await network.replicate(3, 2)
    message = str(caught.value)
    assert all(node(number) in message for number in (1, 2, 3))
    assert "QueueFull" in message
    assert numbers(caught.value.replicated.odd) == [1, 2]
    (evidence,) = caught.value.replicated.evidence
    assert check_evidence(evidence).odd_one is None


@pytest.mark.anyio
async def test_no_node_at_all_is_no_quorum():
    with pytest.raises(NoQuorum, match="no node was found"):
        await Network().replicate(3, 2)


@pytest.mark.anyio
async def test_a_job_that_cannot_be_compared_is_not_sent_to_everybody():
    network = Network(*[says(ended(Verdict.TIMED_OUT))] * 20)
    with pytest.raises(NoQuorum, match="timed_out depends"):
        await network.replicate(3, 2)
    assert len(network.asked) <= 3 + 2


@pytest.mark.anyio
async def test_the_number_of_nodes_that_are_asked_is_bounded():
    network = Network(*[fails(AttemptFailed("no"))] * 20)
    with pytest.raises(NoQuorum):
        await network.replicate(3, 2, most_nodes=7)
    assert len(network.asked) == 7


@pytest.mark.parametrize(("replicas", "quorum"), [(2, 3), (0, 0), (1, 0), (17, 2), (-1, -1)])
@pytest.mark.anyio
async def test_numbers_that_cannot_be_are_refused(replicas, quorum):
    with pytest.raises(ValueError):
        await replicate(Network().submit, GivenNodes([]), replicas=replicas, quorum=quorum)


@pytest.mark.anyio
async def test_an_error_that_is_no_nodes_fault_ends_all():
    network = Network(fails(RuntimeError("ours")), hang)
    with pytest.raises(RuntimeError, match="ours"):
        await network.replicate(2, 2)
    assert network.cancelled in ([], [2])


@pytest.mark.anyio
async def test_a_node_that_could_not_prepare_the_module_is_passed_over_without_a_deed():
    network = Network(fails(AttemptFailed("rejected", reason="ModuleNotPrepared")), says())
    done = await network.replicate(1, 1)
    assert numbers(done.agreeing) == [2]
    assert dict(network.deeds) == {2: (Deed.ANSWERED,)}


@pytest.mark.anyio
async def test_the_deeds_of_all_are_written_down():
    network = Network(says(LIE), says(), says(), fails(ConnectionLost("silent")), fails(AttemptFailed("rejected")))
    network.behaviours = {number: network.behaviours[number] for number in (4, 5, 1, 2, 3)}
    await network.replicate(2, 2)
    assert dict(network.deeds) == {
        1: (Deed.ANSWERED, Deed.CONTRADICTED),
        2: (Deed.ANSWERED, Deed.AGREED),
        3: (Deed.ANSWERED, Deed.AGREED),
        4: (Deed.TIMED_OUT,),
        5: (Deed.REFUSED,),
    }


@pytest.mark.parametrize(
    "engine",
    [OTHER_ENGINE, replace(ENGINE, version="50.0.2"), replace(ENGINE, configuration={"wasi": KNOWN_RULES})],
    ids=["name", "version", "configuration"],
)
@pytest.mark.anyio
async def test_a_lone_node_of_another_engine_is_not_blamed_for_it(engine):
    network = Network(says(LIE, engine=engine), says(), says())
    done = await network.replicate(2, 2)
    assert numbers(done.odd) == [1]
    assert check_evidence(done.evidence[0]).odd_one is None
    assert dict(network.deeds)[1] == (Deed.ANSWERED, Deed.DIFFERED)


@pytest.mark.anyio
async def test_a_quorum_of_several_engines_blames_the_odd_one_of_either():
    network = Network(says(LIE, engine=OTHER_ENGINE), says(engine=OTHER_ENGINE), says())
    await network.replicate(2, 2)
    assert dict(network.deeds)[1] == (Deed.ANSWERED, Deed.CONTRADICTED)


@pytest.mark.anyio
async def test_a_difference_between_engines_counts_as_undecided_and_trust_is_earned_anew():
    network = Network(says(LIE, engine=OTHER_ENGINE), says(), says())
    async with open_ledger(None, LOG) as ledger:
        await ledger.record(node(1), *[Deed.AGREED] * 20)
        await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.0)
        record = await ledger.find(node(1))
    assert (record.contradicted, record.lied, record.undecided, record.streak) == (0, 0, 1, 0)
    assert record.standing is Standing.UNKNOWN


@pytest.mark.anyio
async def test_a_node_that_cannot_prepare_the_module_is_replaced_and_not_blamed():
    network = Network(fails(AttemptFailed("ModuleNotPrepared: 60 s", reason="ModuleNotPrepared")), says(), says())
    done = await network.replicate(2, 2)
    assert numbers(done.agreeing) == [2, 3]
    assert [peer for peer, _ in done.failures] == [node(1)]
    assert 1 not in dict(network.deeds)


UNKNOWN_RULES = [replace(ENGINE, configuration={"wasi": "other/1"}), replace(ENGINE, configuration={"fuel": True})]
COUNTS_FOR_NOTHING = "clock and random follow rules that this client does not know"


@pytest.mark.parametrize("engine", UNKNOWN_RULES, ids=["other rules", "no rules"])
@pytest.mark.anyio
async def test_rules_of_the_host_that_the_client_does_not_know_make_no_quorum(engine):
    network = Network(says(LIE, engine=engine), says(LIE, engine=engine), says(), says())
    done = await network.replicate(3, 2)
    assert done.result.stdout == b"out"
    assert {each.reason for each in done.undecided} == {COUNTS_FOR_NOTHING}


@pytest.mark.parametrize("engine", UNKNOWN_RULES, ids=["other rules", "no rules"])
@pytest.mark.anyio
async def test_an_answer_by_rules_that_the_client_does_not_know_does_not_win_over_one_that_can_be_compared(engine):
    network = Network(says(LIE, engine=engine), says())
    async with open_ledger(None, LOG) as ledger:
        done = await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.0)
    assert done.result.stdout == b"out"
    assert [each.delivered.node for each in done.undecided] == [node(1)]


@pytest.mark.anyio
async def test_an_answer_by_rules_that_the_client_does_not_know_is_handed_out_alone_with_a_word():
    network = Network(says(engine=UNKNOWN_RULES[0]))
    async with open_ledger(None, LOG) as ledger:
        done = await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.0)
    assert done.result.stdout == b"out"
    assert [each.reason for each in done.undecided] == [COUNTS_FOR_NOTHING]


@pytest.mark.anyio
async def test_of_answers_that_cannot_be_compared_the_one_that_others_can_check_is_handed_out_and_the_other_named():
    fuel = ended(Verdict.OUT_OF_FUEL)
    for behaviours in ([says(fuel), says(engine=OTHER_ENGINE)], [says(engine=OTHER_ENGINE), says(fuel)]):
        network = Network(*behaviours)
        async with open_ledger(None, LOG) as ledger:
            done = await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.0)
        assert done.result.statement.predicate.verdict is Verdict.EXITED
        (other,) = done.undecided
        assert other.delivered.statement.predicate.verdict is Verdict.OUT_OF_FUEL
        assert "same engine" in other.reason


@pytest.mark.anyio
async def test_contradictions_among_those_that_the_first_cannot_be_held_against_are_not_passed_over():
    network = Network(says(ended(Verdict.OUT_OF_FUEL)), says(engine=OTHER_ENGINE), says(LIE, engine=OTHER_ENGINE))
    with pytest.raises(NoQuorum) as caught:
        await network.replicate(3, 2)
    (evidence,) = caught.value.replicated.evidence
    assert set(check_evidence(evidence).nodes) == {node(2), node(3)}


@pytest.mark.anyio
async def test_where_nobody_decides_nobody_is_blamed():
    network = Network(says(LIE), says())
    with pytest.raises(NoQuorum):
        await network.replicate(2, 2)
    assert {deeds for _, deeds in network.deeds} == {(Deed.ANSWERED, Deed.UNDECIDED)}


@pytest.mark.anyio
async def test_a_single_answer_agrees_with_nobody():
    network = Network(says())
    done = await network.replicate(1, 1)
    assert numbers(done.agreeing) == [1]
    assert network.deeds == [(1, (Deed.ANSWERED,))]


@pytest.mark.anyio
async def test_a_single_answer_need_not_be_comparable():
    done = await Network(says(ended(Verdict.TIMED_OUT))).replicate(1, 1)
    assert done.result.statement.predicate.verdict is Verdict.TIMED_OUT


@pytest.mark.anyio
async def test_a_new_node_is_checked_by_a_second_one_and_gains_from_it():
    network = Network(says(), says())
    async with open_ledger(None, LOG) as ledger:
        done = await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.99)
        assert numbers(done.agreeing) == [1, 2]
        assert [(await ledger.find(node(number))).streak for number in (1, 2)] == [1, 1]


@pytest.mark.anyio
async def test_a_trusted_node_is_left_alone_until_its_turn_comes():
    async with open_ledger(None, LOG) as ledger:
        await ledger.record(node(1), *[Deed.AGREED] * (2 * TRUSTED_AFTER))
        unchecked, checked = Network(says(), says()), Network(says(), says())
        left = await submit_checked(unchecked.submit, unchecked.nodes, ledger=ledger, random=lambda: 0.06)
        held = await submit_checked(checked.submit, checked.nodes, ledger=ledger, random=lambda: 0.04)
        assert not left.unchecked
        assert not held.unchecked
        assert unchecked.asked == [1]
        assert sorted(checked.asked) == [1, 2]


@pytest.mark.anyio
async def test_a_trusted_node_that_lies_is_found_out_when_its_turn_comes():
    network = Network(says(LIE), says(), says())
    async with open_ledger(None, LOG) as ledger:
        await ledger.record(node(1), *[Deed.AGREED] * 50)
        done = await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.0)
        assert done.result.stdout == b"out"
        assert (await ledger.find(node(1))).streak == 0


@pytest.mark.parametrize("second", [(), (fails(AttemptFailed("rejected")),)])
@pytest.mark.anyio
async def test_a_check_that_nobody_can_make_costs_no_result(second):
    network = Network(says(), *second)
    async with open_ledger(None, LOG) as ledger:
        done = await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.0)
        assert numbers(done.agreeing) == [1]
        assert done.unchecked
        assert (await ledger.find(node(1))).streak == 0


@pytest.mark.anyio
async def test_a_check_that_contradicts_with_nobody_to_decide_gives_no_result():
    network = Network(says(), says(LIE))
    async with open_ledger(None, LOG) as ledger:
        with pytest.raises(NoQuorum) as caught:
            await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.0)
    assert caught.value.replicated.evidence


@pytest.mark.anyio
async def test_a_job_that_cannot_be_compared_comes_back_unchecked():
    network = Network(says(ended(Verdict.TIMED_OUT)), says(ended(Verdict.TIMED_OUT)))
    async with open_ledger(None, LOG) as ledger:
        done = await submit_checked(network.submit, network.nodes, ledger=ledger, random=lambda: 0.0)
        assert done.result.statement.predicate.verdict is Verdict.TIMED_OUT


BEHAVIOURS = {
    "truth": says(),
    "truth elsewhere": says(engine=OTHER_ENGINE),
    "lie": says(LIE),
    "another lie": says(exited(b"another lie")),
    "silent": fails(ConnectionLost("no sign of life")),
    "refuses": fails(AttemptFailed("rejected")),
    "too slow": says(ended(Verdict.TIMED_OUT)),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(BEHAVIOURS)), max_size=9), st.integers(1, 5), st.integers(0, 3))
def test_whatever_nodes_do_a_quorum_is_of_different_nodes_that_say_the_same(names, quorum, spare):
    network = Network(*[BEHAVIOURS[name] for name in names])

    async def main() -> Replicated:
        try:
            return await network.replicate(quorum + spare, quorum)
        except NoQuorum as error:
            return error.replicated

    done = anyio.run(main)
    assert network.at_once == 0
    assert len(network.asked) == len(set(network.asked))
    if done.agreeing:
        assert len({each.node for each in done.agreeing}) == len(done.agreeing) >= quorum
        assert len({each.statement.predicate.result_digest for each in done.agreeing}) == 1
        assert len(done.evidence) == len(done.odd)
    else:
        true = sum(name.startswith("truth") for name in names)
        assert true < quorum or names.count("too slow") >= quorum + spare
    for evidence in done.evidence:
        check_evidence(evidence)

"""The queue of pieces: whatever its sources do, each piece is there in the end."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from plasm_fetching.pieces import MOST_TAKERS, PieceQueue

SOURCES = st.sampled_from(["a", "b", "c", "d"])
PATIENCE = 5.0
TOO_LATE = 12.0


class Queue(RuleBasedStateMachine):
    """Sources that take, bring and give back as they like, beside a plain account of who has what."""

    taken = Bundle("taken")

    @initialize(count=st.integers(0, 8), whole=st.sets(st.integers(0, 10), max_size=5))
    def begin(self, count: int, whole: set[int]) -> None:
        self.queue = PieceQueue(count, whole)
        self.missing = set(range(count)) - whole
        self.count = count
        self.under_way: dict[int, set[str]] = {}
        """Who fetches a piece that is missing."""
        self.since: dict[int, float] = {}
        """When a piece was last taken that nobody else had: from then on it is under way."""
        self.now = 0.0

    @rule(target=taken, source=SOURCES, seconds=st.floats(0, 2 * PATIENCE))
    def take(self, source: str, seconds: float) -> object:
        self.now += seconds
        waiting = self.missing - set(self.under_way)
        number = self.queue.take(source, self.now, PATIENCE, TOO_LATE)
        late = {
            each: self.since[each]
            for each, takers in self.under_way.items()
            if source not in takers
            and len(takers) < MOST_TAKERS
            and self.now - self.since[each] > (TOO_LATE if waiting else PATIENCE)
        }
        if number is None:
            assert not waiting, "a piece that nobody fetches is had for the asking"
            assert not late, "who has nothing to do takes what another has had for long"
            return multiple()
        takers = self.under_way.setdefault(number, set())
        assert number in self.missing, "what is there is not fetched again"
        assert source not in takers, "one source never has the same piece twice at once"
        if late:
            assert self.since[number] == min(late.values()), "what has been under way the longest is fetched twice"
        else:
            assert not takers, "what another has not had for long is not fetched twice"
            self.since[number] = self.now
        takers.add(source)
        assert len(takers) <= MOST_TAKERS
        return (source, number)

    @rule(pair=st.runner().flatmap(lambda self: st.sampled_from(self.pairs() or [None])))  # type: ignore[attr-defined]
    def bring(self, pair: tuple[str, int] | None) -> None:
        if pair is None:
            return
        source, number = pair
        losers = self.queue.arrived(number, source)
        assert sorted(losers) == sorted(self.under_way.pop(number) - {source})
        self.missing.discard(number)

    @rule(pair=st.runner().flatmap(lambda self: st.sampled_from(self.pairs() or [None])))  # type: ignore[attr-defined]
    def give_back(self, pair: tuple[str, int] | None) -> None:
        if pair is None:
            return
        source, number = pair
        self.queue.give_back(number, source)
        self.under_way[number].remove(source)
        if not self.under_way[number]:
            del self.under_way[number]

    @rule(pair=taken)
    def give_back_what_another_may_have_brought(self, pair: tuple[str, int]) -> None:
        source, number = pair
        if number not in self.missing:
            self.queue.give_back(number, source)

    def pairs(self) -> list[tuple[str, int]]:
        return sorted((source, number) for number, takers in self.under_way.items() for source in takers)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert self.queue.finished == (not self.missing)
        assert self.queue.first_missing == min(self.missing, default=None)
        assert [number for number in range(self.count) if self.queue.is_left(number)] == sorted(self.missing)

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        for source, number in self.pairs():
            self.queue.give_back(number, source)
        rest = []
        while (number := self.queue.take("last", self.now, PATIENCE)) is not None:
            self.queue.arrived(number, "last")
            rest.append(number)
        assert sorted(rest) == sorted(self.missing), "one that brings all it takes ends it"
        assert self.queue.finished


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_the_first_pieces_come_first() -> None:
    queue = PieceQueue(5, {0, 2})
    assert [queue.take("a", 0.0) for _ in range(3)] == [1, 3, 4]


def test_what_came_back_goes_out_before_all_others() -> None:
    queue = PieceQueue(5)
    assert queue.take("a", 0.0) == 0
    queue.give_back(0, "a")
    assert queue.take("b", 0.0) == 0


def test_a_piece_that_is_far_too_late_goes_before_all_that_wait() -> None:
    queue = PieceQueue(5)
    assert queue.take("slow", 0.0) == 0
    assert queue.take("fast", 0.0) == 1
    queue.arrived(1, "fast")
    assert queue.take("fast", 9.0, patience=1.0, too_late=10.0) == 2
    queue.arrived(2, "fast")
    assert queue.take("fast", 11.0, patience=1.0, too_late=10.0) == 0
    assert queue.take("other", 11.0, patience=1.0, too_late=10.0) == 3, "two have it, and that is enough"
    assert queue.arrived(0, "fast") == ["slow"]


def test_of_the_tail_the_one_that_is_longest_under_way_is_fetched_twice() -> None:
    queue = PieceQueue(2)
    queue.take("slow", 0.0)
    queue.take("slower", 1.0)
    assert queue.take("fast", 2.0, patience=1.5) == 0
    assert queue.arrived(0, "fast") == ["slow"]
    assert queue.take("fast", 2.0, patience=1.5) is None
    assert queue.take("fast", 3.0, patience=1.5) == 1

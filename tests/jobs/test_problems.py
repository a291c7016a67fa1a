"""A failure is the same on both sides of the control socket."""

from __future__ import annotations

import msgspec
import pytest

from plasm.control.messages import Problem
from plasm.control.problems import NodeAnswered, error_of, problem_of
from plasm.errors import PlasmError
from plasm.jobs.attempts import InvalidAddress, NoNode
from plasm.jobs.client import UnknownJob
from plasm.jobs.conversation import AttemptFailed, JobCancelled, NotFinished
from plasm.jobservice import NotExecuted
from plasm.testing import FakeSigner

PEER = FakeSigner(1).peer


@pytest.mark.parametrize(
    "error",
    [
        NoNode("no node did the job", "name another", [(PEER, "no sign of life")], silent=True),
        NoNode("no node was found", "name one"),
        AttemptFailed("UnknownJob: kept no longer", reason="UnknownJob"),
        NotFinished("NotFinished: running", reason="NotFinished"),
        UnknownJob("no job of that id"),
        InvalidAddress("not a multiaddr", "write one"),
        JobCancelled("the job was cancelled"),
        NotExecuted("no runtime is open here"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_was_raised_behind_it_is_raised_before_it(error: PlasmError) -> None:
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(problem_of(error)), type=Problem)
    raised = error_of(sent)
    assert type(raised) is type(error)
    assert vars(raised) == vars(error)


def test_an_error_of_another_kind_keeps_its_words() -> None:
    raised = error_of(problem_of(OSError("the disk is full")))
    assert type(raised) is NodeAnswered
    assert raised.message == "the disk is full"

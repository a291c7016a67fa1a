"""Failures as they cross the control socket: what was raised behind it is raised again before it."""

from __future__ import annotations

from plasm.control.messages import Problem
from plasm.errors import PlasmError
from plasm.jobs.attempts import InvalidAddress, NoNode
from plasm.jobs.client import NodeUnreachable, UnknownJob
from plasm.jobs.conversation import AttemptFailed, JobCancelled, NotFinished
from plasm.jobservice import NotExecuted
from plasm.ports import PeerId


class NodeAnswered(PlasmError):
    """The running node could not do what it was asked."""


_ATTEMPTS = {kind.__name__: kind for kind in (AttemptFailed, NotFinished, NodeUnreachable)}
_OTHERS = {kind.__name__: kind for kind in (UnknownJob, InvalidAddress, JobCancelled, NotExecuted)}


def problem_of(error: BaseException) -> Problem:
    """What is sent of `error`."""
    return Problem(
        kind=type(error).__name__,
        message=error.message if isinstance(error, PlasmError) else str(error),
        mend=error.mend if isinstance(error, PlasmError) else "",
        reason=error.reason if isinstance(error, AttemptFailed | NoNode) else "",
        failures=error.failures if isinstance(error, NoNode) else (),
        silent=isinstance(error, NoNode) and error.silent,
    )


def error_of(problem: Problem) -> PlasmError:
    """What is raised for it; :exc:`NodeAnswered` for a kind that nobody here tells apart."""
    if problem.kind == NoNode.__name__:
        failures = [(PeerId(peer), reason) for peer, reason in problem.failures]
        return NoNode(problem.message, problem.mend, failures, silent=problem.silent, reason=problem.reason)
    if (attempt := _ATTEMPTS.get(problem.kind)) is not None:
        return attempt(problem.message, problem.mend, reason=problem.reason)
    return _OTHERS.get(problem.kind, NodeAnswered)(problem.message, problem.mend)

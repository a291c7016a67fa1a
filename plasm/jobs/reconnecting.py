"""Asking a node again over a new stream while the connection is what fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from plasm.jobs.connections import Connections
from plasm.jobs.conversation import ConnectionLost, Conversation, Event, Report
from plasm.ports import Found

T = TypeVar("T")

RECONNECTIONS = 5
_UNANSWERED_RECONNECTIONS = 2
"""To a node from which no answer ever came: whoever takes streams and ends them is not waited for like one that is
at our job."""
_RECONNECT_FIRST_SECONDS = 0.2


async def ask_persistently(
    connections: Connections,
    ask: Callable[[Conversation], Awaitable[T]],
    found: Found,
    report: Report,
    *,
    reconnections: int = RECONNECTIONS,
    keep: bool = True,
) -> T:
    """What `ask` answers on a stream to `found`, the one that is kept unless `keep` is false.

    It is asked again over a new stream, up to `reconnections` times: what is asked names its job by a nonce. Raises
    :exc:`~plasm.jobs.conversation.AttemptFailed`.
    """
    pause = _RECONNECT_FIRST_SECONDS
    fresh = not keep
    reached = answered = False
    before = 0
    unanswered = _UNANSWERED_RECONNECTIONS
    while True:
        kept = not fresh and connections.holds(found.peer)
        conversation: Conversation | None = None
        try:
            async with connections.conversation(found, fresh=fresh) as conversation:
                reached, before = True, conversation.answers
                answer = await ask(conversation)
                if not keep:
                    conversation.finish()
                return answer
        except ConnectionLost as error:
            fresh = True
            answers = 0 if conversation is None else conversation.answers - before
            if kept and not answers:
                # It may have died long ago, which is no fault of the connection that a new one is.
                continue
            answered = answered or answers > 0
            unanswered -= not answered
            if not reached or reconnections <= 0 or unanswered < 0:
                raise
            report(Event(kind="reconnecting", node=found.peer, detail=str(error)))
        reconnections -= 1
        await anyio.sleep(pause)
        pause *= 2

"""Asking a node that has a job of ours wherever it is now: it may have come back under another address."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import anyio

from plasm.jobs.conversation import ConnectionLost
from plasm.jobs.finding import finding
from plasm.ports import Discovery, Found, Topic

T = TypeVar("T")


async def ask_elsewhere(
    ask: Callable[[Found], Awaitable[T]],
    found: Found,
    lost: ConnectionLost,
    *,
    discoveries: Mapping[str, Discovery],
    topics: Sequence[Topic],
    look_seconds: float,
    log: logging.Logger,
) -> T:
    """What `ask` answers of the same node as `found`, which was `lost`, at other addresses under which it is found.

    Each new set of addresses is tried as long as the node is not reached there. Only waiting for news counts as
    looking, `look_seconds` in all. Raises what `ask` raises: where the node is not found, or nobody can look, the last
    :exc:`~plasm.jobs.conversation.ConnectionLost`, which is `lost` at first.
    """
    if not discoveries or look_seconds <= 0:
        raise lost
    known = set(found.addresses)
    async with finding(discoveries, topics, log) as nodes:
        looked = 0.0
        while looked < look_seconds:
            began = anyio.current_time()
            with anyio.move_on_after(look_seconds - looked) as waiting:
                other = await nodes.receive()
            looked += anyio.current_time() - began
            if waiting.cancelled_caught:
                break
            if other.peer != found.peer or set(other.addresses) <= known:
                continue
            known |= set(other.addresses)
            try:
                return await ask(other)
            except ConnectionLost as error:
                lost = error
    raise lost

"""Discoveries merged: nodes as any of them finds them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence

import anyio
from anyio.abc import ObjectSendStream
from anyio.streams.memory import MemoryObjectReceiveStream

from plasm.errors import ungrouped
from plasm.ports import Bootstrapped, CapabilityTopic, Discovery, DiscoveryError, Found, Topic

ARCHITECTURES = ("x86_64", "arm64")
_FOUND_WAITING = 256
_MOST_PEERS = 4096
_MOST_ADDRESSES = 64


def topics_for(runtimes: Sequence[str], arch: str | None) -> list[Topic]:
    """What to look for to run WebAssembly, which is the same on every architecture unless one is asked for."""
    architectures = (arch,) if arch else ARCHITECTURES
    return [
        CapabilityTopic(arch=architecture, runtime=runtime) for runtime in runtimes for architecture in architectures
    ]


def describe_search(discoveries: Mapping[str, Discovery]) -> str:
    """Where is looked, for people."""
    places = []
    for name, discovery in discoveries.items():
        sources = list(discovery.sources()) if isinstance(discovery, Bootstrapped) else []
        places.append(f"{name} ({', '.join(sources)})" if sources else name)
    return " and ".join(places) or "no discovery at all"


@contextlib.asynccontextmanager
async def finding(
    discoveries: Mapping[str, Discovery], topics: Sequence[Topic], log: logging.Logger
) -> AsyncIterator[MemoryObjectReceiveStream[Found]]:
    """Nodes as they are found, each once and again when its addresses change; the stream never ends by itself."""
    send, receive = anyio.create_memory_object_stream[Found](_FOUND_WAITING)
    merged_send, merged = anyio.create_memory_object_stream[Found](_FOUND_WAITING)

    async def look(name: str, discovery: Discovery, topic: Topic, found: ObjectSendStream[Found]) -> None:
        try:
            await discovery.find(topic, found)
        except DiscoveryError as error:
            log.warning("%s cannot look: %s", name, error)
        except Exception as error:
            # A driver that breaks costs what it would have found, and nothing else.
            log.warning("%s broke while it looked: %.300r", name, error)
            log.debug("%s", name, exc_info=True)

    async def merge() -> None:
        seen: dict[str, set[str]] = {}
        async for found in receive:
            known = seen.get(found.peer)
            if known is not None and (set(found.addresses) <= known or len(known) >= _MOST_ADDRESSES):
                continue
            if known is None and len(seen) >= _MOST_PEERS:
                continue
            seen[found.peer] = (known or set()) | set(found.addresses)
            await merged_send.send(found)

    # The streams outlive the tasks: one that is closed under a task would add that task's error to the block's own.
    with ungrouped(), send, receive, merged_send, merged:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(merge)
            for name, discovery in discoveries.items():
                for topic in topics:
                    tasks.start_soon(look, name, discovery, topic, send)
            yield merged
            tasks.cancel_scope.cancel()

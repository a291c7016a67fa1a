"""The provider's end of ``/phase/boot/1``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from plasm_finding.info import PROTOCOL, BootInfo, encode

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from plasm.ports import Stream, Transport

ANSWER_SECONDS: Final = 5.0
"""For a frame of a few kilobytes; only a client that does not read takes longer."""


async def serve_boot_info(
    transport: Transport, info: Callable[[], BootInfo], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Tell whoever asks over `transport` what `info` says at that moment, until cancelled.

    ``started()`` once a client would be answered. Raises :exc:`plasm.ports.TransportError` where another serves the
    protocol already.
    """
    await transport.serve(PROTOCOL, partial(_answer, info), task_status=task_status)


async def _answer(info: Callable[[], BootInfo], stream: Stream) -> None:
    frame = encode(info())
    # Nothing is read: whoever asks has nothing to say, and nothing is kept for one that stays.
    with anyio.move_on_after(ANSWER_SECONDS):
        await stream.send(frame)
        await stream.aclose()
        return
    await stream.reset()

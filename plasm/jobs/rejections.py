"""What mends a rejected offer, by the reason that the node gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MENDS: Final[Mapping[str, str]] = {
    "InsufficientResources": "ask for less (--memory, --timeout, --output, --files, --host-calls, a smaller module or "
    "input), or name another node",
    "ArchMismatch": "leave --arch out where any architecture does, or name another node",
    "RuntimeNotSupported": "leave --runtime out, or name a node that has it: plasm nodes shows their runtimes",
    "QueueFull": "try again later, or name another node: plasm nodes shows who has free slots",
    "InvalidRequest": "the node may be of another version than this one: compare plasm version there and here",
    "NotAllowed": "ask its operator to list your peer ID ([node] allow in its configuration; plasm key show prints it)",
    "QuotaExceeded": "wait for your jobs there to end or cancel them (plasm jobs), or name another node",
    "ShuttingDown": "try again when it is back, or name another node",
    "ModuleNotPrepared": "name a node that compiles more: its operator sets how much time and memory that may take",
    "ModuleNotFound": "give the module as a file, or name a node with a store that has it",
}
"""For each of :data:`plasm.jobs.messages.REASONS`."""

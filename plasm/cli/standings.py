"""What the ledger of this home says of peers, as ``plasm nodes`` shows it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import anyio

from plasm.checking.ledger import FILE_NAME, open_ledger
from plasm.checking.standing import PeerRecord
from plasm.home import Home
from plasm.ports import PeerId

HEADER = ("STANDING", "AGREED", "CONTRADICTED", "FAILED")


def read_records(home: Home, peers: Sequence[PeerId]) -> dict[PeerId, PeerRecord]:
    """The records of `peers`; where no ledger was ever written none is made. Raises
    :exc:`~plasm.checking.ledger.LedgerUnusable`."""
    path = home.path / FILE_NAME if home.path is not None else None
    if path is None or not path.is_file():
        return {peer: PeerRecord(peer=peer) for peer in peers}

    async def read() -> list[PeerRecord]:
        async with open_ledger(path, logging.getLogger("plasm.checking")) as ledger:
            return await ledger.found(peers)

    return {record.peer: record for record in anyio.run(read)}


def columns(record: PeerRecord) -> tuple[str, ...]:
    """Under :data:`HEADER`: agreements in a row of all of them; times it was silent or refused of all requests."""
    failed = record.timed_out + record.refused
    return (
        record.standing.value,
        f"{record.streak}/{record.agreed}",
        str(record.contradicted + record.lied),
        f"{failed}/{failed + record.answered}",
    )


def document(record: PeerRecord) -> dict[str, Any]:
    """The same for ``--json``."""
    return {
        "standing": record.standing.value,
        "streak": record.streak,
        "agreed": record.agreed,
        "undecided": record.undecided,
        "contradicted": record.contradicted,
        "lied": record.lied,
        "timed_out": record.timed_out,
        "refused": record.refused,
        "answered": record.answered,
        "first_seen": record.first_seen or None,
        "last_seen": record.last_seen or None,
    }

"""The ledger as a search for a node uses it: the reliable and near first, the unknown with a share, liars never."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from plasm.checking.ledger import Ledger, LedgerUnusable
from plasm.checking.selection import in_order
from plasm.checking.standing import Deed
from plasm.jobs.preference import Preference
from plasm.ports import Found, PeerId


class LedgerPreference:
    """See :class:`plasm.jobs.preference.Preference`. `random` gives numbers from 0 up to 1."""

    def __init__(self, ledger: Ledger, random: Callable[[], float]) -> None:
        self._ledger = ledger
        self._random = random

    async def order(self, found: Sequence[Found]) -> list[Found]:
        try:
            records = await self._ledger.found([each.peer for each in found])
        except LedgerUnusable:
            return list(found)
        places = {peer: place for place, peer in enumerate(in_order(records, random=self._random))}
        return sorted((each for each in found if each.peer in places), key=lambda each: places[each.peer])

    async def answered(self, peer: PeerId) -> None:
        await self._ledger.note(peer, Deed.ANSWERED)

    async def silent(self, peer: PeerId) -> None:
        await self._ledger.note(peer, Deed.TIMED_OUT)

    async def refused(self, peer: PeerId) -> None:
        await self._ledger.note(peer, Deed.REFUSED)


if TYPE_CHECKING:
    _: type[Preference] = LedgerPreference

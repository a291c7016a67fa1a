"""What was submitted, accepted and came back while something is killed, held against the ledger then and at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from plasm.errors import PlasmError
from plasm.jobs.conversation import Delivered
from tests.soak.cases import Case, Deck
from tests.soak.crew import Hung, Member
from tests.soak.figures import CellFigures, KillFigures
from tests.soak.ledger import Entry, Ledger


class Accounts:
    """Of one soak; `kills` says how many there were by now that a job can have noticed."""

    def __init__(self, deck: Deck, figures: KillFigures | CellFigures, kills: Callable[[], int]) -> None:
        self.ledger = Ledger()
        self._deck = deck
        self._figures = figures
        self._kills = kills
        self._answers: dict[str, None] = {}

    def submitting(self, member: Member, case: Case) -> Callable[[str], None]:
        """Count a submission; what is returned is to be told the job's id once it is accepted."""
        self._figures.submitted += 1
        # A short job may run, and die, before it is promised.
        kills = self._kills()

        def accepted(job_id: str) -> None:
            self.ledger.accepted(job_id, case, member.number, kills)
            self._figures.accepted = len(self.ledger.entries)

        return accepted

    def delivered(self, case: Case, delivered: Delivered) -> None:
        self.ledger.delivered(delivered, self._kills())
        self._figures.delivered += 1
        self._hold_against(delivered.job_id, case, delivered)

    async def ask_for_all(self, member: Member, ask: Callable[[str, Case, Entry], Awaitable[Delivered]]) -> None:
        """Ask for each job of `member` that was accepted."""
        for job_id, entry in list(self.ledger.entries.items()):
            if entry.client != member.number:
                continue
            case = self._deck.case(entry.kind, entry.number)
            result: Delivered | str
            try:
                result = await ask(job_id, case, entry)
            except (PlasmError, Hung) as error:
                result = str(error)
            self._answers[job_id] = None
            self._figures.asked_again = len(self._answers)
            self._hold_against(job_id, case, result)

    def close(self) -> None:
        """Whatever was not asked for is missing."""
        self._figures.discrepancies += self.ledger.missing(self._answers)

    def _hold_against(self, job_id: str, case: Case, result: Delivered | str) -> None:
        self._figures.discrepancies += self.ledger.hold_against(job_id, case, result, self._kills())
        self._figures.given_up = len(self.ledger.given_up)

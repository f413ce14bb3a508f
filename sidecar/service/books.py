"""What one course of a history has booked: the counters of its budgets, and the holds that can still change.

Invariant: the same permits and endings as the ledger had (``sidecar.state.ledger``) leave the same figures. A hold is
forgotten once nothing can happen to it any more, so a long history takes as much memory as it had open holds.
"""

from collections.abc import Callable

from sidecar.core.budget import AMOUNT, COUNT, Budget, Claim
from sidecar.core.card_events import NetworkHold
from sidecar.core.counters import Counters
from sidecar.core.endings import ending
from sidecar.core.errors import Conflict, ValidationFailed
from sidecar.core.history import Decided, Ended, Forced
from sidecar.core.reservation import Reservation, Transition, place, settle
from sidecar.core.restatement import open_settled
from sidecar.core.windows import Window
from sidecar.service.chronicle import FactMissing


class Books:
    """The counters and open holds of one course."""

    def __init__(self, reopened: frozenset[str]) -> None:
        """Book nothing yet; ``reopened`` are the decisions of which more is heard after their holds have ended."""
        self.counters = Counters()
        self._reopened = reopened
        self._open: dict[str, Reservation] = {}
        self._unknown: set[str] = set()

    def permit(self, placed: Transition | None) -> None:
        """Book what a permit holds and counts."""
        if placed is not None:
            for posting in placed.postings:
                self.counters.grant(posting)
            self._keep(placed.reservation)

    def spend(self, placed: Transition | None) -> None:
        """Book a permit that nobody ever acted on as settled in full at once."""
        self.permit(placed)
        if placed is not None and placed.reservation.is_visible:
            self._book(settle(placed.reservation, None, final=True))
            self._open.pop(placed.reservation.decision_id, None)

    def force_as_recorded(self, forced: Forced, find: Callable[[str], Budget | None]) -> None:
        """Book what a network captured without a hold as its record says; what is not known of it is let pass."""
        try:
            claims = [_claim(row[0], row[3], row[6], find) for row in forced.budgets]
        except FactMissing:
            self._unknown.add(forced.decision_id)
            return
        self.permit(
            open_settled(
                decision_id=forced.decision_id,
                identity_id=forced.identity,
                amount=(forced.amount, forced.currency),
                claims=claims,
                now_us=forced.now_us,
                hold=NetworkHold(forced.network, forced.authorization),
            )
        )

    def permit_as_recorded(self, decided: Decided, find: Callable[[str], Budget | None]) -> None:
        """Book what the record of a decision says that it claimed, where more than that is not known of it.

        Where a budget is not known either, what becomes of its hold is let pass.
        """
        if not decided.is_allowed:
            return
        try:
            claims = [_claim(row[0], row[3], row[6], find) for row in decided.budgets]
        except FactMissing:
            self._unknown.add(decided.decision_id)
            return
        asked = dict(decided.quantities)
        if decided.amount is not None:
            asked[AMOUNT] = decided.amount
        if any(claim.budget.dimension == COUNT for claim in claims):
            asked[COUNT] = 1
        if asked:
            expires_us = decided.now_us if decided.expires_us is None else decided.expires_us
            self.permit(
                place(
                    decision_id=decided.decision_id,
                    identity_id=decided.identity,
                    currency=decided.currency,
                    asked=asked,
                    claims=claims,
                    now_us=decided.now_us,
                    ttl_seconds=(expires_us - decided.now_us) // 1_000_000,
                    follower_id=decided.asker,
                )
            )

    def end(self, ended: Ended) -> None:
        """Book what became of a hold; what this course never held is let pass."""
        if ended.decision_id in self._open:
            self._end(ended)

    def end_exactly(self, ended: Ended) -> None:
        """Book what became of a hold. Raises ValidationFailed where a record says other than what comes of it."""
        if ended.decision_id in self._unknown:
            return
        if ended.decision_id not in self._open:
            raise ValidationFailed(f"`{ended.kind}` of a hold that decision `{ended.decision_id}` does not have")
        try:
            after = self._end(ended)
        except Conflict as error:
            raise ValidationFailed(error.message) from error
        recorded = (ended.identity, ended.currency, ended.state, list(ended.measures), ended.late)
        measures = [
            (name, each.asked, each.held, each.settled, each.refunded) for name, each in sorted(after.measures.items())
        ]
        found = (after.identity_id, after.currency, after.state, measures, after.late)
        if recorded != found:
            raise ValidationFailed(f"`{ended.kind}` is recorded as `{recorded}`, and came out as `{found}`")

    def _end(self, ended: Ended) -> Reservation:
        transition = ending(self._open[ended.decision_id], ended)
        self._book(transition)
        self._keep(transition.reservation)
        return transition.reservation

    def _book(self, transition: Transition) -> None:
        for posting in transition.postings:
            self.counters.book(posting)

    def _keep(self, reservation: Reservation) -> None:
        if reservation.state == "held" or reservation.decision_id in self._reopened:
            self._open[reservation.decision_id] = reservation
        else:
            self._open.pop(reservation.decision_id, None)


def _claim(budget_id: str, start_us: int | None, asked: int, find: Callable[[str], Budget | None]) -> Claim:
    budget = find(budget_id)
    if budget is None:
        raise FactMissing(f"budget `{budget_id}`")
    return Claim(budget, None if start_us is None else Window(start_us, None), asked)

"""A dossier brought to its reservations: each is restated to its share, and nothing else of them changes."""

import msgspec

from sidecar.core.card_authorization import CardAuthorization, shares_of
from sidecar.core.errors import StoreUnusable
from sidecar.core.reservation import Reservation, Transition, expire
from sidecar.core.restatement import kept_minor, restate
from sidecar.service.events import tell_ending
from sidecar.service.settlement import book, ending_body
from sidecar.service.store import TenantTransaction


def book_shares(part: TenantTransaction, authorization: CardAuthorization, by: str, now_us: int) -> CardAuthorization:
    """Restate each reservation whose share has changed, what is freed first, and return the dossier that says so.

    A hold whose time has come ends first, whether or not the background work was there already.
    """
    shares = shares_of(authorization)
    changes: list[tuple[Transition, int]] = []
    for decision_id, share in shares.items():
        if authorization.shares.get(decision_id) != share:
            reservation = book(part, "expire", expire(_reservation(part, decision_id), now_us), None, now_us)
            changes.append((restate(reservation, share), kept_minor(reservation, share)))
    # What one reservation gives to another of the same budgets must not look as if both had it.
    for transition, kept in sorted(changes, key=_added):
        if transition.changed:
            _book(part, transition, kept, by, now_us)
    return msgspec.structs.replace(authorization, shares=shares)


def _reservation(part: TenantTransaction, decision_id: str) -> Reservation:
    reservation = part.ledger.reservation(decision_id)
    if reservation is None:
        raise StoreUnusable(f"`{decision_id}` is of a card authorization and has no reservation")
    return reservation


def _added(change: tuple[Transition, int]) -> int:
    return sum(posting.settled + posting.held for posting in change[0].postings)


def _book(part: TenantTransaction, transition: Transition, kept: int, by: str, now_us: int) -> None:
    overdrawn = [posting.claim.budget_id for posting in transition.postings if part.ledger.book(posting)]
    reservation = msgspec.structs.replace(
        transition.reservation, overdrawn=transition.reservation.overdrawn or bool(overdrawn)
    )
    part.ledger.keep(reservation)
    body = ending_body(reservation, overdrawn, by)
    part.audit.append("restate", now_us, body | {"kept": kept} if kept else body)
    tell_ending(part, "restate", reservation, overdrawn, now_us)

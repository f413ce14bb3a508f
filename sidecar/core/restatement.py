"""A reservation in network mode: what a card network says of it holds, in any state, and takes it anywhere.

It has no calls that end it: each time, all its figures are stated anew (``sidecar.core.card_authorization``), and what
differs is booked in the window of the hold. It is held while something is on hold, settled once nothing is and
something was captured, released when nothing was. Only time ends a hold without the network (``reservation.expire``):
from then on nothing is held, what is captured is late, and a budget that settles at expiry has what would be on hold
as settled.
"""

from collections.abc import Sequence

import msgspec

from sidecar.core.budget import AMOUNT, COUNT, Claim
from sidecar.core.card_authorization import Share
from sidecar.core.card_events import NetworkHold
from sidecar.core.reservation import (
    HeldClaim,
    Measure,
    Posting,
    Reservation,
    State,
    Transition,
    place,
    posted,
)


def open_settled(
    *,
    decision_id: str,
    identity_id: str,
    amount: tuple[int, str],
    claims: Sequence[Claim],
    now_us: int,
    hold: NetworkHold,
) -> Transition:
    """Return the new reservation of an amount in minor units of a currency that was captured without being held."""
    amount_minor, currency = amount
    counted = {COUNT: 1} if any(claim.budget.dimension == COUNT for claim in claims) else {}
    placed = place(
        decision_id=decision_id,
        identity_id=identity_id,
        currency=currency,
        asked={AMOUNT: amount_minor, **counted},
        claims=claims,
        now_us=now_us,
        ttl_seconds=0,
    )
    settled = restate(bind(placed.reservation, hold), Share(settled=amount_minor)).reservation
    return Transition(settled, tuple([Posting(claim, claim.settled, claim.held) for claim in settled.claims]))


def bind(reservation: Reservation, hold: NetworkHold) -> Reservation:
    """Return a reservation that from now on only its network's word changes."""
    return msgspec.structs.replace(reservation, network=hold)


def has_expired(reservation: Reservation) -> bool:
    """Whether time has ended the hold, whatever was captured later."""
    return reservation.state == "expired" or reservation.late


def kept_minor(reservation: Reservation, share: Share) -> int:
    """Return what a budget that settles at expiry has of a hold that time has ended, beside what was captured."""
    return share.held if has_expired(reservation) else 0


def restate(reservation: Reservation, share: Share) -> Transition:
    """Return the reservation with the figures of ``share``; nothing changes where it has them."""
    is_expired = has_expired(reservation)
    asked, before = reservation.measures[AMOUNT].asked, reservation.measures[AMOUNT].settled
    measures = reservation.measures | {
        AMOUNT: Measure(asked, 0 if is_expired else share.held, share.settled, share.refunded)
    }
    if COUNT in measures:
        measures[COUNT] = Measure(1, 0, int(share.counts))
    is_late = reservation.late or (is_expired and share.settled > before)
    restated = msgspec.structs.replace(
        reservation,
        state=_state(share, asked, is_expired=is_expired, is_late=is_late),
        measures=measures,
        claims=tuple(_restated(claim, measures, kept_minor(reservation, share)) for claim in reservation.claims),
        late=is_late,
    )
    if restated == reservation:
        return Transition(reservation, changed=False)
    return posted(reservation, restated)


def _state(share: Share, asked: int, *, is_expired: bool, is_late: bool) -> State:
    if is_expired:
        return "settled" if is_late else "expired"
    if share.held or not (asked or share.settled or share.is_over):
        return "held"
    return "settled" if share.settled else "released"


def _restated(claim: HeldClaim, measures: dict[str, Measure], kept: int) -> HeldClaim:
    measure = measures[claim.dimension]
    kept = kept if claim.dimension == AMOUNT and claim.on_expiry == "settle" else 0
    return msgspec.structs.replace(claim, held=measure.held, settled=measure.settled - measure.refunded + kept)

"""The life of a reservation: what a permit holds, and how it is settled, released, refunded or expires.

    held ──settle, final──▶ settled ──refund──▶ settled (less)
      │ ├──release────────▶ released
      │ └──expire─────────▶ expired ──settle, final──▶ settled, late
      └──settle, not final: stays held (or expired, late), the part moves
      or only counted ──withdraw──▶ released, and not counted: nobody was told of the permit

Every transition is a pure function from one reservation to the next one and the ``Posting`` per claim that the ledger
books in the same transaction. A reservation ends once: the same ending again changes nothing, a conflicting one raises
Conflict. Everything is booked in the window of the hold, never in today's.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from sidecar.core.budget import AMOUNT, COUNT, Claim, OnExpiry
from sidecar.core.card_events import NetworkHold
from sidecar.core.errors import Conflict
from sidecar.core.windows import Period

State = Literal["held", "settled", "released", "expired"]


class Measure(msgspec.Struct, frozen=True):
    """One dimension: ``asked = held + settled + freed``, what is freed is not kept. Card networks may settle beyond."""

    asked: int
    held: int
    settled: int = 0
    refunded: int = 0


class HeldClaim(msgspec.Struct, frozen=True, kw_only=True):
    """What this reservation has in one window of one budget. ``settled`` is net of refunds.

    ``window_start_us`` is None for a limit per transaction, which has no counter.
    """

    budget_id: str
    dimension: str
    period: Period
    window_start_us: int | None
    on_expiry: OnExpiry
    held: int
    settled: int = 0


class Settlement(msgspec.Struct, frozen=True):
    """How a reservation ended: what was ``held`` per dimension when the last call came, and the ``parts`` it took."""

    held: dict[str, int]
    parts: dict[str, int]


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """What one permit holds. ``claims`` are exactly those of its audit record (I2).

    ``follower_id`` is the follower that a control plane holds it for, whose word ends it. What is of a card ``network``
    is in network mode (``sidecar.core.restatement``).
    """

    decision_id: str
    identity_id: str
    state: State
    currency: str | None
    measures: dict[str, Measure]
    claims: tuple[HeldClaim, ...]
    created_at_us: int
    expires_at_us: int
    settlement: Settlement | None = None
    late: bool = False
    overdrawn: bool = False
    follower_id: str | None = None
    network: NetworkHold | None = None

    @property
    def is_visible(self) -> bool:
        """Whether there is an amount or a quantity to settle; a permit that only counts has nothing to end."""
        return len(self.measures) > (COUNT in self.measures)


class Posting(msgspec.Struct, frozen=True):
    """A change of one budget window's counters."""

    claim: HeldClaim
    settled: int
    held: int


class Transition(msgspec.Struct, frozen=True):
    """A reservation after a call and what has to be booked; ``changed`` is False for a repetition."""

    reservation: Reservation
    postings: tuple[Posting, ...] = ()
    changed: bool = True


def place(
    *,
    decision_id: str,
    identity_id: str,
    currency: str | None,
    asked: dict[str, int],
    claims: Sequence[Claim],
    now_us: int,
    ttl_seconds: int,
    follower_id: str | None = None,
) -> Transition:
    """Return the new reservation of a permit. ``asked`` maps dimensions to figures; a count is settled at once."""
    measures = {
        name: Measure(value, 0, value) if name == COUNT else Measure(value, value) for name, value in asked.items()
    }
    held = tuple([_hold(claim) for claim in claims])
    reservation = Reservation(
        decision_id=decision_id,
        identity_id=identity_id,
        state="settled" if measures.keys() == {COUNT} else "held",
        currency=currency,
        measures=measures,
        claims=held,
        created_at_us=now_us,
        expires_at_us=now_us + ttl_seconds * 1_000_000,
        follower_id=follower_id,
    )
    return Transition(reservation, tuple([Posting(claim, claim.settled, claim.held) for claim in held]))


def _hold(claim: Claim) -> HeldClaim:
    counts = claim.budget.dimension == COUNT
    return HeldClaim(
        budget_id=claim.budget.budget_id,
        dimension=claim.budget.dimension,
        period=claim.budget.period,
        window_start_us=None if claim.window is None else claim.window.start_us,
        on_expiry=claim.budget.on_expiry,
        held=0 if counts else claim.asked,
        settled=claim.asked if counts else 0,
    )


def settle(reservation: Reservation, wanted: dict[str, int] | None, *, final: bool) -> Transition:
    """Settle ``wanted`` per dimension, or all that is held for ``None``.

    A final settlement takes all that is held of a dimension that ``wanted`` leaves out and frees the rest of those it
    names; a part that is not final takes only what it names. After an expiry the money has moved, so up to what was
    asked is recorded, marked late, in as many parts as it comes in (DESIGN rule 9). Raises Conflict for more than is
    held, after a release, and for an ending that differs from the first.
    """
    if not reservation.is_visible or reservation.state == "released":
        raise Conflict(_ended(reservation))
    if reservation.state == "settled":
        return _repeat(reservation, wanted, final=final)
    is_late = reservation.state == "expired"
    limits = {
        name: measure.asked - measure.settled if is_late else measure.held for name, measure in _open(reservation)
    }
    parts = _parts(limits, wanted, final=final)
    measures = dict(reservation.measures)
    for name, part in parts.items():
        measure = measures[name]
        held = 0 if final or is_late else measure.held - part
        measures[name] = Measure(measure.asked, held, measure.settled + part, measure.refunded)
    settled = msgspec.structs.replace(
        reservation,
        state="settled" if final else reservation.state,
        measures=measures,
        settlement=Settlement(limits, parts) if final else None,
        late=is_late,
    )
    return _book(reservation, settled)


def _open(reservation: Reservation) -> list[tuple[str, Measure]]:
    return [(name, measure) for name, measure in reservation.measures.items() if name != COUNT]


def _parts(limits: dict[str, int], wanted: dict[str, int] | None, *, final: bool) -> dict[str, int]:
    if wanted is None:
        return limits
    for name, value in wanted.items():
        if name not in limits or value > limits[name]:
            raise Conflict(f"cannot settle `{value}` of `{name}`, `{limits.get(name, 0)}` is held", field=_field(name))
    return {**limits, **wanted} if final else dict(wanted)


def _field(dimension: str) -> str:
    return "amount" if dimension == AMOUNT else f"quantities.{dimension}"


def _repeat(reservation: Reservation, wanted: dict[str, int] | None, *, final: bool) -> Transition:
    first = reservation.settlement
    if first is None or not final:
        raise Conflict(_ended(reservation))
    again = first.held if wanted is None else {**first.held, **wanted}
    if again != first.parts:
        raise Conflict(f"the reservation of `{reservation.decision_id}` was already settled with other content")
    return Transition(reservation, changed=False)


def _ended(reservation: Reservation) -> str:
    if not reservation.is_visible:
        return f"decision `{reservation.decision_id}` holds no amount or quantity"
    return f"the reservation of `{reservation.decision_id}` is already `{reservation.state}`"


def release(reservation: Reservation) -> Transition:
    """Free all that is held. Parts that were settled before stay settled.

    Raises Conflict when it was settled or expired; a second release changes nothing.
    """
    if reservation.is_visible and reservation.state == "released":
        return Transition(reservation, changed=False)
    if not reservation.is_visible or reservation.state != "held":
        raise Conflict(_ended(reservation))
    return _book(reservation, _freed(reservation, "released"))


def withdraw(reservation: Reservation) -> Transition:
    """Free all that is held, and what was counted, of a permit that nobody was told of.

    Where a part was settled, somebody was, and it stays counted. Nothing changes once it has ended.
    """
    if reservation.state != ("held" if reservation.is_visible else "settled"):
        return Transition(reservation, changed=False)
    freed = _freed(reservation, "released")
    counted = freed.measures.get(COUNT)
    if counted is not None and not any(measure.settled for _, measure in _open(freed)):
        freed = msgspec.structs.replace(freed, measures={**freed.measures, COUNT: Measure(counted.asked, 0)})
    return _book(reservation, freed)


def expire(reservation: Reservation, now_us: int) -> Transition:
    """End a hold whose time has come: each claim is freed, or settled where its budget says so.

    Nothing changes when the hold has ended before or is not due.
    """
    if reservation.state != "held" or now_us < reservation.expires_at_us:
        return Transition(reservation, changed=False)
    freed = _freed(reservation, "expired")
    claims = tuple(_expired(old, new) for old, new in zip(reservation.claims, freed.claims, strict=True))
    return posted(reservation, msgspec.structs.replace(freed, claims=claims))


def _expired(old: HeldClaim, new: HeldClaim) -> HeldClaim:
    kept = old.held if old.on_expiry == "settle" else 0
    return msgspec.structs.replace(new, held=0, settled=old.settled + kept)


def _freed(reservation: Reservation, state: State) -> Reservation:
    measures = {
        name: Measure(measure.asked, 0, measure.settled, measure.refunded)
        for name, measure in reservation.measures.items()
    }
    return msgspec.structs.replace(reservation, state=state, measures=measures)


def refund(reservation: Reservation, amount_minor: int) -> Transition:
    """Give back ``amount_minor`` of what was settled.

    What was settled in parts before a release counts as well. Raises Conflict unless at least that is left.
    """
    if reservation.state not in {"settled", "released"} or not reservation.is_visible:
        named = f"the reservation of `{reservation.decision_id}` is `{reservation.state}`"
        raise Conflict(f"only what is settled can be refunded, {named}")
    measure = reservation.measures.get(AMOUNT)
    if measure is None:
        raise Conflict(f"decision `{reservation.decision_id}` holds no amount", field="amount")
    if amount_minor > measure.settled - measure.refunded:
        left = measure.settled - measure.refunded
        raise Conflict(f"cannot refund `{amount_minor}` minor units, `{left}` are settled", field="amount")
    back = Measure(measure.asked, measure.held, measure.settled, measure.refunded + amount_minor)
    return _book(reservation, msgspec.structs.replace(reservation, measures={**reservation.measures, AMOUNT: back}))


def _book(old: Reservation, new: Reservation) -> Transition:
    """Bring the claims in line with the measures: after this, each claim has what its dimension has.

    A claim that was settled at the expiry has all that was asked, so parts that come late are in it until the last one.
    """
    claims = tuple(
        claim
        if new.state == "expired" and claim.on_expiry == "settle"
        else msgspec.structs.replace(claim, held=measure.held, settled=measure.settled - measure.refunded)
        for claim in new.claims
        for measure in (new.measures[claim.dimension],)
    )
    return posted(old, msgspec.structs.replace(new, claims=claims))


def posted(old: Reservation, new: Reservation) -> Transition:
    """Return the transition between two states of a reservation: what differs per claim is booked."""
    postings = tuple(
        Posting(after, after.settled - before.settled, after.held - before.held)
        for before, after in zip(old.claims, new.claims, strict=True)
        if (after.settled, after.held) != (before.settled, before.held)
    )
    return Transition(new, postings)

"""What a record of an ending makes of a hold: of the very one that it tells of, or of what is held elsewhere for it.

A record tells how a reservation stands after a call, with all figures; what the call was follows from the figures that
it had before.
"""

import msgspec

from sidecar.core.budget import AMOUNT, COUNT
from sidecar.core.card_authorization import Share
from sidecar.core.errors import Conflict
from sidecar.core.history import Ended
from sidecar.core.reservation import Reservation, Transition, expire, refund, release, settle, withdraw
from sidecar.core.restatement import restate


def ending(reservation: Reservation, ended: Ended) -> Transition:
    """Return what a record makes of a reservation. Raises Conflict where it cannot have been that.

    A hold for a follower may expire at the word of this follower before it would here.
    """
    if ended.kind == "restate":
        return _restated(reservation, ended)
    if ended.kind == "release":
        is_counted = all(name != COUNT or settled for name, _, _, settled, _ in ended.measures)
        return release(reservation) if is_counted else withdraw(reservation)
    if ended.kind == "expire":
        at_word = reservation.follower_id is not None and ended.by == reservation.follower_id
        return expire(reservation, reservation.expires_at_us if at_word else ended.ts_us)
    measures = reservation.measures
    if ended.kind == "refund":
        before = {name: measure.refunded for name, measure in measures.items()}
        back = {name: refunded - before.get(name, 0) for name, _, _, _, refunded in ended.measures}
        return refund(reservation, back.get(AMOUNT, 0))
    parts = {
        name: settled - measures[name].settled
        for name, _, _, settled, _ in ended.measures
        if name in measures and name != COUNT
    }
    return settle(reservation, parts, final=ended.state == "settled")


def _restated(reservation: Reservation, ended: Ended) -> Transition:
    """Return what a card network made of a reservation."""
    figures = {name: (held, settled, refunded) for name, _, held, settled, refunded in ended.measures}
    held, settled, refunded = figures.get(AMOUNT, (0, 0, 0))
    counted = figures.get(COUNT, (0, 1, 0))[1] > 0
    share = Share(held + ended.kept, settled, refunded, counts=counted, is_over=ended.state == "released")
    return restate(reservation, share)


def followed(reservation: Reservation, ended: Ended, follower_id: str) -> Transition:
    """Return what a follower's word about its own hold makes of the one that is held for it elsewhere.

    Nothing changes where that stands so already: the follower tells all of it each time. Raises Conflict where somebody
    else ended it in another way.
    """
    had = {name: (measure.settled, measure.refunded) for name, measure in reservation.measures.items() if name != COUNT}
    told = {name: (settled, refunded) for name, _, _, settled, refunded in ended.measures if name != COUNT}
    is_told = told == had
    if is_told and (reservation.state == ended.state or (ended.kind == "settle" and ended.state == "held")):
        return Transition(reservation, changed=False)
    for name, (settled, refunded) in had.items():
        if settled > told.get(name, (0, 0))[0] or refunded > told.get(name, (0, 0))[1]:
            raise Conflict(f"more of `{name}` is settled or refunded for `{ended.decision_id}` here")
    transition = ending(reservation, msgspec.structs.replace(ended, by=follower_id))
    if not transition.changed:
        raise Conflict(f"the hold of `{ended.decision_id}` is already `{reservation.state}` here")
    return transition

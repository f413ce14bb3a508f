"""The dossier of one card authorization: what a network asked and told of it, and what each reservation is to have.

Facts come first, figures after them: a dossier gathers facts, each of which counts once and in any order, and what
reservations are to have is a pure function of it (``shares_of``). So any order and any repetition of a network's events
ends in the same sums. What is gathered has a bound: movements are added up, of standings the newest is kept, requests
are ``REQUESTS_MAX`` at most.

In total, of the requests that were permitted: on hold is what the standing says remains, or what is authorised without
what was captured, and nothing once it is over; a request that the standing does not cover yet adds its amount, beside
one that is over only where it is sure that it came after it (``Place``). Settled is what was captured, refunds taken
off. Reservations have it in the order in which they were opened: captures fill each up to what it asked and the last
one beyond it, holds fill what is left, and what is taken back leaves the newest first.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from sidecar.core.card_events import Moved, Network, Standing
from sidecar.core.errors import Conflict

REQUESTS_MAX: Final = 100
"""Requests of one authorization: each has a reservation, and an event can move all of them."""

SeenOf = Literal["request", "event", "movement"]
"""What has an id of its own."""

SUM_MINOR_MAX: Final = 2**53 - 1
"""Where sums end, the largest number of a record: to end there is in any order the same."""


class Share(msgspec.Struct, frozen=True):
    """What one reservation is to have. ``settled`` is before refunds; ``counts`` is whether it is counted as a use.

    ``is_over`` says that nothing comes on hold any more, also where nothing was asked.
    """

    held: int = 0
    settled: int = 0
    refunded: int = 0
    counts: bool = True
    is_over: bool = False


class Place(msgspec.Struct, frozen=True):
    """Where a request stands among those of its authorization: how many came before it, and whether that is sure."""

    index: int
    is_sure: bool


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the authorization and its decision. ``index`` counts the requests before it, as the network does.

    Without ``is_sure`` it counts those that were asked here, of which the network may count fewer.
    """

    decision_id: str
    index: int
    amount_minor: int
    allowed: bool
    is_sure: bool = True


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The reservation of what was captured though no request was permitted; it gives way to one that is."""

    decision_id: str
    amount_minor: int


class CardAuthorization(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one authorization in one currency. ``shares`` are what was booked last, by reservation.

    ``program_id`` is the program that spoke of it first.
    """

    network: Network
    authorization_id: str
    currency: str
    program_id: str
    card_id: str
    requests: tuple[Request, ...] = ()
    standing: Standing | None = None
    captured_minor: int = 0
    refunded_minor: int = 0
    opening: Opening | None = None
    shares: dict[str, Share] = {}

    @property
    def permitted(self) -> tuple[Request, ...]:
        """The requests that have a reservation, in the order in which it was opened."""
        return tuple(request for request in self.requests if request.allowed)

    @property
    def lacks_opening(self) -> bool:
        """Whether something was captured and there is no reservation to book it on."""
        return self.captured_minor > 0 and self.opening is None and not self.permitted


def require_room(authorization: CardAuthorization) -> None:
    """Raise Conflict where an authorization takes no further request."""
    if len(authorization.requests) >= REQUESTS_MAX:
        raise Conflict(
            f"authorization `{authorization.authorization_id}` has {REQUESTS_MAX} requests, no more are taken"
        )


def place_of_request(authorization: CardAuthorization, index: int | None) -> Place:
    """Return where a request stands that is asked now, and of which the network says ``index``, if it counts them.

    Where it does not, a request after an authorization was said to be over is none of those that the saying covers.
    """
    if index is not None:
        return Place(index, is_sure=True)
    here, standing = len(authorization.requests), authorization.standing
    if standing is None or not standing.is_over:
        return Place(here, is_sure=False)
    return Place(max(here, standing.version[0]), is_sure=True)


def asked(authorization: CardAuthorization, request: Request) -> CardAuthorization:
    """Return the dossier with a further request, which holds what it asked if it was permitted."""
    shares = authorization.shares
    if request.allowed:
        shares = {**shares, request.decision_id: Share(held=request.amount_minor)}
    return msgspec.structs.replace(authorization, requests=(*authorization.requests, request), shares=shares)


def told(authorization: CardAuthorization, standing: Standing | None, moved: Iterable[Moved]) -> CardAuthorization:
    """Return the dossier with what an event told: a standing if it is newer, and movements not told before."""
    newest = authorization.standing
    if standing is not None and (newest is None or _place(standing) > _place(newest)):
        newest = standing
    captured, refunded = authorization.captured_minor, authorization.refunded_minor
    for each in moved:
        if each.kind == "capture":
            captured = min(captured + each.amount_minor, SUM_MINOR_MAX)
        else:
            refunded = min(refunded + each.amount_minor, SUM_MINOR_MAX)
    return msgspec.structs.replace(authorization, standing=newest, captured_minor=captured, refunded_minor=refunded)


def _place(standing: Standing) -> tuple[int, int, bool, int, str]:
    """Return by what the newest standing is known.

    Of the same requests and moment (networks write whole seconds) the one that is over is later, then the one with
    less: without a further request an authorization only ever loses.
    """
    requests, at_us, event_id = standing.version
    left = standing.remaining_minor if standing.authorized_minor is None else standing.authorized_minor
    return requests, at_us, standing.is_over, -(left or 0), event_id


def opened(authorization: CardAuthorization, opening: Opening) -> CardAuthorization:
    """Return the dossier with a reservation that no request asked for, which has settled what was captured."""
    shares = {**authorization.shares, opening.decision_id: Share(settled=opening.amount_minor)}
    return msgspec.structs.replace(authorization, opening=opening, shares=shares)


def shares_of(authorization: CardAuthorization) -> dict[str, Share]:
    """Return what each reservation is to have, in the order in which they were opened."""
    permitted = authorization.permitted
    asked_minor = {request.decision_id: request.amount_minor for request in permitted}
    opening, captured = authorization.opening, authorization.captured_minor
    if opening is not None and not permitted:
        asked_minor = {opening.decision_id: captured}
    is_over = authorization.standing is not None and authorization.standing.is_over
    settled = _filled(asked_minor, captured, beyond=True)
    net = _filled(asked_minor, max(0, captured - authorization.refunded_minor), beyond=True)
    room = {key: max(0, asked_minor[key] - settled[key]) for key in asked_minor}
    held = _filled(room, _held_minor(authorization), beyond=False)
    shares = {key: Share(held[key], settled[key], settled[key] - net[key], is_over=is_over) for key in asked_minor}
    if opening is not None and permitted:
        shares[opening.decision_id] = Share(counts=False, is_over=is_over)
    return shares


def _held_minor(authorization: CardAuthorization) -> int:
    """Return what is on hold in total, as far as the network says it."""
    standing = authorization.standing
    covered = 0 if standing is None else standing.version[0]
    beyond = [request for request in authorization.permitted if request.index >= covered]
    uncovered = sum(request.amount_minor for request in beyond)
    if standing is None:
        return max(0, uncovered - authorization.captured_minor)
    if standing.is_over:
        return sum(request.amount_minor for request in beyond if request.is_sure)
    if standing.remaining_minor is not None:
        return standing.remaining_minor + uncovered
    return max(0, (standing.authorized_minor or 0) + uncovered - authorization.captured_minor)


def _filled(sizes: dict[str, int], amount: int, *, beyond: bool) -> dict[str, int]:
    """Return ``amount`` poured into ``sizes`` one after the other; what is over is lost, or ``beyond`` in the last."""
    filled = {}
    for place, (key, size) in enumerate(sizes.items(), 1):
        filled[key] = amount if beyond and place == len(sizes) else min(size, amount)
        amount -= filled[key]
    return filled


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Something with an id of a network's own that was taken in: it counts once, however often it comes.

    ``fingerprint`` stands for its content, so that a repetition that differs is seen. A request has the decision that
    it was answered with; an event of a card that nobody knew may come again and count then; a movement has what it
    added, and to what.
    """

    of: SeenOf
    network: Network
    id: str
    fingerprint: bytes
    decision_id: str | None = None
    is_known: bool = True
    authorization_id: str | None = None
    currency: str | None = None
    moved: Moved | None = None

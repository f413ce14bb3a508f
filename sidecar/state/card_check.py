"""Whether what card networks told holds together: log, what was taken in, dossiers, and the reservations of these.

Each event and movement of the log was taken in, once; dossiers add up to their movements; and each reservation of an
authorization has exactly the share that its dossier comes to.
"""

from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from sidecar.core.card_authorization import SUM_MINOR_MAX, CardAuthorization, Request, Seen, shares_of
from sidecar.core.card_events import NetworkHold
from sidecar.core.errors import StoreUnusable
from sidecar.core.reservation import Reservation
from sidecar.core.restatement import restate
from sidecar.state.card_authorizations import authorization_key, read_authorization, read_seen, seen_key
from sidecar.state.codec import decode
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import tenant_rows
from sidecar.state.tenant_transaction import TenantTransaction

_reservation: Final = msgspec.msgpack.Decoder(Reservation)


class CardEvents:
    """What a log tells so far of the events of card networks."""

    def __init__(self) -> None:
        """Begin before the first record."""
        self.events: set[tuple[str, str]] = set()
        self.movements: set[tuple[object, ...]] = set()
        self.forced: set[str] = set()

    def note(self, fields: Mapping[str, Any]) -> None:
        """Take in the next record of the log."""
        if fields.get("type") == "forced":
            self.forced.add(fields["decision"])
        if fields.get("type") != "card_event":
            return
        network = fields["network"]
        self.events.add((network, fields["event"]))
        for kind, name, amount_minor, *mark in fields.get("moved", ()):
            if mark == ["counted"]:
                place = (fields["authorization"], fields["currency"])
                self.movements.add((network, name, kind, amount_minor, *place))


class CardCheck:
    """The check of one tenant's card authorizations."""

    def __init__(self, txn: Txn, tables: dict[str, Table], part: TenantTransaction, told: CardEvents) -> None:
        """Check ``part`` against what its whole log tells."""
        self._txn = txn
        self._tables = tables
        self._part = part
        self._told = told
        self._sums: Tally[tuple[object, ...]] = Tally()
        self._asked: dict[str, tuple[object, ...]] = {}
        self._holds: set[str] = set()

    def run(self) -> Iterator[str]:
        """Yield a sentence for each thing that does not hold."""
        yield from self._check_seen()
        yield from self._check_dossiers()
        yield from self._check_reservations()

    def _rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        return tenant_rows(self._txn, self._tables[table], self._part.tenant.number)

    def _check_seen(self) -> Iterator[str]:
        """Each event and movement that was taken in stands in the log, and each of the log was taken in."""
        events, movements = set(self._told.events), set(self._told.movements)
        for key, data in self._rows("card_seen"):
            try:
                seen = read_seen(data)
            except StoreUnusable as error:
                yield f"what a card network told is damaged: {error.message}"
                continue
            name = f"{seen.of} `{seen.id}` of `{seen.network}`"
            if seen_key(seen.of, seen.network, seen.id) != key:
                yield f"{name} lies in the place of another"
            elif seen.of == "event":
                if (seen.network, seen.id) not in events:
                    yield f"{name} was taken in and is not in the log"
                events.discard((seen.network, seen.id))
            else:
                yield from self._note(name, seen, movements)
        for network, event_id in sorted(events):
            yield f"event `{event_id}` of `{network}` is in the log and was not taken in"
        for movement in sorted(movements, key=str):
            yield f"movement `{movement[1]}` of `{movement[0]}` is in the log and was not taken in"

    def _note(self, name: str, seen: Seen, movements: set[tuple[object, ...]]) -> Iterator[str]:
        """Remember what a dossier must have of a request or a movement."""
        place = (seen.network, seen.authorization_id, seen.currency)
        if seen.decision_id is not None:
            self._asked[seen.decision_id] = place
        if seen.moved is not None:
            self._sums[*place, seen.moved.kind] += seen.moved.amount_minor
            told = (seen.network, seen.id, seen.moved.kind, seen.moved.amount_minor, *place[1:])
            if told not in movements:
                yield f"{name} counts and is not what the log tells"
            movements.discard(told)

    def _check_dossiers(self) -> Iterator[str]:
        """Each dossier has the requests and sums that were taken in, and its reservations have their shares."""
        for key, data in self._rows("card_authorizations"):
            try:
                found = read_authorization(data)
            except StoreUnusable as error:
                yield f"a card authorization is damaged: {error.message}"
                continue
            name = f"authorization `{found.authorization_id}` of `{found.network}`"
            if authorization_key(found.network, found.authorization_id, found.currency) != key:
                yield f"{name} lies in the place of another"
                continue
            yield from self._check_dossier(name, found)
        for decision_id, place in sorted(self._asked.items()):
            yield f"authorization `{place[1]}` of `{place[0]}` misses the request that `{decision_id}` answers"
        for place in sorted(place for place, amount_minor in self._sums.items() if amount_minor):
            yield f"authorization `{place[1]}` of `{place[0]}` misses what moved"

    def _check_dossier(self, name: str, found: CardAuthorization) -> Iterator[str]:
        place = (found.network, found.authorization_id, found.currency)
        for kind, amount_minor in (("capture", found.captured_minor), ("refund", found.refunded_minor)):
            if min(self._sums.pop((*place, kind), 0), SUM_MINOR_MAX) != amount_minor:
                yield f"{name} does not add up to its movements of kind `{kind}`"
        for request in found.requests:
            yield from self._check_request(name, request, place)
        if found.opening is not None and found.opening.decision_id not in self._told.forced:
            yield f"{name} has a capture without a request that is not in the log"
        shares = shares_of(found)
        if shares != found.shares or found.lacks_opening:
            yield f"{name} was not brought to its reservations"
        hold = NetworkHold(found.network, found.authorization_id)
        for decision_id, share in shares.items():
            reservation = self._part.ledger.reservation(decision_id)
            if reservation is None or reservation.network != hold or restate(reservation, share).changed:
                yield f"the reservation of `{decision_id}` has not what {name} comes to"
            self._holds.add(decision_id)

    def _check_request(self, name: str, request: Request, place: tuple[object, ...]) -> Iterator[str]:
        decision = self._part.answers.decision(request.decision_id)
        if self._asked.pop(request.decision_id, None) != place:
            yield f"{name} has a request that was not taken in, `{request.decision_id}`"
        if decision is None or decision.allowed != request.allowed:
            yield f"{name} says otherwise of `{request.decision_id}` than it was decided"

    def _check_reservations(self) -> Iterator[str]:
        """Each reservation of a card network is in the dossier of its authorization."""
        for _, data in self._rows("reservations"):
            reservation = decode(data, _reservation)
            if reservation.network is not None and reservation.decision_id not in self._holds:
                authorization_id = reservation.network.authorization_id
                yield f"the reservation of `{reservation.decision_id}` is not in its authorization `{authorization_id}`"

"""Deliveries: what is due to be sent, and what follows from each attempt.

Sending is I/O and belongs to a door. An attempt's outcome is written after the endpoint answered: a process that dies
in between leaves the row waiting, and it is sent again under the same id (at least once).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from sidecar.core.errors import StoreUnusable
from sidecar.core.event_formats import Format
from sidecar.core.webhooks import Response, Waiting, judge
from sidecar.service.post import disable
from sidecar.service.store import Store, TenantTransaction, Transaction

LANES_MAX: Final = 4_096
"""Lanes that are found ready at once: a few ms, and far more than are sent to at a time."""

SWEPT_AT_ONCE: Final = 512
"""Rows of dropped lanes that one transaction removes: some 5 ms of the writer lock."""


class Place(NamedTuple):
    """Where an event waits."""

    tenant: int
    lane: int


class Parcel(msgspec.Struct, frozen=True):
    """One event ready to be sent to one endpoint.

    ``secrets`` sign it, the way that ``format`` says; none of them may be logged.
    """

    place: Place
    url: str
    waiting: Waiting
    secrets: tuple[bytes, ...]
    format: Format = "standard"


class Work(msgspec.Struct, frozen=True):
    """What is due in one lane; ``is_failing`` says that its endpoint's newest attempt failed."""

    place: Place
    is_failing: bool
    parcels: tuple[Parcel, ...]


class Dispatch:
    """Gives out what is due and takes back what became of it."""

    def __init__(self, store: Store, jitter_bp: Callable[[], int]) -> None:
        """Work on ``store``; ``jitter_bp`` draws how much longer a pause gets."""
        self._store = store
        self._jitter_bp = jitter_bp

    def ready(self, now_us: int) -> list[Place]:
        """Return the lanes in which something is due, the one that waits longest first."""
        with self._store.read() as txn:
            return [Place(*ready) for ready in txn.ready_lanes(now_us, LANES_MAX)]

    def due(self, place: Place, now_us: int, most: int) -> Work | None:
        """Return up to ``most`` due events of one lane, the earliest first; None where nothing is due."""
        with self._store.read() as txn:
            part = _part(txn, place)
            lane = part.outbox.lane(place.lane)
            waiting = [] if lane is None else part.outbox.due(place.lane, now_us, most)
            if lane is None or not waiting:
                return None
            webhook, secrets = part.webhooks.at(lane.number), part.webhooks.secrets(lane.number).signing(now_us)
        parcels = tuple(Parcel(place, webhook.url, each, secrets, webhook.format) for each in waiting)
        return Work(place, lane.failing_since_us is not None, parcels)

    async def record(self, parcel: Parcel, response: Response, now_us: int) -> None:
        """Write what became of an attempt: an entry of the log, and the event's end or its next attempt.

        Nothing where the endpoint was deleted or disabled meanwhile.
        """
        jitter_bp = self._jitter_bp()
        await self._store.write(lambda txn: _settle(_part(txn, parcel.place), parcel, response, now_us, jitter_bp))

    async def sweep(self) -> int:
        """Remove up to ``SWEPT_AT_ONCE`` rows of lanes that were dropped; returns how many."""
        return await self._store.write(lambda txn: txn.sweep_lanes(SWEPT_AT_ONCE))


def _part(txn: Transaction, place: Place) -> TenantTransaction:
    tenant = txn.tenants.get(place.tenant)
    if tenant is None:
        raise StoreUnusable(f"tenant {place.tenant} has an outbox and does not exist")
    return txn.of(tenant)


def _settle(part: TenantTransaction, parcel: Parcel, response: Response, now_us: int, jitter_bp: int) -> None:
    place, tried = parcel.place, parcel.waiting
    lane = part.outbox.lane(place.lane)
    if lane is None or part.outbox.find(place.lane, tried.event_id) != tried:
        return
    verdict = judge(tried, lane, response, now_us, jitter_bp)
    part.webhooks.log(lane.number, verdict.delivery)
    part.outbox.resolve(place.lane, tried, verdict.waiting, verdict.failing_since_us)
    if verdict.disabled_reason is not None:
        disable(part, part.webhooks.at(lane.number), verdict.disabled_reason, "sidecar", now_us)

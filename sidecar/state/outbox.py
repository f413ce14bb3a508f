"""The outbox: events that wait to be delivered, written in the transaction of what they tell.

Each endpoint has a lane. A lane's rows lie together, with a second list of them by the time they are due; one more list
over all tenants has each lane at the time of its earliest row, so that looking for work costs what is due and not what
waits, and a lane that is not served stands in nobody's way. A dropped lane is only noted: its rows, up to a hundred
thousand, are removed in pieces by the background work. Invariants: a lane's ``waiting`` is the number of its rows, each
row stands in the list once, and a lane is ready at ``next_due_us`` exactly while something waits.
"""

from itertools import islice
from struct import Struct
from typing import Final

import msgspec

from sidecar.core.directory import Tenant
from sidecar.core.errors import StoreUnusable
from sidecar.core.events import next_ulid
from sidecar.core.ids import EVENT, id_of, ulid_bytes
from sidecar.core.webhooks import Lane, Waiting
from sidecar.service.event_store import Ready
from sidecar.state.codec import TENANT_U64, U32, U64, decode, encode
from sidecar.state.environment import Table, Txn

READY_ROW: Final = Struct(">QIQ")
"""When, tenant number, lane."""

_lane: Final = msgspec.msgpack.Decoder(Lane)
_waiting: Final = msgspec.msgpack.Decoder(Waiting)


class Head(msgspec.Struct, frozen=True):
    """The newest number and event id that a tenant's outbox has given."""

    number: int = 0
    event: bytes | None = None


_head: Final = msgspec.msgpack.Decoder(Head)


class Outbox:
    """One tenant's outbox as one transaction sees it."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: Tenant) -> None:
        """Look through ``txn`` at the outbox of ``tenant``."""
        self._txn = txn
        self._tables = tables
        self._tenant = tenant

    def next_number(self) -> int:
        """Return a number that no endpoint and no lane of this tenant had."""
        head = self._head()
        self._keep_head(Head(head.number + 1, head.event))
        return head.number + 1

    def next_event_id(self, now_us: int) -> str:
        """Return the id of the tenant's next event; ids ascend, whichever process makes them."""
        head = self._head()
        ulid = next_ulid(head.event, now_us, self._tenant.log_id)
        self._keep_head(Head(head.number, ulid))
        return id_of(EVENT, ulid)

    def _head(self) -> Head:
        data = self._txn.get(U32.pack(self._tenant.number), db=self._tables["outbox_heads"])
        return Head() if data is None else decode(bytes(data), _head)

    def _keep_head(self, head: Head) -> None:
        self._txn.put(U32.pack(self._tenant.number), encode(head), db=self._tables["outbox_heads"])

    def open(self, lane: int, number: int) -> None:
        """Begin a lane of the endpoint with this number."""
        self._keep_lane(lane, Lane(number=number))

    def lane(self, lane: int) -> Lane | None:
        """Return how a lane is doing, None once it was dropped."""
        data = self._txn.get(self._key(lane), db=self._tables["outbox_lanes"])
        return None if data is None else decode(bytes(data), _lane)

    def _keep_lane(self, lane: int, state: Lane) -> None:
        self._txn.put(self._key(lane), encode(state), db=self._tables["outbox_lanes"])

    def drop(self, lane: int) -> None:
        """End a lane; what waits there is never sent, and swept away later."""
        state = self._known(lane)
        self._txn.delete(self._key(lane), db=self._tables["outbox_lanes"])
        if state.next_due_us is not None:
            self._txn.delete(self._ready(lane, state.next_due_us), db=self._tables["outbox_ready"])
            self._txn.put(self._key(lane), b"", db=self._tables["outbox_dropped"])

    def add(self, lane: int, waiting: Waiting) -> None:
        """Let an event wait in a lane."""
        state = self._known(lane)
        self._put(lane, waiting)
        self._settle(lane, state, msgspec.structs.replace(state, waiting=state.waiting + 1))

    def find(self, lane: int, event_id: str) -> Waiting | None:
        """Return an event that waits in a lane."""
        data = self._txn.get(self._key(lane) + _ulid(event_id), db=self._tables["outbox"])
        return None if data is None else decode(bytes(data), _waiting)

    def due(self, lane: int, now_us: int, most: int) -> list[Waiting]:
        """Return up to ``most`` events that are due in a lane, the earliest first."""
        prefix = self._key(lane)
        found: list[Waiting] = []
        with self._txn.cursor(db=self._tables["outbox_due"]) as cursor:
            held = cursor.set_range(prefix)
            while held and len(found) < most and bytes(cursor.key()).startswith(prefix):
                due_us, event_id = _due_of(bytes(cursor.key()))
                if due_us > now_us:
                    break
                found.append(self._found(lane, event_id))
                held = cursor.next()
        return found

    def resolve(self, lane: int, tried: Waiting, kept: Waiting | None, failing_since_us: int | None) -> None:
        """Replace what was tried by what waits on, None when nothing does, and note how the lane is doing."""
        state = self._known(lane)
        self._txn.delete(self._due(lane, tried), db=self._tables["outbox_due"])
        if kept is None:
            self._txn.delete(self._key(lane) + _ulid(tried.event_id), db=self._tables["outbox"])
        else:
            self._put(lane, kept)
        waiting = state.waiting - (1 if kept is None else 0)
        self._settle(lane, state, msgspec.structs.replace(state, waiting=waiting, failing_since_us=failing_since_us))

    def _put(self, lane: int, waiting: Waiting) -> None:
        self._txn.put(self._key(lane) + _ulid(waiting.event_id), encode(waiting), db=self._tables["outbox"])
        self._txn.put(self._due(lane, waiting), b"", db=self._tables["outbox_due"])

    def _settle(self, lane: int, old: Lane, new: Lane) -> None:
        """Store a lane's state, and move it to the time of what is now its earliest row."""
        prefix = self._key(lane)
        with self._txn.cursor(db=self._tables["outbox_due"]) as cursor:
            key = bytes(cursor.key()) if cursor.set_range(prefix) else b""
        next_due_us = _due_of(key)[0] if key.startswith(prefix) else None
        self._keep_lane(lane, msgspec.structs.replace(new, next_due_us=next_due_us))
        if next_due_us != old.next_due_us:
            if old.next_due_us is not None:
                self._txn.delete(self._ready(lane, old.next_due_us), db=self._tables["outbox_ready"])
            if next_due_us is not None:
                self._txn.put(self._ready(lane, next_due_us), b"", db=self._tables["outbox_ready"])

    def mark_approach(self, budget_id: str, start_us: int, length_us: int | None) -> bool:
        """Note that a budget's approach to its limit is told in the window from ``start_us``; False when it was.

        With a ``length_us`` windows begin at every second, and one is told only once the last one that was is over.
        """
        key = self._mark(budget_id)
        data = self._txn.get(key, db=self._tables["budget_marks"])
        marked_us = None if data is None else U64.unpack(data)[0]
        if marked_us is not None and start_us < marked_us + (length_us or 1):
            return False
        self._txn.put(key, U64.pack(start_us), db=self._tables["budget_marks"])
        return True

    def forget_approach(self, budget_id: str) -> None:
        """Forget what ``mark_approach`` noted of a budget that is deleted."""
        self._txn.delete(self._mark(budget_id), db=self._tables["budget_marks"])

    def _mark(self, budget_id: str) -> bytes:
        ulid = ulid_bytes(budget_id, "bud")
        if ulid is None:
            raise StoreUnusable(f"`{budget_id}` is no id of a budget")
        return U32.pack(self._tenant.number) + ulid

    def _known(self, lane: int) -> Lane:
        state = self.lane(lane)
        if state is None:
            raise StoreUnusable(f"lane {lane} of tenant `{self._tenant.tenant_id}` does not exist")
        return state

    def _found(self, lane: int, event_id: str) -> Waiting:
        waiting = self.find(lane, event_id)
        if waiting is None:
            raise StoreUnusable(f"event `{event_id}` is due and does not exist")
        return waiting

    def _key(self, lane: int) -> bytes:
        return TENANT_U64.pack(self._tenant.number, lane)

    def _due(self, lane: int, waiting: Waiting) -> bytes:
        return self._key(lane) + U64.pack(waiting.due_at_us) + _ulid(waiting.event_id)

    def _ready(self, lane: int, due_us: int) -> bytes:
        return READY_ROW.pack(due_us, self._tenant.number, lane)


def _due_of(key: bytes) -> tuple[int, str]:
    at = TENANT_U64.size
    return U64.unpack(key[at : at + 8])[0], id_of(EVENT, key[at + 8 :])


def _ulid(event_id: str) -> bytes:
    ulid = ulid_bytes(event_id, EVENT)
    if ulid is None:
        raise StoreUnusable(f"`{event_id}` is no id of an event")
    return ulid


def ready_lanes(txn: Txn, tables: dict[str, Table], now_us: int, most: int) -> list[Ready]:
    """Return up to ``most`` lanes of any tenant whose next attempt is due at or before ``now_us``."""
    found: list[Ready] = []
    with txn.cursor(db=tables["outbox_ready"]) as cursor:
        for key in islice(cursor.iternext(values=False), most) if cursor.first() else ():
            due_us, tenant, lane = READY_ROW.unpack(key)
            if due_us > now_us:
                break
            found.append(Ready(tenant, lane))
    return found


def sweep_lanes(txn: Txn, tables: dict[str, Table], most: int) -> int:
    """Remove up to ``most`` rows of dropped lanes, and the note of a lane that is empty; returns how many rows."""
    removed = 0
    with txn.cursor(db=tables["outbox_dropped"]) as dropped:
        while removed < most and dropped.first():
            lane = bytes(dropped.key())
            for table in ("outbox_due", "outbox"):
                removed += _sweep(txn, tables[table], lane, most - removed)
            if removed < most:
                dropped.delete()
    return removed


def _sweep(txn: Txn, table: Table, prefix: bytes, most: int) -> int:
    removed = 0
    with txn.cursor(db=table) as cursor:
        while removed < most and cursor.set_range(prefix) and bytes(cursor.key()).startswith(prefix):
            cursor.delete()
            removed += 1
    return removed

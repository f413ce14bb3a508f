"""Whether a tenant's outbox holds together, recomputed from its rows: the part of the check that concerns events.

What waits stands in each list once and is counted, what is ready is what waits, and each active endpoint is whole.
"""

from collections import Counter as Tally
from collections.abc import Iterator

import msgspec

from sidecar.core.directory import Tenant
from sidecar.core.ids import EVENT, id_of
from sidecar.core.webhooks import Lane, Waiting
from sidecar.state.codec import U32, U64, decode
from sidecar.state.environment import Table, Txn
from sidecar.state.outbox import READY_ROW
from sidecar.state.webhooks import Webhooks

_lane = msgspec.msgpack.Decoder(Lane)
_waiting = msgspec.msgpack.Decoder(Waiting)


def check_outbox(txn: Txn, tables: dict[str, Table], tenant: Tenant) -> Iterator[str]:
    """Yield a sentence for each thing that does not hold in the outbox of ``tenant``."""
    lanes = {key: decode(value, _lane) for key, value in _rows(txn, tables["outbox_lanes"], tenant)}
    dropped = {key for key, _ in _rows(txn, tables["outbox_dropped"], tenant)}
    due = {(key[:8], key[16:]): U64.unpack(key[8:16])[0] for key, _ in _rows(txn, tables["outbox_due"], tenant)}
    waiting: Tally[bytes] = Tally()
    for key, value in _rows(txn, tables["outbox"], tenant):
        lane, ulid = key[:8], key[8:]
        waiting[lane] += 1
        if lane in dropped:
            continue
        if due.pop((lane, ulid), None) != decode(value, _waiting).due_at_us:
            yield f"event `{id_of(EVENT, ulid)}` is not listed at the time at which it is due"
        if lane not in lanes:
            yield f"event `{id_of(EVENT, ulid)}` waits in a lane that does not exist"
    for lane, ulid in due:
        if lane not in dropped:
            yield f"event `{id_of(EVENT, ulid)}` is due and does not wait"
    yield from _check_lanes(lanes, waiting, _ready(txn, tables["outbox_ready"], tenant))
    yield from _check_webhooks(txn, tables, tenant, lanes)


def _check_lanes(lanes: dict[bytes, Lane], waiting: Tally[bytes], ready: dict[bytes, int]) -> Iterator[str]:
    for key, lane in lanes.items():
        name = f"lane {U64.unpack(key)[0]}"
        if lane.waiting != waiting[key]:
            yield f"{name} counts {lane.waiting} events, {waiting[key]} wait"
        if (lane.next_due_us is None) != (lane.waiting == 0) or ready.pop(key, None) != lane.next_due_us:
            yield f"{name} is not ready when its next event is due"
    for key in ready:
        yield f"lane {U64.unpack(key)[0]} is ready and does not exist"


def _check_webhooks(txn: Txn, tables: dict[str, Table], tenant: Tenant, lanes: dict[bytes, Lane]) -> Iterator[str]:
    webhooks = Webhooks(txn, tables, tenant.number)
    active = [each for each in webhooks.all() if each.status == "active"]
    if [(each.number, each.lane, each.events) for each in active] != [
        (interest.number, interest.lane, interest.events) for interest in webhooks.interests()
    ]:
        yield "the summary of the webhooks is not that of the active ones"
    if {U64.pack(each.lane): each.number for each in active} != {key: lane.number for key, lane in lanes.items()}:
        yield "the active webhooks and the lanes are not the same"


def _ready(txn: Txn, table: Table, tenant: Tenant) -> dict[bytes, int]:
    found = {}
    with txn.cursor(db=table) as cursor:
        for key in cursor.iternext(values=False) if cursor.first() else ():
            due_us, number, lane = READY_ROW.unpack(key)
            if number == tenant.number:
                found[U64.pack(lane)] = due_us
    return found


def _rows(txn: Txn, table: Table, tenant: Tenant) -> Iterator[tuple[bytes, bytes]]:
    """Yield a tenant's rows of a table, keys without the tenant."""
    prefix = U32.pack(tenant.number)
    with txn.cursor(db=table) as cursor:
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            yield bytes(cursor.key())[len(prefix) :], bytes(cursor.value())
            found = cursor.next()

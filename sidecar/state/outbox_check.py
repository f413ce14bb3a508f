"""Whether a tenant's outbox holds together, recomputed from its rows: the part of the check that concerns events.

What waits stands in each list once and is counted, what is ready is what waits, each endpoint has its
secret, and each active one is whole.
"""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from sidecar.core.directory import Tenant
from sidecar.core.ids import EVENT, id_of
from sidecar.core.webhooks import Interest, Lane, Waiting
from sidecar.state.codec import U64, decode
from sidecar.state.environment import Table, Txn
from sidecar.state.outbox import READY_ROW
from sidecar.state.rows import every_row, tenant_rows
from sidecar.state.webhooks import Webhooks

_lane = msgspec.msgpack.Decoder(Lane)
_waiting = msgspec.msgpack.Decoder(Waiting)


Ready: TypeAlias = dict[bytes, int]
"""When each lane of one tenant that is ready has its next event due."""


def ready_by_tenant(txn: Txn, table: Table) -> dict[int, Ready]:
    """Return the lanes that are ready, by the number of their tenant: they lie by time, so all are read at once."""
    found: dict[int, Ready] = defaultdict(dict)
    for key, _ in every_row(txn, table):
        due_us, number, lane = READY_ROW.unpack(key)
        found[number][U64.pack(lane)] = due_us
    return found


def check_outbox(txn: Txn, tables: dict[str, Table], tenant: Tenant, ready: Ready) -> Iterator[str]:
    """Yield a sentence for each thing that does not hold in the outbox of ``tenant``, whose lanes are ``ready``."""
    lanes = {key: decode(value, _lane) for key, value in tenant_rows(txn, tables["outbox_lanes"], tenant.number)}
    dropped = {key for key, _ in tenant_rows(txn, tables["outbox_dropped"], tenant.number)}
    due = {
        (key[:8], key[16:]): U64.unpack(key[8:16])[0]
        for key, _ in tenant_rows(txn, tables["outbox_due"], tenant.number)
    }
    waiting: Tally[bytes] = Tally()
    for key, value in tenant_rows(txn, tables["outbox"], tenant.number):
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
    yield from _check_lanes(lanes, waiting, dict(ready))
    yield from _check_webhooks(txn, tables, tenant, lanes)


def _check_lanes(lanes: dict[bytes, Lane], waiting: Tally[bytes], ready: Ready) -> Iterator[str]:
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
    everyone = list(webhooks.all())
    secrets = {U64.unpack(key)[0] for key, _ in tenant_rows(txn, tables["webhook_secrets"], tenant.number)}
    for each in everyone:
        if each.number not in secrets:
            yield f"webhook `{each.webhook_id}` has no secret to sign with"
    for number in sorted(secrets - {each.number for each in everyone}):
        yield f"a secret is kept for webhook {number}, which does not exist"
    active = [each for each in everyone if each.status == "active"]
    summary = tuple(Interest(each.number, each.lane, each.events, each.format) for each in active)
    if summary != webhooks.interests():
        yield "the summary of the webhooks is not that of the active ones"
    if {U64.pack(each.lane): each.number for each in active} != {key: lane.number for key, lane in lanes.items()}:
        yield "the active webhooks and the lanes are not the same"

"""Whether what followers have shipped holds together: each log with its head and facts, and the rows that name it."""

from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import Final

import msgspec

from sidecar.core.directory import Tenant
from sidecar.core.errors import StoreUnusable
from sidecar.core.verification import Anchor, verify
from sidecar.service.shipment_store import Follower, ReportedUsage, ShippedLog
from sidecar.state.codec import U32, U32_MAX, U64, decode, short_hash
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import every_row, tenant_rows
from sidecar.state.shipments import BOUND, FOLLOWER, LOG, LOG_NUMBER, ORIGIN, PLACE, Shipments, token_key

_follower: Final = msgspec.msgpack.Decoder(Follower)
_log: Final = msgspec.msgpack.Decoder(ShippedLog)
_usage: Final = msgspec.msgpack.Decoder(ReportedUsage)

_TOKEN_BYTES: Final = 16
_OF_LOGS: Final = ("shipped_audit", "shipped_heads", "shipped_facts")


def check_shipments(txn: Txn, tables: dict[str, Table], tenant: Tenant, shipments: Shipments) -> Iterator[str]:
    """Yield a sentence for each thing of a tenant's followers that does not hold."""
    logs: list[ShippedLog] = []
    listed: set[bytes] = set()
    found: set[bytes] = set()
    for key, value in tenant_rows(txn, tables["followers"], tenant.number):
        try:
            match key[:1]:
                case kind if kind == FOLLOWER:
                    listed.add(PLACE + token_key(decode(value, _follower).token_id) + key[1:])
                case kind if kind == LOG:
                    log = decode(value, _log)
                    logs.append(log)
                    listed.add(ORIGIN + key[1 : 1 + _TOKEN_BYTES] + short_hash(log.origin) + key[1 + _TOKEN_BYTES :])
                    if key[1:] != token_key(log.token_id) + LOG_NUMBER.pack(log.number):
                        yield f"a shipped log of `{log.token_id}` lies in the place of another"
                case kind if kind == BOUND:
                    if len(key) != 1 + _TOKEN_BYTES or value:
                        yield "a row about a follower with budgets of its own names no token"
                case _:
                    found.add(key + value)
        except StoreUnusable as error:
            yield f"a row about followers is damaged: {error.message}"
    if found != listed:
        yield "the followers and their logs are not those that are found by token and name"
    for log in logs:
        yield from _check_log(txn, tables, tenant, shipments, log)
    yield from _check_usages(txn, tables, tenant)


def _check_usages(txn: Txn, tables: dict[str, Table], tenant: Tenant) -> Iterator[str]:
    for key, value in tenant_rows(txn, tables["shipped_usage"], tenant.number):
        try:
            decode(value, _usage)
        except StoreUnusable as error:
            yield f"the usage that was told of budget `{key.decode(errors='replace')}` is damaged: {error.message}"


def _check_log(
    txn: Txn, tables: dict[str, Table], tenant: Tenant, shipments: Shipments, log: ShippedLog
) -> Iterator[str]:
    name = f"the log `{log.origin}` of follower `{log.token_id}`"
    try:
        reader = shipments.reader(log)
    except StoreUnusable as error:
        yield error.message
        return
    head = reader.head()
    rows = ((U64.unpack(key)[0], body) for key, body in tenant_rows(txn, tables["shipped_audit"], log.number))
    anchor = Anchor(head.next_index, head.link)
    report = verify(log.origin, tenant.tenant_id, rows, anchor, lambda ref, seq: reader.fact(ref.digest, seq))
    if report.first_invalid is not None:
        yield f"{name} is broken at {report.first_invalid.seq}: {report.first_invalid.reason}"
    for key, content in tenant_rows(txn, tables["shipped_facts"], log.number):
        if sha256(content).digest() != key[U64.size :]:
            yield f"{name} has a fact that was changed"


def check_shipped_numbers(txn: Txn, tables: dict[str, Table], tenants: Collection[int]) -> Iterator[str]:
    """Yield a sentence for each row of what was shipped that belongs to no log, or to none of ``tenants``."""
    numbers: set[int] = set()
    for key, _ in every_row(txn, tables["followers"]):
        if U32.unpack(key[:4])[0] not in tenants:
            yield f"a row about followers belongs to tenant {U32.unpack(key[:4])[0]}, which does not exist"
        if key[4:5] == LOG:
            number = LOG_NUMBER.unpack(key[-LOG_NUMBER.size :])[0]
            if number in numbers:
                yield f"two followers have shipped log {number}"
            numbers.add(number)
    for table in _OF_LOGS:
        for number in _first_parts(txn, tables[table]):
            if number not in numbers:
                yield f"`{table}` has rows of log {number}, which nobody has shipped"
    for number in _first_parts(txn, tables["shipped_usage"]):
        if number not in tenants:
            yield f"usage was told in tenant {number}, which does not exist"


def _first_parts(txn: Txn, table: Table) -> Iterator[int]:
    """Yield the different numbers that keys of a table begin with."""
    with txn.cursor(db=table) as cursor:
        found = cursor.first()
        while found:
            number = U32.unpack(cursor.key()[:4])[0]
            yield number
            found = number < U32_MAX and cursor.set_range(U32.pack(number + 1))

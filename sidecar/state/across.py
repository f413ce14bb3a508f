"""What lies across the tenants, read once for the check of all of them: tokens, and what lies in order of time."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from sidecar.state.answers_check import check_answers
from sidecar.state.books_check import Due, due_by_tenant
from sidecar.state.card_programs_check import check_card_programs
from sidecar.state.codec import U32
from sidecar.state.delegation_check import check_intents
from sidecar.state.environment import Table, Txn
from sidecar.state.notices import check_notices
from sidecar.state.outbox_check import Ready, ready_by_tenant
from sidecar.state.replica_check import check_replica
from sidecar.state.rows import every_row
from sidecar.state.shipments_check import check_shipped_numbers
from sidecar.state.tenants import DEPLOYMENT
from sidecar.state.tenants_check import check_tenants
from sidecar.state.tokens_check import KeyRing


class Across(NamedTuple):
    """Tokens, and by tenant the keys of what will expire, the lanes that are ready and the payments on their way."""

    keys: KeyRing
    due: dict[int, set[bytes]]
    ready: dict[int, Ready]
    payments: dict[int, Due]


def read_across(txn: Txn, tables: dict[str, Table]) -> Across:
    """Return what lies across the tenants."""
    due: dict[int, set[bytes]] = defaultdict(set)
    for key, _ in every_row(txn, tables["expiry"]):
        due[U32.unpack(key[8:12])[0]].add(key)
    ready, payments = ready_by_tenant(txn, tables["outbox_ready"]), due_by_tenant(txn, tables["payments_due"])
    return Across(KeyRing(txn, tables), due, ready, payments)


def check_deployment(txn: Txn, tables: dict[str, Table], across: Across, tenants: Collection[int]) -> Iterator[str]:
    """Yield a sentence for each thing that does not hold and belongs to none of ``tenants``, by their numbers."""
    keys = across.keys
    for number in sorted(keys.tokens.keys() - set(tenants)):
        for token in keys.tokens[number].values():
            yield f"token `{token.token_id}` belongs to tenant {number}, which does not exist"
    for number in sorted(keys.faults.keys() - set(tenants)):
        yield from keys.faults[number]
    yield from check_answers(txn, tables, DEPLOYMENT)
    yield from check_notices(txn, tables)
    yield from check_tenants(txn, tables)
    yield from check_replica(txn, tables)
    yield from check_intents(txn, tables)
    yield from check_shipped_numbers(txn, tables, tenants)
    yield from check_card_programs(txn, tables, tenants)

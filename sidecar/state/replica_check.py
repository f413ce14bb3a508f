"""Whether what a follower keeps beside the records holds together, with the records and with its own log."""

import struct
from collections.abc import Callable, Iterator
from typing import Final

from sidecar.core.errors import StoreUnusable, ValidationFailed
from sidecar.core.feed import KINDS, read_change
from sidecar.core.staleness import Contact
from sidecar.service.feed_store import ReplicaState
from sidecar.state.environment import Table, Txn
from sidecar.state.replica import Replica
from sidecar.state.rows import every_row
from sidecar.state.transaction import Transaction

_NAMES: Final = {b"state", b"contact", b"fault", b"link", b"staging", b"shipped", b"acknowledged", b"outside"}


def check_replica(txn: Txn, tables: dict[str, Table]) -> Iterator[str]:
    """Yield a sentence for each thing that does not hold; none in a store that follows nobody."""
    for key, _ in every_row(txn, tables["replica"]):
        if key not in _NAMES:
            yield f"the row `{key.decode(errors='replace')}` of the replica is not known"
    replica = Replica(txn, tables)
    readers: dict[str, Callable[[], object]] = {
        "state": replica.state,
        "contact": replica.contact,
        "fault": replica.fault,
        "link": replica.link,
        "staging": replica.staging,
        "shipped": replica.shipped,
        "acknowledged": replica.acknowledged,
        "outside": replica.outside,
    }
    unreadable = [name for name, read in readers.items() if not _can(read)]
    yield from (f"the row `{name}` of the replica cannot be read" for name in unreadable)
    if not unreadable:
        state = replica.state()
        if state is None:
            yield from _check_nothing(replica.contact(), replica.shipped())
        else:
            yield from _check_state(Transaction(txn, tables), state, replica.contact())
    yield from _check_staged(txn, tables)


def _can(read: Callable[[], object]) -> bool:
    try:
        read()
    except (ValueError, struct.error, StoreUnusable):  # msgspec's errors, and those of text, are ValueErrors
        return False
    return True


def _check_nothing(contact: Contact | None, shipped: int) -> Iterator[str]:
    """What is not followed has no contact, and nothing of it was shipped."""
    if contact is not None or shipped:
        yield "the replica follows nothing, and tells of a contact or of records that were shipped"


def _check_state(whole: Transaction, state: ReplicaState, contact: Contact | None) -> Iterator[str]:
    tenant = whole.tenants.find(state.tenant_id)
    if tenant is None:
        yield f"the replica follows tenant `{state.tenant_id}`, which is not there"
        return
    revision = whole.tenants.revisions(tenant.number).entities
    if revision != state.revision:
        yield f"the replica is at revision {state.revision}, tenant `{state.tenant_id}` at {revision}"
    digest = whole.policy_files_digest()
    if digest is None or digest.hex() != state.files_digest:
        yield "the replica has other policy files than those that hold"
    absent = next((each for each in whole.replica.outside() if whole.of(tenant).identities.get(each) is None), None)
    if absent is not None:
        yield f"the replica knows identity `{absent}` from outside, which is not there"
    if contact is not None and contact.head > state.revision:
        yield f"the replica was confirmed revision {contact.head}, and is at {state.revision}"
    size = whole.of(tenant).audit.head().next_index
    if whole.replica.shipped() > size:
        yield f"the replica has shipped {whole.replica.shipped()} records, its log has {size}"


def _check_staged(txn: Txn, tables: dict[str, Table]) -> Iterator[str]:
    for key, value in every_row(txn, tables["staged"]):
        name = key[1:].decode(errors="replace")
        try:
            change = read_change(value)
        except ValidationFailed:
            yield f"the staged record `{name}` cannot be read"
            continue
        if bytes((KINDS.index(change.kind) + 1,)) + change.id.encode() != key:
            yield f"the staged record `{name}` is filed under another kind or id than its own"

"""Whether a tenant's money holds together (I5), recomputed from the journal, and its payments with the log.

The log tells of every movement, leg by leg, so an entry that was changed shows against its record, a balance against
its entries, and a payment against the newest record of it.
"""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

from sidecar.core.accounts import Account, Balance, asset_of, is_own, may_be_negative
from sidecar.core.directory import walk
from sidecar.core.errors import NotFound, StoreUnusable
from sidecar.core.ids import PAYMENT, id_of
from sidecar.core.payments import Payment, request_key
from sidecar.service.payment_store import ListOf
from sidecar.state.books import BALANCE_ROW, read_entry
from sidecar.state.codec import U64, short_hash
from sidecar.state.environment import Table, Txn
from sidecar.state.payments import DUE_ROW, LISTS, read_payment
from sidecar.state.rows import every_row, tenant_rows
from sidecar.state.tenant_transaction import TenantTransaction

MOVING: Final = frozenset({"deposit", "withdrawal", "payment"})
"""Kinds of records that can move value."""


class Step(NamedTuple):
    """What the newest record of a payment tells of it; ``place`` is that of its first one."""

    place: int
    status: str
    content: tuple[object, ...]


class Movements:
    """What a log tells so far of the journal and of payments."""

    def __init__(self) -> None:
        """Begin before the first record."""
        self.moved: dict[int, tuple[str, list[list[object]]]] = {}
        self.payments: dict[str, Step] = {}

    def note(self, seq: int, fields: Mapping[str, Any]) -> None:
        """Take in the next record of the log."""
        kind = fields.get("type", "")
        if kind not in MOVING:
            return
        if "moved" in fields:
            self.moved[seq] = kind, fields["moved"]
        if kind == "payment":
            first = self.payments.get(fields["payment"])
            self.payments[fields["payment"]] = Step(seq if first is None else first.place, *_told(fields))


def _told(fields: Mapping[str, Any]) -> tuple[str, tuple[object, ...]]:
    names = ("identity", "from", "to", "asset", "network", "amount", "decision", "debug", "transaction")
    return fields["status"], tuple(fields.get(name) for name in names)


Due: TypeAlias = dict[bytes, list[int]]
"""When each payment of one tenant that is on its way is looked after."""


def due_by_tenant(txn: Txn, table: Table) -> dict[int, Due]:
    """Return when payments on their way are looked after, by tenant: they lie by time, so all are read at once."""
    found: dict[int, Due] = defaultdict(dict)
    for key, _ in every_row(txn, table):
        due_us, number, ulid = DUE_ROW.unpack(key)
        found[number].setdefault(ulid, []).append(due_us)
    return found


class BooksCheck:
    """The check of one tenant's balances, journal and payments."""

    def __init__(self, txn: Txn, tables: dict[str, Table], part: TenantTransaction, told: Movements) -> None:
        """Check ``part`` against what its whole log tells."""
        self._txn = txn
        self._tables = tables
        self._part = part
        self._told = told
        self._sums: Tally[str] = Tally()
        self._awaited: Tally[str] = Tally()

    def run(self, due: Due) -> Iterator[str]:
        """Yield a sentence for each thing that does not hold; ``due`` is what is looked after, and when."""
        yield from self._check_payments(due)
        yield from self._check_journal()
        yield from self._check_balances()

    def _rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        return tenant_rows(self._txn, self._tables[table], self._part.tenant.number)

    def _check_journal(self) -> Iterator[str]:
        """Each entry sums to zero and is what its record tells; each movement of the log is an entry."""
        moved = dict(self._told.moved)
        for key, value in self._rows("journal"):
            seq = U64.unpack(key)[0]
            try:
                entry = read_entry(value)
            except StoreUnusable as error:
                yield f"entry {seq} cannot be read: {error}"
                continue
            for leg in entry.legs:
                self._sums[leg.account] += leg.minor
            if sum(leg.minor for leg in entry.legs) != 0:
                yield f"the legs of entry {seq} do not sum to zero"
            if moved.pop(seq, None) != (entry.kind, [[leg.account, leg.minor] for leg in entry.legs]):
                yield f"entry {seq} is not what its record tells"
        for seq in moved:
            yield f"record {seq} moved something, and the journal has no entry of it"

    def _check_balances(self) -> Iterator[str]:
        """Each balance is the sum of its legs, none but the world outside is negative, and each asset sums to zero."""
        assets: Tally[str] = Tally()
        for key, row in self._rows("balances"):
            account, balance = key.decode(), Balance(*BALANCE_ROW.unpack(row))
            posted, awaited = self._sums.pop(account, 0), self._awaited.pop(account, 0)
            if balance.minor != posted:
                yield f"account `{account}` holds {balance.minor}, its entries add up to {posted}"
            if balance.awaited != awaited:
                yield f"account `{account}` awaits {balance.awaited} payments, {awaited} are on their way"
            if balance.minor < 0 and not may_be_negative(account):
                yield f"account `{account}` is negative"
            asset = asset_of(account) if is_own(account) else self._asset(account)
            if asset is None:
                yield f"account `{account}` has a balance and does not exist"
            else:
                assets[asset] += balance.minor
        for account in sorted(self._sums.keys() | self._awaited.keys()):
            yield f"account `{account}` has entries or payments on their way, and no balance"
        for asset, minor in assets.items():
            if minor:
                yield f"the accounts of `{asset}` do not sum to zero but to {minor}"

    def _asset(self, account_id: str) -> str | None:
        account: Account | None = self._part.accounts.get(account_id)
        return None if account is None else account.asset

    def _check_payments(self, due: Due) -> Iterator[str]:
        """Each payment is what the log tells, stands in its lists, and is looked after while it is on its way."""
        listed: set[tuple[bytes, bytes]] = set()
        requests: set[tuple[bytes, bytes]] = set()
        told, left = dict(self._told.payments), dict(due)
        for ulid, value in self._rows("payments"):
            name = f"payment `{id_of(PAYMENT, ulid)}`"
            try:
                payment = read_payment(value)
                listed |= {(key, ulid) for key in self._places(payment)}
            except (StoreUnusable, NotFound) as error:
                yield f"{name} cannot be read: {error}"
                continue
            if payment.request_id is not None:
                requests.add((short_hash(request_key(payment.identity_id, payment.request_id)), ulid))
            if payment.status == "initiated":
                self._awaited.update((payment.from_account_id, payment.to_account_id))
            yield from self._check_payment(name, ulid, payment, told.pop(payment.payment_id, None))
            if left.pop(ulid, []) != ([] if payment.retry_at_us is None else [payment.retry_at_us]) or (
                payment.status == "initiated"
            ) != (payment.retry_at_us is not None):
                yield f"{name} is `{payment.status}` and is not looked after as it is to be"
        for payment_id in told:
            yield f"payment `{payment_id}` is in the log and not in the store"
        for ulid in left:
            yield f"payment `{id_of(PAYMENT, ulid)}` is looked after and does not exist"
        yield from _compare("a list", set(self._rows("payment_lists")), listed)
        yield from _compare("the callers' own ids", set(self._rows("payment_requests")), requests)

    def _check_payment(self, name: str, ulid: bytes, payment: Payment, told: Step | None) -> Iterator[str]:
        if payment.payment_id != id_of(PAYMENT, ulid):
            yield f"{name} is filed under another id than its own"
        content = (
            *(payment.identity_id, payment.from_account_id, payment.to_account_id, payment.currency, payment.network),
            *(payment.amount_minor, payment.decision_id, payment.debug_mode or None, payment.transaction_hash),
        )
        if told is None:
            yield f"{name} is in the store and not in the log"
        elif told != Step(payment.place, payment.status, content):
            yield f"{name} is not what its newest record in the log tells"
        if payment.decision_id is not None and self._part.answers.decision(payment.decision_id) is None:
            yield f"{name} rests on the decision `{payment.decision_id}`, which does not exist"

    def _places(self, payment: Payment) -> Iterator[bytes]:
        """Yield where the lists have a payment, written down a second time, so that a mistake there shows here."""
        find = self._part.identities.get
        chains = (walk(name, find) for name in (payment.identity_id, payment.sender_id, payment.receiver_id))
        everybody = {identity.identity_id for identity in chain.from_iterable(chains)}
        named: list[tuple[ListOf, str]] = [
            *(("within", identity_id) for identity_id in everybody),
            ("actor", payment.identity_id),
            ("sender", payment.sender_id),
            ("receiver", payment.receiver_id),
            ("account", payment.from_account_id),
            ("account", payment.to_account_id),
        ]
        for of, name in named:
            yield LISTS[of] + short_hash(name) + U64.pack(payment.place)


def _compare(where: str, found: set[tuple[bytes, bytes]], expected: set[tuple[bytes, bytes]]) -> Iterator[str]:
    for _, ulid in sorted(found - expected):
        yield f"payment `{id_of(PAYMENT, ulid)}` stands in {where} where it does not belong"
    for _, ulid in sorted(expected - found):
        yield f"payment `{id_of(PAYMENT, ulid)}` is missing in {where}"

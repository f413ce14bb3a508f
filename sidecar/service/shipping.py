"""A follower's audit log on its way to the control plane: what is sent next, and what its answer means.

The log itself is the queue: nothing is kept beside it but the index of the first record that the control plane is not
known to have. It is read in short transactions, so that no decision waits for it. A log that the control plane does not
take is a fault of this follower, which decides nothing more: what it decides could not be told. The fault ends when the
control plane takes the log after all; that of a store that was set back never does.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec
import orjson

from sidecar.core.audit import encode_hash
from sidecar.core.errors import Conflict, Unavailable, ValidationFailed
from sidecar.core.history import ENDINGS
from sidecar.core.limits import SHIPPED_RECORDS_MAX
from sidecar.core.log_entries import Fields
from sidecar.core.shipment import own_facts
from sidecar.core.staleness import Instant, age_us
from sidecar.core.windows import window_at, zone
from sidecar.service.feed_store import ReplicaState
from sidecar.service.store import Store, TenantTransaction, Transaction

PARCEL_BYTES: Final = 1 << 20
"""Of records and facts, after which a parcel is closed; as JSON text they are at most twice that."""

FACT_BYTES_MAX: Final = 3 << 20
"""A longer fact is not shipped: it would not fit a call. The longest list of policies has two thirds of it."""

USAGES_MAX: Final = 500
"""Budgets told of in one parcel, after which it is closed."""

SENT_MAX: Final = 4_096
"""Addresses of shared facts remembered as sent, so that they are not sent again with each record."""

FAULT: Final = "the control plane does not take this follower's audit log: "
"""What the reason begins with for which nothing more is decided."""


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What is posted: ``body`` holds the records from ``from_seq`` to before ``to_seq``, none where it only asks.

    ``head`` is the size that the log had; ``shared`` are the addresses of facts in it that many records refer to.
    """

    body: bytes
    from_seq: int
    to_seq: int
    head: int
    shared: tuple[bytes, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What the control plane answers: ``follower_id`` is the token that it was asked with."""

    next_seq: int
    received: int
    follower_id: str


class _Log(NamedTuple):
    """What is read at once: the follower's state, its tenant's part, and the first record to be shipped."""

    txn: Transaction
    state: ReplicaState
    part: TenantTransaction
    start: int


_answer: Final = msgspec.json.Decoder(Answer)


class Shipping:
    """What a follower ships."""

    def __init__(self, store: Store, instant: Callable[[], Instant]) -> None:
        """Work on ``store``; ``instant`` reads the clocks."""
        self._store = store
        self._instant = instant
        self._sent: set[bytes] = set()
        self._beyond = 0

    def backlog(self) -> int:
        """Return how many records the control plane is not known to have."""
        with self._store.read() as txn:
            log = _log_of(txn)
            return 0 if log is None else log.part.audit.head().next_index - log.start

    def question(self) -> Parcel | None:
        """Return what asks where to begin and tells how this follower is; None before anything was followed."""
        with self._store.read() as txn:
            log = _log_of(txn)
            return None if log is None else self._parcel(log, max(log.start, self._beyond), (), {}, ())

    def parcel(self) -> Parcel | None:
        """Return the next records with their facts; None where the control plane has all, or says that it has more."""
        with self._store.read() as txn:
            log = _log_of(txn)
            if log is None:
                return None
            size = log.part.audit.head().next_index
            if log.start >= size or self._beyond > size:
                return None
            bodies: list[bytes] = []
            facts: dict[bytes, bytes] = {}
            shared: set[bytes] = set()
            budgets: set[str] = set()
            length = 0
            for seq, body in log.part.audit.read(log.start, SHIPPED_RECORDS_MAX):
                fields: Fields = orjson.loads(body)
                for digest, place, content in self._facts(log.part, seq, fields, facts):
                    facts[digest] = content
                    length += len(content)
                    if place is None:
                        shared.add(digest)
                bodies.append(body)
                budgets.update(_budgets(log.part, fields))
                length += len(body)
                if length >= PARCEL_BYTES or len(budgets) >= USAGES_MAX:
                    break
            parcel = self._parcel(log, log.start, bodies, facts, budgets)
            return msgspec.structs.replace(parcel, shared=tuple(shared))

    def _facts(
        self, part: TenantTransaction, seq: int, fields: Fields, packed: dict[bytes, bytes]
    ) -> Iterator[tuple[bytes, int | None, bytes]]:
        """Yield the facts that go with a record and are not there yet, as address, place and content."""
        with suppress(ValidationFailed):  # the control plane names the record
            for digest, place in own_facts(seq, fields):
                if digest in packed or digest in self._sent:
                    continue
                content = part.audit.fact(digest, seq)
                if content is not None and len(content) <= FACT_BYTES_MAX:
                    yield digest, place, content

    def _parcel(
        self, log: _Log, start: int, bodies: Iterable[bytes], facts: dict[bytes, bytes], budgets: Iterable[str]
    ) -> Parcel:
        now = self._instant()
        head = log.part.audit.head()
        age = age_us(log.txn.replica.contact(), now)
        records = [body.decode() for body in bodies]
        document = {
            "origin": log.part.audit.origin,
            "from_seq": start,
            "records": records,
            "facts": [content.decode() for content in facts.values()],
            "status": {
                "revision": log.state.revision,
                "age_ms": None if age is None else age // 1_000,
                "head": head.next_index,
                "hash": encode_hash(head.link),
                "usages": [*_usages(log, budgets, now.wall_us)],
            },
        }
        return Parcel(body=orjson.dumps(document), from_seq=start, to_seq=start + len(records), head=head.next_index)

    async def received(self, parcel: Parcel, answer: bytes) -> None:
        """Take note of the control plane's answer to a parcel.

        Raises Unavailable for one that cannot be read, and Conflict where the control plane has more records than there
        are: then the next question tells it so.
        """
        try:
            told = _answer.decode(answer)
        except msgspec.DecodeError as error:
            raise Unavailable(f"the answer to what was shipped cannot be read: {error}") from error
        if told.next_seq > parcel.head:
            self._beyond = told.next_seq
            reason = f"it has {told.next_seq} records of it and there are {parcel.head}, so that it was set back"
            await self.refused(reason)
            raise Conflict(reason)
        self._beyond = 0
        if told.next_seq < parcel.from_seq:  # it was set back itself, and may lack what it had
            self._sent.clear()
        else:
            if len(self._sent) + len(parcel.shared) > SENT_MAX:
                self._sent.clear()
            self._sent.update(parcel.shared)
        is_taken = parcel.to_seq > parcel.from_seq or told.next_seq == parcel.head
        with self._store.read() as txn:
            is_news = txn.replica.shipped() != told.next_seq or (is_taken and txn.replica.fault() is not None)
            is_news |= told.next_seq > 0 and txn.replica.acknowledged() != told.follower_id
        if is_news:
            await self._store.write(lambda txn: _keep(txn, told, is_taken=is_taken))

    async def refused(self, reason: str) -> None:
        """Take note that the control plane does not take this log: nothing is decided until it does."""

        def work(txn: Transaction) -> None:
            if txn.replica.fault() is None:
                txn.replica.keep_fault(FAULT + reason)

        await self._store.write(work)


def _keep(txn: Transaction, told: Answer, *, is_taken: bool) -> None:
    txn.replica.keep_shipped(told.next_seq)
    if told.next_seq:
        txn.replica.acknowledge(told.follower_id)
    fault = txn.replica.fault()
    if is_taken and fault is not None and fault.startswith(FAULT):
        txn.replica.keep_fault(None)


def _log_of(txn: Transaction) -> _Log | None:
    """Return the log of the tenant that is followed, None before there is one."""
    state = txn.replica.state()
    tenant = None if state is None else txn.tenants.find(state.tenant_id)
    if state is None or tenant is None:
        return None
    return _Log(txn, state, txn.of(tenant), txn.replica.shipped())


def _budgets(part: TenantTransaction, fields: Fields) -> Iterator[str]:
    """Yield the budgets whose usage a record changed."""
    if fields.get("type") == "decision":
        claimed = fields.get("budgets")
        yield from (row[0] for row in claimed if isinstance(row, list)) if isinstance(claimed, list) else ()
    elif fields.get("type") in ENDINGS:
        reservation = part.ledger.reservation(str(fields.get("decision")))
        if reservation is not None:
            yield from (claim.budget_id for claim in reservation.claims)


def _usages(log: _Log, budgets: Iterable[str], now_us: int) -> Iterator[tuple[str, int | None, int, int]]:
    """Yield the usage of those budgets that only this follower decides on; a rolling window has no beginning."""
    for budget_id in sorted(budgets):
        budget = log.part.budgets.get(budget_id)
        if budget is None or budget.follower_id != log.state.follower_id:
            continue
        window = window_at(budget.period, now_us, zone(log.part.tenant.time_zone))
        if window is not None:
            usage = log.part.ledger.usage_in(budget, window)
            start_us = None if budget.period == "rolling_24h" else window.start_us
            yield budget_id, start_us, usage.settled, usage.held

"""Whether a store holds together: invariants I1 to I5 recomputed from what they are made of, then records and outbox.

Everything is read in one transaction, so a running server does not disturb it. Nothing is mended: a store that fails
must not be used, and what is wrong is for a person to judge. The same check ends every crash test.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from sidecar.core.audit import link_of
from sidecar.core.directory import Tenant
from sidecar.core.ids import id_of
from sidecar.core.log_entries import digest_of, text_of
from sidecar.core.reservation import Reservation
from sidecar.core.verification import Anchor, verify
from sidecar.state.across import Across, check_deployment, read_across
from sidecar.state.answers_check import check_answers
from sidecar.state.books_check import BooksCheck, Movements
from sidecar.state.budgets_check import BudgetCheck
from sidecar.state.card_check import CardCheck, CardEvents
from sidecar.state.codec import U64
from sidecar.state.delegation_check import check_delegated
from sidecar.state.environment import Environment, Table, Txn
from sidecar.state.outbox_check import check_outbox
from sidecar.state.records_check import Told, check_records
from sidecar.state.rows import tenant_rows
from sidecar.state.shadow_check import check_shadow
from sidecar.state.shipments_check import check_shipments
from sidecar.state.tenant_transaction import TenantTransaction
from sidecar.state.transaction import Transaction

FAULTS_MAX: Final = 100
"""Faults reported per tenant; more would not say more."""

DEPLOYMENT_NAME: Final = "(deployment)"
"""In place of a tenant's id, and none itself: what belongs to no tenant. Told only when it has faults."""

_reservation: Final = msgspec.msgpack.Decoder(Reservation)


class Fault(NamedTuple):
    """One thing that does not hold: which invariant, and what is wrong where."""

    invariant: str
    message: str


class Checked(NamedTuple):
    """What was looked at in one tenant, and what was wrong."""

    tenant_id: str
    records: int
    reservations: int
    windows: int
    faults: tuple[Fault, ...]


def check(environment: Environment) -> Iterator[Checked]:
    """Yield what was found in each tenant, in order of creation, then in the deployment where that has faults."""
    tables = environment.tables
    with environment.read() as txn:
        whole = Transaction(txn, tables)
        across = read_across(txn, tables)
        numbers = set()
        for tenant in whole.tenants.after(0):
            numbers.add(tenant.number)
            yield _Check(txn, tables, whole.of(tenant), across).run()
        messages = list(check_deployment(txn, tables, across, numbers))
        if messages:
            faults = tuple(Fault("records", message) for message in messages[:FAULTS_MAX])
            yield Checked(DEPLOYMENT_NAME, 0, 0, 0, faults)


class _Check:
    """The check of one tenant."""

    def __init__(self, txn: Txn, tables: dict[str, Table], part: TenantTransaction, across: Across) -> None:
        self._txn = txn
        self._tables = tables
        self._across = across
        self._told = Told(self._fact)
        self._movements = Movements()
        self._card_events = CardEvents()
        self._part = part
        self._tenant: Tenant = part.tenant
        self._faults: list[Fault] = []
        self._manifests: set[str] = set()
        self._records = 0

    def run(self) -> Checked:
        self._check_chain()
        self._check_decisions()
        number = self._tenant.number
        budgets = BudgetCheck(self._txn, self._tables, self._part)
        for found in budgets.run(self._across.due[number]):
            self._blame(*found)
        books = BooksCheck(self._txn, self._tables, self._part, self._movements)
        for message in books.run(self._across.payments[number]):
            self._blame("I5", message)
        for message in CardCheck(self._txn, self._tables, self._part, self._card_events).run():
            self._blame("cards", message)
        self._check_records()
        for message in check_outbox(self._txn, self._tables, self._tenant, self._across.ready[number]):
            self._blame("outbox", message)
        faults = tuple(self._faults[:FAULTS_MAX])
        return Checked(self._tenant.tenant_id, self._records, budgets.reservations, budgets.windows, faults)

    def _blame(self, invariant: str, message: str) -> None:
        if len(self._faults) < FAULTS_MAX:
            self._faults.append(Fault(invariant, message))

    def _rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Return this tenant's rows of a table, keys without the tenant."""
        return tenant_rows(self._txn, self._tables[table], self._tenant.number)

    def _check_chain(self) -> None:
        """I4, and of I3 that sequence numbers have no gap."""
        head = self._part.audit.head()
        rows = ((U64.unpack(key)[0], body) for key, body in self._rows("audit"))
        report = verify(
            self._part.audit.origin,
            self._tenant.tenant_id,
            rows,
            Anchor(head.next_index, head.link),
            lambda ref, seq: self._part.audit.fact(ref.digest, seq),
        )
        if report.first_invalid is not None:
            self._blame("I4", f"record {report.first_invalid.seq}: {report.first_invalid.reason}")

    def _check_decisions(self) -> None:
        """I3 and I2.

        Each decision stands in the log once, at its place, and a permit's record matches its reservation.
        """
        seen: set[str] = set()
        for key, body in self._rows("audit"):
            self._records += 1
            fields, seq = orjson.loads(body), U64.unpack(key)[0]
            for message in self._told.note(seq, fields):
                self._blame("records", message)
            self._movements.note(seq, fields)
            self._card_events.note(fields)
            if fields.get("type") == "forced":
                self._check_policies(fields["policies"], seq)
                self._check_claims(fields["decision"], fields)
            if fields.get("type") != "decision":
                continue
            decision_id = fields["decision"]
            if decision_id in seen:
                self._blame("I3", f"decision `{decision_id}` stands in the log twice, again at {seq}")
            seen.add(decision_id)
            self._check_decision(decision_id, seq, body)
            self._check_policies(fields["policies"], seq)
            self._check_claims(decision_id, fields)
        for key, _ in self._rows("decisions"):
            if id_of("dec", key) not in seen:
                self._blame("I3", f"decision `{id_of('dec', key)}` was answered and is not in the log")
        seen |= self._card_events.forced
        for key, _ in self._rows("reservations"):
            if id_of("dec", key) not in seen:
                self._blame("I2", f"reservation `{id_of('dec', key)}` has no record")

    def _check_decision(self, decision_id: str, seq: int, body: bytes) -> None:
        stored = self._part.answers.decision(decision_id)
        if stored is None or stored.audit is None:
            self._blame("I3", f"decision `{decision_id}` at {seq} has no stored answer")
        elif (stored.audit.seq, stored.audit.hash) != (seq, text_of(link_of(body))):
            self._blame(
                "I3", f"decision `{decision_id}` was answered with record {stored.audit.seq}, it stands at {seq}"
            )

    def _check_policies(self, digest: str, seq: int) -> None:
        """Of I4: every text that a policy set's manifest names is kept as it was; each manifest is looked at once."""
        if digest in self._manifests:
            return
        self._manifests.add(digest)
        manifest = self._fact(digest, seq)
        if manifest is None:
            return
        named = orjson.loads(manifest)
        texts = [*(row[1] for row in named["schemas"] + named["files"]), *(row[3] for row in named["api"])]
        for text in texts:
            content = self._fact(text, seq)
            if content is not None and text_of(sha256(content).digest()) != text:
                self._blame("I4", f"a policy text behind record {seq} was changed")

    def _fact(self, digest: str, seq: int) -> bytes | None:
        address = digest_of(digest)
        return None if address is None else self._part.audit.fact(address, seq)

    def _check_claims(self, decision_id: str, fields: dict[str, Any]) -> None:
        reservation = self._part.ledger.reservation(decision_id)
        recorded = fields["budgets"]
        asks = any(name in fields for name in ("amount", "quantities"))
        if fields.get("verdict") == "deny":
            if reservation is not None:
                self._blame("I2", f"the denial `{decision_id}` has a reservation")
        elif reservation is None:
            if asks or recorded:
                self._blame("I2", f"the permit `{decision_id}` has no reservation")
        elif _claims(reservation) != [[row[0], row[3], row[6]] for row in recorded]:
            self._blame("I2", f"the reservation of `{decision_id}` has other claims than its record")

    def _check_records(self) -> None:
        number, keys = self._tenant.number, self._across.keys
        for message in chain(
            check_records(self._txn, self._tables, number, self._told, keys.tokens[number]),
            keys.faults[number],
            check_answers(self._txn, self._tables, number),
            check_shadow(self._txn, self._tables, number),
            check_shipments(self._txn, self._tables, self._tenant, self._part.shipments),
            check_delegated(self._txn, self._tables, self._part),
        ):
            self._blame("records", message)


def _claims(reservation: Reservation) -> list[list[object]]:
    """Return what a reservation claims, as its audit record tells it: budget, window, figure."""
    measures = reservation.measures
    return [[claim.budget_id, claim.window_start_us, measures[claim.dimension].asked] for claim in reservation.claims]

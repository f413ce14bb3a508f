"""Whether a store holds together: invariants I1 to I4 recomputed from what they are made of, then records and outbox.

Everything is read in one transaction, so a running server does not disturb it. Nothing is mended: a store that fails
must not be used, and what is wrong is for a person to judge. The same check ends every crash test.
"""

from collections import Counter as Tally
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
from sidecar.state.codec import U32, U64, U64_MAX, decode
from sidecar.state.environment import Environment, Table, Txn
from sidecar.state.ledger import COUNTER_ROW, PAIR_ROW, Counter
from sidecar.state.outbox_check import check_outbox
from sidecar.state.records_check import Told, check_records
from sidecar.state.rows import tenant_rows
from sidecar.state.shadow_check import check_shadow
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


class Window(NamedTuple):
    """One row of figures: a budget's calendar or total window, or one second of a rolling one."""

    budget: bytes
    start: int
    is_second: bool


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
        self._told = Told()
        self._part = part
        self._tenant: Tenant = part.tenant
        self._prefix = U32.pack(part.tenant.number)
        self._faults: list[Fault] = []
        self._manifests: set[str] = set()
        self._settled: Tally[Window] = Tally()
        self._held: Tally[Window] = Tally()
        self._records = 0
        self._reservations = 0
        self._windows = 0

    def run(self) -> Checked:
        self._check_chain()
        self._check_decisions()
        self._check_reservations()
        self._check_windows()
        self._check_expiry()
        self._check_records()
        for message in check_outbox(self._txn, self._tables, self._tenant, self._across.ready[self._tenant.number]):
            self._blame("outbox", message)
        faults = tuple(self._faults[:FAULTS_MAX])
        return Checked(self._tenant.tenant_id, self._records, self._reservations, self._windows, faults)

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
        if fields["verdict"] == "deny":
            if reservation is not None:
                self._blame("I2", f"the denial `{decision_id}` has a reservation")
        elif reservation is None:
            if asks or recorded:
                self._blame("I2", f"the permit `{decision_id}` has no reservation")
        elif _claims(reservation) != [[row[0], row[3], row[6]] for row in recorded]:
            self._blame("I2", f"the reservation of `{decision_id}` has other claims than its record")

    def _check_reservations(self) -> None:
        """Add up what reservations hold, per window (I1)."""
        for key, value in self._rows("reservations"):
            self._reservations += 1
            reservation = decode(value, _reservation)
            if reservation.decision_id != id_of("dec", key):
                self._blame("I2", f"the reservation of `{reservation.decision_id}` lies under another key")
            for claim in reservation.claims:
                if claim.window_start_us is None:
                    continue
                rolls = claim.period == "rolling_24h"
                start = claim.window_start_us // 1_000_000 if rolls else claim.window_start_us
                window = Window(self._budget(claim.budget_id), start, rolls)
                self._settled[window] += claim.settled
                self._held[window] += claim.held

    def _budget(self, budget_id: str) -> bytes:
        return self._part.ledger.budget_key(budget_id)

    def _check_windows(self) -> None:
        """I1: counters are the sums over reservations and within what was granted."""
        seconds: Tally[bytes] = Tally()
        rolling = {
            key[:-8]: Counter(*COUNTER_ROW.unpack(row)) for key, row in self._rows("counters") if _is_rolling(key)
        }
        for key, value in self._rows("rolling"):
            budget, second = key[:-8], U64.unpack(key[-8:])[0]
            settled, held = PAIR_ROW.unpack(value)
            self._compare(Window(budget, second, is_second=True), settled, held)
            if budget in rolling and second >= rolling[budget].floor_s:
                seconds[budget] += settled + held
        for budget, counter in rolling.items():
            if counter.usage.total != seconds[budget]:
                self._blame("I1", f"{_name(budget)} counts {counter.usage.total} in 24 hours, its seconds add up to "
                            f"{seconds[budget]}")  # fmt: skip
            self._check_bound(budget, counter)
        for key, row in self._rows("counters"):
            if not _is_rolling(key):
                counter = Counter(*COUNTER_ROW.unpack(row))
                self._compare(Window(key[:-8], U64.unpack(key[-8:])[0], is_second=False), counter.settled, counter.held)
                self._check_bound(key[:-8], counter)
        for window in self._settled.keys() | self._held.keys():
            if self._settled[window] or self._held[window]:
                self._blame("I1", f"{_name(window.budget)} from {window.start} misses what reservations hold there")

    def _compare(self, window: Window, settled: int, held: int) -> None:
        self._windows += 1
        expected = self._settled.pop(window, 0), self._held.pop(window, 0)
        if (settled, held) != expected:
            self._blame(
                "I1",
                f"{_name(window.budget)} from {window.start} has settled {settled} and held {held}, "
                f"its reservations {expected[0]} and {expected[1]}",
            )
        if settled < 0 or held < 0:
            self._blame("I1", f"{_name(window.budget)} from {window.start} has a negative figure")

    def _check_bound(self, budget: bytes, counter: Counter) -> None:
        if counter.usage.total > counter.ceiling + counter.overdraft:
            self._blame("I1", f"{_name(budget)} holds {counter.usage.total}, granted were {counter.ceiling}")

    def _check_records(self) -> None:
        number, keys = self._tenant.number, self._across.keys
        for message in chain(
            check_records(self._txn, self._tables, number, self._told, keys.tokens[number]),
            keys.faults[number],
            check_answers(self._txn, self._tables, number),
            check_shadow(self._txn, self._tables, number),
        ):
            self._blame("records", message)

    def _check_expiry(self) -> None:
        """What will expire is exactly what is held."""
        due = self._across.due[self._tenant.number]
        for ulid, value in self._rows("reservations"):
            reservation = decode(value, _reservation)
            key = U64.pack(reservation.expires_at_us) + self._prefix + ulid
            if (reservation.state == "held") != (key in due):
                self._blame("I1", f"the reservation `{reservation.decision_id}` is `{reservation.state}` and will "
                            f"{'' if key in due else 'not '}expire")  # fmt: skip
            due.discard(key)
        for key in due:
            self._blame("I1", f"`{id_of('dec', key[12:])}` will expire and does not exist")


def _claims(reservation: Reservation) -> list[list[object]]:
    """Return what a reservation claims, as its audit record tells it: budget, window, figure."""
    measures = reservation.measures
    return [[claim.budget_id, claim.window_start_us, measures[claim.dimension].asked] for claim in reservation.claims]


def _is_rolling(key: bytes) -> bool:
    return key[-8:] == U64.pack(U64_MAX)


def _name(budget: bytes) -> str:
    return f"budget `{id_of('bud', budget)}`"

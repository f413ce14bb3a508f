"""Each invariant is broken by hand, and the check names it; a store that only the sidecar wrote holds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import orjson
import pytest

from sidecar.core.access import Caller
from sidecar.core.budget import OnExpiry
from sidecar.core.directory import Tenant
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.money import Major
from sidecar.core.reservation import Reservation
from sidecar.core.rules import Rules
from sidecar.core.windows import Period
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.budgets import BudgetFilter
from sidecar.service.paging import PageRequest
from sidecar.service.policies import PolicyDraft
from sidecar.service.settlement import Wanted
from sidecar.service.tenants import TenantDraft
from sidecar.state.codec import U32, U64, decode, encode
from sidecar.state.fsck import FAULTS_MAX, Fault, check
from sidecar.state.ledger import COUNTER_ROW, PAIR_ROW
from tests.service.builders import OPERATOR, World

BUYER = "dana"
Rows = dict[bytes, bytes]


class Store:
    """A world with one tenant that decided, settled, released and was denied; its rows can be changed by hand."""

    def __init__(self, world: World) -> None:
        """Decide something of every kind."""
        self.world = world
        draft = TenantDraft("Acme", "acme", "UTC", "live", BUYER, "Dana", "user")
        self.tenant: Tenant = world.run(world.tenancy.create(OPERATOR, draft, world.now_us)).value.tenant
        policy = PolicyDraft("all", None, Rules(actions=("card.authorize", "tool.call")), "{}", None)
        world.run(world.legislator.create(OPERATOR, "acme", policy, world.now_us))
        self.budget("amount", "daily", "CAD")
        self.budget("amount", "rolling_24h", "CAD")
        self.budget("amount", "per_transaction", "CAD")
        self.budget("count", "total", None)
        self.held = self.authorize(1000)
        self.settled = self.authorize(2000)
        wanted = Wanted(Major.parse("5"), {}, final=True)
        world.run(world.settler.settle(OPERATOR, "acme", self.settled, wanted, None, world.now_us))
        self.released = self.authorize(3000)
        world.run(world.settler.release(OPERATOR, "acme", self.released, None, world.now_us))
        self.denied = self.authorize(10_000_000)
        self.counted = self.authorize(None)

    def budget(self, dimension: str, period: Period, currency: str | None, on_expiry: OnExpiry = "release") -> None:
        """Make a budget of 1,000."""
        draft = BudgetDraft(
            identity_id=BUYER,
            name=f"{dimension} {period}",
            dimension=dimension,
            period=period,
            limit=Major.parse("1000"),
            currency=currency,
            actions=(),
            on_exceeded="deny",
            on_expiry=on_expiry,
            notify_at_bp=8000,
        )
        self.world.run(self.world.treasurer.create(OPERATOR, "acme", draft, self.world.now_us))

    def authorize(self, amount_minor: int | None, caller: Caller = OPERATOR) -> str:
        """Ask for an amount in cents, or for a tool call; returns the decision's id."""
        spends = amount_minor is not None
        request = AuthorizeRequest(
            identity_id=BUYER,
            action="card.authorize" if spends else "tool.call",
            resource=ResourceRef("merchant", "AWS") if spends else ResourceRef("tool", "search"),
            amount_minor=amount_minor,
            currency="CAD" if spends else None,
            ttl_seconds=3600,
        )
        world = self.world
        answered = world.run(world.authorizer.authorize(caller, "acme", request, None, world.now_us))
        assert answered.decision.decision_id is not None
        return answered.decision.decision_id

    def rows(self, table: str) -> Rows:
        """Every row of a table of this tenant."""
        prefix = b"" if table == "expiry" else U32.pack(self.tenant.number)
        environment = self.world.environment
        with environment.read() as txn, txn.cursor(db=environment.tables[table]) as cursor:
            return {bytes(key): bytes(value) for key, value in cursor if bytes(key).startswith(prefix)}

    def change(self, table: str, changed: dict[bytes, bytes | None]) -> None:
        """Write rows past the sidecar; None deletes."""
        environment = self.world.environment
        txn = environment.begin_write()
        for key, value in changed.items():
            if value is None:
                txn.delete(key, db=environment.tables[table])
            else:
                txn.put(key, value, db=environment.tables[table])
        txn.commit()

    def faults(self) -> tuple[Fault, ...]:
        """What the check finds in the one tenant."""
        (checked,) = check(self.world.environment)
        return checked.faults

    def reservation(self, decision_id: str) -> tuple[bytes, Reservation]:
        """A reservation and its key."""
        decoder = msgspec.msgpack.Decoder(Reservation)
        found = {key: decode(value, decoder) for key, value in self.rows("reservations").items()}
        return next((key, value) for key, value in found.items() if value.decision_id == decision_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that holds."""
    with World(tmp_path) as world:
        yield Store(world)


def test_what_the_sidecar_wrote_holds(store: Store) -> None:
    (checked,) = check(store.world.environment)
    assert checked.faults == ()
    assert checked.tenant_id == "acme"
    assert checked.reservations == 4
    assert checked.windows == 3
    assert checked.records == len(store.rows("audit"))


def add_to_first(rows: Rows, pick: Callable[[bytes], bool], column: int, amount: int) -> dict[bytes, bytes | None]:
    key = next(key for key in rows if pick(key))
    figures = list(COUNTER_ROW.unpack(rows[key]))
    figures[column] += amount
    return {key: COUNTER_ROW.pack(*figures)}


def is_rolling(key: bytes) -> bool:
    return key.endswith(b"\xff" * 8)


@pytest.mark.parametrize("column", [0, 1])
def test_i1_a_counter_that_differs_from_its_reservations_is_found(store: Store, column: int) -> None:
    store.change("counters", add_to_first(store.rows("counters"), lambda key: not is_rolling(key), column, 7))
    assert any(fault.invariant == "I1" and "its reservations" in fault.message for fault in store.faults())


def test_i1_a_negative_figure_is_found(store: Store) -> None:
    rows = store.rows("counters")
    store.change("counters", add_to_first(rows, lambda key: not is_rolling(key), 0, -(10**9)))
    assert any("negative" in fault.message for fault in store.faults())


def test_i1_more_than_was_granted_is_found(store: Store) -> None:
    rows = store.rows("counters")
    store.change("counters", add_to_first(rows, lambda key: not is_rolling(key), 2, -(10**9)))
    assert any("granted were" in fault.message for fault in store.faults())


def test_i1_a_rolling_total_that_differs_from_its_seconds_is_found(store: Store) -> None:
    store.change("counters", add_to_first(store.rows("counters"), is_rolling, 0, 1))
    assert any("in 24 hours" in fault.message for fault in store.faults())


def test_i1_a_second_of_a_rolling_window_that_differs_is_found(store: Store) -> None:
    key, value = next(iter(store.rows("rolling").items()))
    settled, held = PAIR_ROW.unpack(value)
    store.change("rolling", {key: PAIR_ROW.pack(settled + 1, held)})
    assert any(fault.invariant == "I1" and "its reservations" in fault.message for fault in store.faults())


def test_a_second_that_has_left_the_window_does_not_count_in_its_total(store: Store) -> None:
    store.world.now_us += 2 * 86_400_000_000
    store.authorize(1000)
    assert store.faults() == ()


def test_i1_a_window_that_reservations_need_and_that_is_gone_is_found(store: Store) -> None:
    key = next(key for key in store.rows("counters") if not is_rolling(key))
    store.change("counters", {key: None})
    assert any("misses" in fault.message for fault in store.faults())


def test_a_window_whose_reservations_came_to_nothing_needs_no_row(store: Store) -> None:
    store.world.now_us += 86_400_000_000
    decision_id = store.authorize(1000)
    store.world.run(store.world.settler.release(OPERATOR, "acme", decision_id, None, store.world.now_us))
    newest = max((key for key in store.rows("counters") if not is_rolling(key)), key=lambda key: key[-8:])
    store.change("counters", {newest: None})
    assert store.faults() == ()


def test_a_permit_without_amount_and_budget_needs_no_reservation(store: Store) -> None:
    world = store.world
    for metered in world.treasurer.listed(OPERATOR, "acme", BudgetFilter(), PageRequest(), world.now_us).values:
        world.run(world.treasurer.delete(OPERATOR, "acme", metered.budget.budget_id, world.now_us))
    store.authorize(None)
    assert store.faults() == ()


def test_a_seconds_row_without_its_total_is_compared_all_the_same(store: Store) -> None:
    store.change("counters", {key: None for key in store.rows("counters") if is_rolling(key)})
    assert store.faults() == ()


def test_i1_a_hold_that_would_never_expire_is_found(store: Store) -> None:
    store.change("expiry", dict.fromkeys(store.rows("expiry")))
    assert any("will not expire" in fault.message for fault in store.faults())


def test_i1_what_would_expire_and_is_not_held_is_found(store: Store) -> None:
    key, reservation = store.reservation(store.settled)
    store.change("expiry", {U64.pack(reservation.expires_at_us) + key: b""})
    assert any("will expire" in fault.message for fault in store.faults())


def test_i1_what_would_expire_and_does_not_exist_is_found(store: Store) -> None:
    other_tenant = U64.pack(1) + U32.pack(store.tenant.number + 1) + bytes(16)
    store.change("expiry", {U64.pack(1) + U32.pack(store.tenant.number) + bytes(16): b"", other_tenant: b""})
    assert any("does not exist" in fault.message for fault in store.faults())


def test_i2_a_permit_without_its_reservation_is_found(store: Store) -> None:
    key, _ = store.reservation(store.held)
    store.change("reservations", {key: None})
    assert any(fault.invariant == "I2" and "has no reservation" in fault.message for fault in store.faults())


def test_i2_a_denial_with_a_reservation_is_found(store: Store) -> None:
    _, reservation = store.reservation(store.released)
    key = next(key for key, value in store.rows("decisions").items() if store.denied.encode() in value)
    store.change("reservations", {key: encode(msgspec.structs.replace(reservation, decision_id=store.denied))})
    assert any(fault.invariant == "I2" and "denial" in fault.message for fault in store.faults())


def test_i2_a_reservation_without_a_record_and_under_a_wrong_key_is_found(store: Store) -> None:
    _, reservation = store.reservation(store.released)
    store.change("reservations", {U32.pack(store.tenant.number) + bytes(16): encode(reservation)})
    messages = [fault.message for fault in store.faults() if fault.invariant == "I2"]
    assert any("has no record" in message for message in messages)
    assert any("under another key" in message for message in messages)


def test_i2_claims_that_differ_from_the_record_are_found(store: Store) -> None:
    key, reservation = store.reservation(store.released)
    store.change("reservations", {key: encode(msgspec.structs.replace(reservation, claims=reservation.claims[1:]))})
    assert any(fault.invariant == "I2" and "other claims" in fault.message for fault in store.faults())


def test_i3_an_answered_decision_that_is_not_in_the_log_is_found(store: Store) -> None:
    value = next(iter(store.rows("decisions").values()))
    store.change("decisions", {U32.pack(store.tenant.number) + bytes(16): value})
    assert any(fault.invariant == "I3" and "not in the log" in fault.message for fault in store.faults())


def test_i3_a_decision_in_the_log_that_has_no_answer_is_found(store: Store) -> None:
    store.change("decisions", {next(iter(store.rows("decisions"))): None})
    assert any(fault.invariant == "I3" and "no stored answer" in fault.message for fault in store.faults())


def test_i3_a_decision_that_stands_twice_or_elsewhere_is_found(store: Store) -> None:
    rows = store.rows("audit")
    key = next(key for key, value in rows.items() if orjson.loads(value)["type"] == "decision")
    store.change("audit", {max(rows): rows[key]})
    messages = [fault.message for fault in store.faults() if fault.invariant == "I3"]
    assert any("twice" in message for message in messages)
    assert any("was answered with record" in message for message in messages)


def test_i4_a_changed_record_is_found(store: Store) -> None:
    key, value = next(iter(store.rows("audit").items()))
    store.change("audit", {key: value.replace(b"dana", b"anna")})
    assert next(fault.message for fault in store.faults() if fault.invariant == "I4").startswith("record 0:")


def policy_texts(store: Store) -> Rows:
    return {key: value for key, value in store.rows("facts").items() if value.startswith(b"@id")}


def test_i4_a_changed_policy_text_is_found(store: Store) -> None:
    store.change("facts", dict.fromkeys(policy_texts(store), b"permit (principal, action, resource);"))
    assert any("a policy text" in fault.message for fault in store.faults())


def test_i4_erased_policy_texts_and_manifests_leave_the_log_valid(store: Store) -> None:
    store.change("facts", dict.fromkeys(policy_texts(store)))
    assert store.faults() == ()
    manifests = [key for key, value in store.rows("facts").items() if value.startswith(b'{"api"')]
    store.change("facts", dict.fromkeys(manifests))
    assert store.faults() == ()


def test_only_so_many_faults_are_told(store: Store) -> None:
    rows: dict[bytes, bytes | None] = {
        U32.pack(store.tenant.number) + U64.pack(number) * 2: b"" for number in range(FAULTS_MAX + 50)
    }
    store.change("decisions", rows)
    assert len(store.faults()) == FAULTS_MAX

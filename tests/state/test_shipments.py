"""What followers have shipped, as it lies: and that damage to any row of it is found."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sidecar.core.audit import Head
from sidecar.core.errors import StoreUnusable
from sidecar.service.shipment_store import Alarm, Follower, ReportedUsage, ShippedLog
from sidecar.state.boot import check_store
from sidecar.state.codec import TENANT_U64, U32, encode
from sidecar.state.shipments import BOUND, FOLLOWER, LOG, ORIGIN, PLACE, token_key
from tests.service.builders import OPERATOR, World, payment
from tests.service.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A control plane that has two logs of one follower, and has heard of another."""
    with Fleet(tmp_path) as made:
        budget_id = made.assign()
        made.below.decide(payment("1.00", "ann"))
        made.ship()
        made.send(made.batch(0, 0), made.token("second"))
        assert made.above.treasurer.get(OPERATOR, "t_one", budget_id, made.above.now_us).reported_at_us is not None
        yield made


def rows(fleet: Fleet, table: str) -> dict[bytes, bytes]:
    """What lies in a table."""
    with fleet.above.environment.read() as txn, txn.cursor(db=fleet.above.environment.tables[table]) as cursor:
        return {bytes(key): bytes(value) for key, value in cursor}


def put(fleet: Fleet, table: str, key: bytes, value: bytes | None) -> None:
    """Change a row by hand."""
    txn = fleet.above.environment.begin_write()
    db = fleet.above.environment.tables[table]
    if value is None:
        txn.delete(key, db=db)
    else:
        txn.put(key, value, db=db)
    txn.commit()


def test_a_store_with_shipped_logs_holds(fleet: Fleet) -> None:
    assert fleet.above.faults() == []
    check_store(fleet.above.environment)
    assert all(rows(fleet, f"shipped_{name}") for name in ("audit", "heads", "facts", "usage"))


@pytest.mark.parametrize("table", ["shipped_audit", "shipped_heads", "shipped_facts", "shipped_usage", "followers"])
@pytest.mark.parametrize("is_removed", [False, True])
def test_a_damaged_row_of_each_kind_is_found(fleet: Fleet, table: str, is_removed: bool) -> None:  # noqa: FBT001
    """Whichever it is; only an erased fact and a usage that is told again leave everything whole."""
    for key, value in rows(fleet, table).items():
        put(fleet, table, key, None if is_removed else bytes((value[0] ^ 1,)) + value[1:])
        may_go = is_removed and table in {"shipped_facts", "shipped_usage"}
        assert (fleet.above.faults() == []) == may_go, key
        put(fleet, table, key, value)
    assert fleet.above.faults() == []


@pytest.mark.parametrize("table", ["shipped_audit", "shipped_heads", "shipped_facts", "shipped_usage", "followers"])
def test_a_row_of_nobody_is_found(fleet: Fleet, table: str) -> None:
    key, value = next(iter(rows(fleet, table).items()))
    for number in (77, 2**32 - 1):
        put(fleet, table, U32.pack(number) + key[4:], value)
        assert any(str(number) in fault for fault in fleet.above.faults())
        put(fleet, table, U32.pack(number) + key[4:], None)


def changed(fleet: Fleet, kind: bytes, change: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> list[str]:
    """Replace the first row about followers of a kind; returns what is wrong then."""
    key, value = next((key, value) for key, value in rows(fleet, "followers").items() if key[4:5] == kind)
    put(fleet, "followers", key, None)
    put(fleet, "followers", *change(key, value))
    return fleet.above.faults()


@pytest.mark.parametrize("kind", [FOLLOWER, PLACE, LOG, ORIGIN])
def test_a_row_in_another_place_is_found(fleet: Fleet, kind: bytes) -> None:
    assert changed(fleet, kind, lambda key, value: (key[:-1] + bytes((key[-1] ^ 9,)), value)) != []


@pytest.mark.parametrize(("key", "value"), [(b"\x01" * 15, b""), (b"\x01" * 16, b"x")])
def test_a_token_that_is_bound_is_one(fleet: Fleet, key: bytes, value: bytes) -> None:
    with fleet.above.look() as part:
        prefix = U32.pack(part.tenant.number) + BOUND
    put(fleet, "followers", prefix + b"\x01" * 16, b"")
    assert fleet.above.faults() == []
    put(fleet, "followers", prefix + key, value)
    assert fleet.above.faults() == ["records: a row about a follower with budgets of its own names no token"]


def test_two_logs_of_one_number_are_found(fleet: Fleet) -> None:
    key = next(key for key in rows(fleet, "followers") if key[4:5] == LOG)
    put(fleet, "followers", key[:5] + b"\x01" * 16 + key[-4:], rows(fleet, "followers")[key])
    assert any("two followers have shipped log 1" in fault for fault in fleet.above.faults())


def test_a_log_without_a_name_is_found(fleet: Fleet) -> None:
    with fleet.above.look() as part:
        (log,) = part.shipments.logs(fleet.caller.name, 9)
    found = changed(fleet, LOG, lambda key, _: (key, encode(replace(log, origin="nobody's"))))
    assert any("is no name of a log" in fault for fault in found)


def test_the_end_of_a_shipped_log_is_looked_at_at_boot(fleet: Fleet) -> None:
    last = len(fleet.bodies()) - 1
    put(fleet, "shipped_audit", TENANT_U64.pack(1, last), b"{}")
    with pytest.raises(StoreUnusable, match=f"the log `.*` of follower `tok_.*` is broken at {last}"):
        check_store(fleet.above.environment)


def test_boot_looks_at_no_more_than_it_has_time_for(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    put(fleet, "shipped_audit", TENANT_U64.pack(1, len(fleet.bodies()) - 1), b"{}")
    monkeypatch.setattr("sidecar.state.boot.BUDGET_RECORDS", 1)
    check_store(fleet.above.environment)


def test_what_is_no_token_has_no_log(fleet: Fleet) -> None:
    with fleet.above.look() as part:
        assert part.shipments.follower("tok_none") is None
        assert part.shipments.logs("tok_none", 9) == []
        assert part.shipments.log("tok_none", fleet.origin) is None
        assert part.shipments.usage("") is None
        assert not part.shipments.is_bound("tok_none")
    with pytest.raises(StoreUnusable, match="no id of a token"):
        token_key("tok_none")


def test_rows_are_read_as_they_were_written(world_of_rows: World) -> None:
    """Also the last ones of the last table, and in the order of their making."""
    first, second = (f"tok_{number}{'0' * 24}{digit}" for number, digit in ((0, 1), (7, 2)))
    with world_of_rows.look() as part:
        tenant = part.tenant

    def work_of(token_id: str) -> None:
        def keep(txn):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            shipments = txn.of(tenant).shipments
            alarm = Alarm("x", 3, "sidecar.local/x")
            shipments.keep_follower(Follower(token_id=token_id, name="n", scope=None, since_us=1, alarm=alarm))
            for name in ("a", "b"):
                log = shipments.open_log(token_id, f"sidecar.local/{name}", 2)
                shipments.append(log, [b"x"], Head(1, b"\x00" * 32, 5))
            usage = ReportedUsage(token_id=token_id, window_us=None, settled=1, held=2, reported_at_us=3)
            shipments.keep_usage(token_id, usage)

        world_of_rows.write(keep)

    work_of(second)
    work_of(first)
    with world_of_rows.look() as part:
        shipments = part.shipments
        assert [each.value.token_id for each in shipments.followers()] == [second, first]
        assert [each.value.token_id for each in shipments.followers(after=1)] == [first]
        assert [log.origin[-1] for log in shipments.logs(second, 9)] == ["b", "a"]
        assert [log.number for log in shipments.logs(second, 1)] == [2]
        numbers = {log.number: log for log in shipments.all_logs()}
        assert sorted(numbers) == [1, 2, 3, 4]
        assert isinstance(numbers[4], ShippedLog)
        assert [*shipments.reader(numbers[4]).read(0, 9)] == [(0, b"x")]
        assert shipments.reader(numbers[4]).head() == Head(1, b"\x00" * 32, 5)
        usage = shipments.usage(first)
        assert usage is not None
        assert (usage.settled, usage.held) == (1, 2)


@pytest.fixture
def world_of_rows(tmp_path: Path) -> Iterator[World]:
    """A world with a tenant."""
    with World(tmp_path) as made:
        made.tenant()
        yield made

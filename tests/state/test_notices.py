"""What happened to the deployment: every log tells it once, in order, and before anything that came after it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson
import pytest

from sidecar.service.policy_store import PoliciesLoaded
from sidecar.state.audit_log import TILE
from sidecar.state.codec import encode
from sidecar.state.environment import Environment
from sidecar.state.fsck import check
from sidecar.state.notices import check_notices
from tests.state.builders import a_tenant, reading, store_in, writing


class Jump(msgspec.Struct):
    """The row of a store of before there were loads."""

    number: int
    expected_us: int
    seen_us: int


def load(name: bytes = b"one", at_us: int = 50) -> PoliciesLoaded:
    """A load of three files."""
    return PoliciesLoaded(name, 3, "watch", at_us)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A store with two tenants, whose logs are open."""
    with store_in(tmp_path) as made:
        with writing(made) as txn:
            for number in (1, 2):
                txn.tenants.add(a_tenant(number))
                txn.of(a_tenant(number)).audit.append("open", 10, {"tenant_id": f"t_{number}"})
        yield made


def append(environment: Environment, number: int = 1) -> None:
    """Add a record to a log."""
    with writing(environment) as txn:
        txn.of(a_tenant(number)).audit.append("settle", 100, {})


def log_of(environment: Environment, number: int = 1) -> list[dict[str, object]]:
    """Every record of a tenant behind the first."""
    with reading(environment) as txn:
        return [orjson.loads(body) for _, body in txn.of(a_tenant(number)).audit.read(1, 10_000)]


def kinds(environment: Environment, number: int = 1) -> list[object]:
    """Their types."""
    return [record["type"] for record in log_of(environment, number)]


def test_a_load_is_told_in_front_of_the_next_record_of_each_log(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.keep_policies_loaded(load())
    for _ in range(2):
        append(environment)
    assert kinds(environment) == ["policies_loaded", "settle", "settle"]
    assert kinds(environment, 2) == []
    told = log_of(environment)[0]
    assert {name: told[name] for name in ("digest", "files", "by", "at", "ts")} == {
        "digest": f"sha256:{b'one'.hex()}",
        "files": 3,
        "by": "watch",
        "at": 50,
        "ts": 100,
    }


def test_a_log_can_be_made_to_tell_at_once(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.keep_policies_loaded(load())
        for _ in range(2):
            txn.of(a_tenant(2)).audit.tell_notices(60)
    append(environment, 2)
    assert kinds(environment, 2) == ["policies_loaded", "settle"]


@pytest.mark.parametrize("load_first", [False, True])
def test_jumps_and_loads_are_told_in_the_order_in_which_they_happened(
    environment: Environment, *, load_first: bool
) -> None:
    steps = [
        lambda txn: txn.keep_clock_event(100, 200),
        lambda txn: txn.keep_policies_loaded(load()),
    ]
    for step in reversed(steps) if load_first else steps:
        with writing(environment) as txn:
            step(txn)
    append(environment)
    wanted = ["clock_event", "policies_loaded"]
    assert kinds(environment) == [*(reversed(wanted) if load_first else wanted), "settle"]
    with writing(environment) as txn:
        txn.keep_policies_loaded(load(b"two"))
    append(environment)
    assert kinds(environment)[3:] == ["policies_loaded", "settle"]


def test_a_request_lies_with_its_record_behind_all_that_is_told_in_front(environment: Environment) -> None:
    with writing(environment) as txn:
        audit = txn.of(a_tenant()).audit
        for _ in range(TILE - 3):
            audit.append("settle", 20, {})
        txn.keep_clock_event(100, 200)
        txn.keep_policies_loaded(load())
        digest = audit.keep_request(b"request")
        mark = audit.append("decision", 200, {})
        assert mark.seq == TILE
        assert audit.fact(digest, mark.seq) == b"request"


def test_a_log_that_opens_later_owes_none_of_it(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.keep_policies_loaded(load())
        txn.of(a_tenant(3)).audit.append("open", 60, {"tenant_id": "t_3"})
    append(environment, 3)
    assert kinds(environment, 3) == ["settle"]


def test_a_store_of_before_there_were_loads_goes_on(environment: Environment) -> None:
    """Its row names jumps only; the next load gets the next number."""
    raw = environment.begin_write()
    raw.put(b"clock", encode(Jump(4, 100, 200)), db=environment.tables["meta"])
    raw.commit()
    append(environment)
    with writing(environment) as txn:
        txn.keep_policies_loaded(load())
    append(environment)
    assert kinds(environment) == ["clock_event", "settle", "policies_loaded", "settle"]
    with reading(environment) as txn:
        assert txn.of(a_tenant()).audit.head().clock_epoch == 5


def test_how_far_a_load_was_told_is_kept_until_another_one(environment: Environment) -> None:
    with reading(environment) as txn:
        assert txn.untold_load() is None
    with writing(environment) as txn:
        txn.keep_policies_loaded(load())
        untold = txn.untold_load()
        assert untold is not None
        assert (untold.after, untold.loaded.tenants_below, untold.loaded.digest) == (0, 3, b"one")
        txn.keep_told(untold.loaded, 1)
        after = txn.untold_load()
        assert after is not None
        assert after.after == 1
        txn.keep_told(untold.loaded, None)
        assert txn.untold_load() is None
        txn.keep_policies_loaded(load(b"two"))
        again = txn.untold_load()
        assert again is not None
        assert (again.after, again.loaded.digest) == (0, b"two")


def test_the_check_finds_a_log_that_tells_of_what_never_happened(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.keep_policies_loaded(load())
    append(environment)
    with environment.read() as raw:
        assert list(check_notices(raw, environment.tables)) == []
    raw = environment.begin_write()
    raw.delete(b"clock", db=environment.tables["meta"])
    raw.commit()
    messages = [fault.message for checked in check(environment) for fault in checked.faults]
    assert messages == ["the log of tenant 1 has told of notice 1, the newest is 0"]

"""What is checked before a store is used: what a crash, a bad disk or a hand could have left is found and named."""

import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from sidecar.core.errors import StoreUnusable
from sidecar.core.snapshot import PolicyRecord
from sidecar.state import boot
from sidecar.state.audit_log import AuditLog
from sidecar.state.boot import check_store, newest_time, typed_identities
from sidecar.state.codec import TENANT_U64, U32
from sidecar.state.environment import Environment
from tests.state.builders import a_tenant, an_identity, reading, store_in, writing

RECORDS = 10


def grow(audit: AuditLog, count: int, now_us: int = 20) -> None:
    """Append records."""
    for number in range(count):
        audit.append("settle", now_us, {"n": number})


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A store with two tenants, whose logs have 10 records each."""
    with store_in(tmp_path) as made:
        with writing(made) as txn:
            for number in (1, 2):
                txn.tenants.add(a_tenant(number))
                audit = txn.of(a_tenant(number)).audit
                audit.append("open", 10, {"tenant_id": f"t_{number}"})
                grow(audit, RECORDS - 1, 20 * number)
        yield made


def overwrite(environment: Environment, table: str, key: bytes, value: bytes | None) -> None:
    """Change or remove a row by hand."""
    txn = environment.begin_write()
    if value is None:
        txn.delete(key, db=environment.tables[table])
    else:
        txn.put(key, value, db=environment.tables[table])
    txn.commit()


def record(environment: Environment, seq: int, number: int = 1) -> bytes:
    """The bytes of a record."""
    with reading(environment) as txn:
        return next(body for found, body in txn.of(a_tenant(number)).audit.read(seq, 1) if found == seq)


def test_a_store_that_only_the_sidecar_wrote_passes(environment: Environment) -> None:
    check_store(environment)


def test_an_empty_store_passes_and_has_no_time(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        check_store(environment)
        assert newest_time(environment) == 0


def test_no_clock_starts_before_the_newest_time_of_any_log(environment: Environment) -> None:
    assert newest_time(environment) == 40


@pytest.mark.parametrize("seq", [0, 4, RECORDS - 1])
def test_a_changed_record_is_named_with_its_tenant(environment: Environment, seq: int) -> None:
    body = orjson.loads(record(environment, seq, 2)) | {"n": 99}
    changed = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    overwrite(environment, "audit", TENANT_U64.pack(2, seq), changed)
    with pytest.raises(StoreUnusable, match=f"the audit log of tenant `t_2` is broken at {seq}: "):
        check_store(environment)


@pytest.mark.parametrize("seq", [4, RECORDS - 1])
def test_a_missing_record_is_named(environment: Environment, seq: int) -> None:
    overwrite(environment, "audit", TENANT_U64.pack(1, seq), None)
    with pytest.raises(StoreUnusable, match=f"the audit log of tenant `t_1` is broken at {seq}: "):
        check_store(environment)


@pytest.mark.parametrize("tail", [4, 1_000])
def test_a_record_beyond_the_head_is_named(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tail: int
) -> None:
    """Also behind a log that is longer than what is looked at."""
    monkeypatch.setattr(boot, "TAIL_RECORDS", tail)
    overwrite(environment, "audit", TENANT_U64.pack(1, RECORDS), record(environment, RECORDS - 1))
    with pytest.raises(StoreUnusable, match=f"is broken at {RECORDS}: "):
        check_store(environment)


def test_a_head_that_is_gone_is_a_fault(environment: Environment) -> None:
    overwrite(environment, "heads", U32.pack(1), None)
    with pytest.raises(StoreUnusable, match="the audit log of tenant `t_1` is broken at 0: "):
        check_store(environment)


def test_of_a_long_log_the_end_is_looked_at(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole history is the verifier's: a start in the middle is anchored at the record before it."""
    monkeypatch.setattr(boot, "TAIL_RECORDS", 4)
    check_store(environment)
    overwrite(environment, "audit", TENANT_U64.pack(1, 2), b"{}")
    check_store(environment)
    overwrite(environment, "audit", TENANT_U64.pack(1, 6), b"{}")
    with pytest.raises(StoreUnusable, match="is broken at 6: "):
        check_store(environment)


def test_the_record_before_the_end_that_is_looked_at_counts_too(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "TAIL_RECORDS", 4)
    overwrite(environment, "audit", TENANT_U64.pack(1, 5), b"{}")
    with pytest.raises(StoreUnusable, match="`t_1` is broken at 6: "):
        check_store(environment)


def test_many_logs_share_a_budget_and_each_has_its_last_record_looked_at(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "BUDGET_RECORDS", 3)
    overwrite(environment, "audit", TENANT_U64.pack(2, RECORDS - 3), b"{}")
    check_store(environment)
    overwrite(environment, "audit", TENANT_U64.pack(2, RECORDS - 1), b"{}")
    with pytest.raises(StoreUnusable, match=f"`t_2` is broken at {RECORDS - 1}: "):
        check_store(environment)


def test_a_tenant_without_a_record_is_a_fault(environment: Environment) -> None:
    """The record that opens its log is written with it."""
    with writing(environment) as txn:
        txn.tenants.add(a_tenant(3))
    with pytest.raises(StoreUnusable, match="the audit log of tenant `t_3` is broken at 0: record 0 is missing"):
        check_store(environment)


def test_a_head_that_was_set_back_is_a_fault(environment: Environment) -> None:
    with environment.read() as txn:
        old = bytes(txn.get(U32.pack(1), db=environment.tables["heads"]) or b"")
    with writing(environment) as txn:
        grow(txn.of(a_tenant(1)).audit, 1)
    overwrite(environment, "heads", U32.pack(1), old)
    with pytest.raises(StoreUnusable, match=f"record {RECORDS} was added beyond the head"):
        check_store(environment)


def test_the_slots_of_dead_readers_are_freed_before_a_start(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R1.10."""
    done: list[str] = []
    monkeypatch.setattr(environment, "reap_readers", lambda: done.append("reaped"))
    check_store(environment)
    assert done == ["reaped"]


def test_the_probe_passes_a_whole_store(environment: Environment) -> None:
    boot.probe(environment.path)
    environment.close()
    assert boot.main(environment.path) == boot.EXIT_GOOD


def test_the_probe_tells_what_is_broken(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    overwrite(environment, "audit", TENANT_U64.pack(1, RECORDS - 1), None)
    with pytest.raises(StoreUnusable, match="the audit log of tenant `t_1` is broken"):
        boot.probe(environment.path)
    environment.close()
    assert boot.main(environment.path) == boot.EXIT_STORE
    assert "is broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("import os; os.kill(os.getpid(), 7)", "ends with signal 7"),
        ("import sys; sys.exit(3)", "ended with 3"),
        ("import time; time.sleep(60)", "could not be checked within"),
    ],
)
def test_a_probe_that_ends_badly_condemns_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, reason: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{command}'\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(boot, "PROBE_SECONDS_MAX", 1 if "sleep" in command else 30)
    with pytest.raises(StoreUnusable, match=reason):
        boot.probe(tmp_path)


def test_identities_are_told_with_their_types_and_nothing_else_is(environment: Environment) -> None:
    """Of one tenant, in the order of their ids, whatever else it and the next one have."""
    people = {name: an_identity(name) for name in ("b", "a")}
    with writing(environment) as txn:
        for place, (name, identity) in enumerate(people.items(), start=1):
            txn.of(a_tenant(1)).identities.add(name, identity, place, owner=None)
        txn.of(a_tenant(2)).identities.add("c", an_identity("c"), 1, owner=None)
    found = {}
    with environment.read() as txn:
        for number in (1, 2, 3):
            found[number] = list(typed_identities(txn, environment.tables, number))
    assert found == {1: [("a", people["a"].type), ("b", people["b"].type)], 2: [("c", people["a"].type)], 3: []}


def test_what_follows_the_identities_of_a_tenant_is_none(environment: Environment) -> None:
    record = PolicyRecord(
        policy_id="p", identity_id=None, name="p", rules=None, cedar="", requirements={}, created_at_us=0, revision=2
    )
    with writing(environment) as txn:
        txn.of(a_tenant(1)).identities.add("a", an_identity("a"), 1, owner=None)
        txn.of(a_tenant(1)).policies.add("p", record, 2, owner=None)
    with environment.read() as raw:
        assert len(list(typed_identities(raw, environment.tables, 1))) == 1

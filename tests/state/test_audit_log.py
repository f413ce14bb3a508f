"""The audit log in the store: appended without gaps, facts once each, a jump of the clock told in front."""

from pathlib import Path

import orjson
import pytest

from sidecar.core.audit import encode_hash, fact_hash, genesis, link_of
from sidecar.core.errors import StoreUnusable
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.core.verification import Anchor, verify
from sidecar.state.audit_log import TILE, AuditLog
from sidecar.state.environment import Environment
from sidecar.state.notices import notices
from tests.state.builders import a_tenant, reading, rows, store_in, writing


def log_of(environment: Environment, number: int = 1) -> list[dict[str, object]]:
    """Every record of a tenant."""
    with reading(environment) as txn:
        return [orjson.loads(body) for _, body in txn.of(a_tenant(number)).audit.read(0, 10_000)]


def assert_whole(environment: Environment, number: int = 1) -> None:
    """The reader's half, which shares no code with the writer's, finds nothing."""
    with reading(environment) as txn:
        audit = txn.of(a_tenant(number)).audit
        head = audit.head()
        report = verify(audit.origin, f"t_{number}", audit.read(0, 10_000), Anchor(head.next_index, head.link))
    assert report.valid, report.first_invalid


def opened(environment: Environment, number: int = 1) -> None:
    """Open a tenant's log."""
    with writing(environment) as txn:
        txn.of(a_tenant(number)).audit.append("open", 10, {"tenant_id": f"t_{number}"})


def test_an_empty_log_follows_its_genesis(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, reading(environment) as txn:
        head = txn.of(a_tenant()).audit.head()
        assert (head.next_index, head.link, head.last_us) == (0, genesis("sidecar.local/log1"), 0)


def test_each_record_follows_the_one_before_at_the_next_number(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        opened(environment)
        opened(environment, 2)
        with writing(environment) as txn:
            audit = txn.of(a_tenant()).audit
            marks = [audit.append("settle", 20, {"n": number}) for number in range(3)]
        assert [mark.seq for mark in marks] == [1, 2, 3]
        with reading(environment) as txn:
            bodies = dict(txn.of(a_tenant()).audit.read(0, 10))
            head = txn.of(a_tenant()).audit.head()
        assert [mark.hash for mark in marks] == [encode_hash(link_of(bodies[mark.seq])) for mark in marks]
        assert head.link == link_of(bodies[3])
        assert_whole(environment)
        assert_whole(environment, 2)


def test_a_time_in_the_log_never_goes_back(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        opened(environment)
        with writing(environment) as txn:
            for now_us in (30, 20, 40):
                txn.of(a_tenant()).audit.append("settle", now_us, {})
        assert [record["ts"] for record in log_of(environment)] == [10, 30, 30, 40]


def test_a_record_is_read_by_its_number_within_its_own_tenant(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        for number in (1, 2, 3):
            opened(environment, number)
        with writing(environment) as txn:
            for _ in range(5):
                txn.of(a_tenant(2)).audit.append("settle", 20, {})
        with reading(environment) as txn:
            audit = txn.of(a_tenant(2)).audit
            assert [seq for seq, _ in audit.read(0, 100)] == [0, 1, 2, 3, 4, 5]
            assert [seq for seq, _ in audit.read(2, 2)] == [2, 3]
            assert [*audit.read(6, 2)] == [*audit.read(0, 0)] == []


def test_a_record_never_takes_the_place_of_another(tmp_path: Path) -> None:
    """A head that fell behind its records is a broken store, not a reason to write over them."""
    with store_in(tmp_path) as environment:
        opened(environment)
        raw = environment.begin_write()
        raw.drop(environment.tables["heads"], delete=False)
        raw.commit()
        with pytest.raises(StoreUnusable, match="record 0 of tenant `t_1` exists already"):
            opened(environment)


def test_a_jump_of_the_clock_is_told_once_in_front_of_the_next_record_of_each_log(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        opened(environment, 1)
        opened(environment, 2)
        with writing(environment) as txn:
            txn.keep_clock_event(100, 200)
        for _ in range(2):
            with writing(environment) as txn:
                txn.of(a_tenant(1)).audit.append("settle", 200, {})
        assert [record["type"] for record in log_of(environment, 1)] == ["open", "clock_event", "settle", "settle"]
        assert [record["type"] for record in log_of(environment, 2)] == ["open"]
        told = log_of(environment, 1)[1]
        assert (told["expected"], told["seen"], told["ts"]) == (100, 200, 200)
        with writing(environment) as txn:
            txn.of(a_tenant(2)).audit.append("settle", 300, {})
        assert [record["type"] for record in log_of(environment, 2)] == ["open", "clock_event", "settle"]
        assert_whole(environment, 1)
        assert_whole(environment, 2)


def test_of_several_jumps_the_newest_is_told(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        opened(environment)
        with writing(environment) as txn:
            txn.keep_clock_event(100, 200)
            txn.keep_clock_event(300, 50)
            event = notices(txn._txn, environment.tables["meta"])  # noqa: SLF001 -- read where it lies
            assert (event.number, event.expected_us, event.seen_us) == (2, 300, 50)
            txn.of(a_tenant()).audit.append("settle", 300, {})
        assert [record["type"] for record in log_of(environment)] == ["open", "clock_event", "settle"]


def test_a_new_log_opens_with_its_tenant_and_tells_of_no_jump_before_it(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.keep_clock_event(100, 200)
        opened(environment)
        with writing(environment) as txn:
            txn.of(a_tenant()).audit.append("settle", 300, {})
        assert [record["type"] for record in log_of(environment)] == ["open", "settle"]
        assert_whole(environment)


def test_a_lasting_fact_lies_once_whatever_refers_to_it(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            audit = txn.of(a_tenant()).audit
            assert not audit.has_fact(fact_hash(b"fact"))
            assert audit.keep_fact(b"fact") == audit.keep_fact(b"fact") == fact_hash(b"fact")
            assert audit.has_fact(fact_hash(b"fact"))
            assert audit.fact(fact_hash(b"fact"), 10_000) == b"fact"
            assert audit.fact(fact_hash(b"other"), 0) is None
            assert txn.of(a_tenant(2)).audit.fact(fact_hash(b"fact"), 0) is None
        assert len(rows(environment, "facts")) == 1


def grow(audit: AuditLog, count: int) -> None:
    """Append records."""
    for _ in range(count):
        audit.append("settle", 20, {})


def test_what_is_kept_for_all_tenants_is_found_by_each_and_belongs_to_none(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        file = SourceFile("policies/a.cedar", "text")
        txn.keep_policy_files(PolicyFiles(schemas=(), shared=(), by_tenant={"t_1": (file,)}))
        for number in (1, 2):
            audit = txn.of(a_tenant(number)).audit
            assert audit.fact(fact_hash(b"text"), 300) == b"text"
            assert not audit.has_fact(fact_hash(b"text"))


def test_a_request_lies_beside_those_of_its_neighbours(tmp_path: Path) -> None:
    """Once per tile of 256 records: found from any of them, and not from others."""
    with store_in(tmp_path) as environment:
        opened(environment)
        with writing(environment) as txn:
            audit = txn.of(a_tenant()).audit
            digest = audit.keep_request(b"request")
            grow(audit, TILE - 2)
            assert audit.keep_request(b"request") == digest
            assert audit.fact(digest, TILE - 1) == b"request"
            assert audit.fact(digest, TILE) is None
            grow(audit, 1)
            audit.keep_request(b"request")
            assert audit.fact(digest, TILE) == b"request"
            assert not audit.has_fact(digest)
        assert len(rows(environment, "facts")) == 2


def test_a_request_lies_with_its_record_when_a_jump_of_the_clock_is_told_in_between(tmp_path: Path) -> None:
    """The clock event takes the last place of a tile, so the decision and its request are in the next one."""
    with store_in(tmp_path) as environment:
        opened(environment)
        with writing(environment) as txn:
            audit = txn.of(a_tenant()).audit
            grow(audit, TILE - 2)
            txn.keep_clock_event(100, 200)
            digest = audit.keep_request(b"request")
            mark = audit.append("decision", 200, {})
            assert mark.seq == TILE
            assert audit.fact(digest, mark.seq) == b"request"
        assert_whole(environment)

"""Reading the log: pages, filters and reach; and the check of the chain, whole or in parts."""

import orjson
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import Forbidden, NotFound, ValidationFailed
from sidecar.service import audit
from sidecar.service.audit import AuditFilter
from sidecar.service.paging import PageRequest
from sidecar.state.codec import TENANT_U64
from tests.service.builders import OPERATOR, SECOND, World, limit, payment, tool_call

EVERYTHING = AuditFilter()


@pytest.fixture
def org(world: World) -> World:
    """A tenant whose agents have decided a few things, a second apart; 16 records."""
    world.tenant()
    world.identity("ann")
    world.identity("sub", "ann")
    world.identity("bob")
    world.budget(limit(15, "ann"))
    for name in ("ann", "ann", "sub", "bob", "root"):
        world.now_us += SECOND
        world.decide(payment("10.00", name))
    world.now_us += SECOND
    world.settle(str(world.decide(tool_call("ann", quantities={"tokens": 1})).decision_id))
    return world


def seqs(org: World, wanted: AuditFilter = EVERYTHING, caller: Caller = OPERATOR, limit_: int = 200) -> list[int]:
    """Which records are listed, over all pages."""
    found: list[int] = []
    after: int | None = 0
    while after is not None:
        tenant_id, page = org.auditor.listed(
            caller, None if caller.token else "t_one", wanted, PageRequest(after, limit_)
        )
        assert tenant_id == "t_one"
        found += [entry.seq for entry in page.values]
        after = page.next_after
    return found


def overwrite(org: World, seq: int, body: bytes) -> bytes:
    """Change a record by hand; returns what it was."""
    txn = org.environment.begin_write()
    key = TENANT_U64.pack(1, seq)
    before = bytes(txn.get(key, db=org.environment.tables["audit"]) or b"")
    txn.put(key, body, db=org.environment.tables["audit"])
    txn.commit()
    return before


# --- Lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 200])
def test_a_list_shows_every_record_with_its_link_the_newest_last(org: World, size: int) -> None:
    count = len(org.bodies())
    assert seqs(org, limit_=size) == [*range(count)]
    _, page = org.auditor.listed(OPERATOR, "t_one", EVERYTHING, PageRequest())
    for entry, following in zip(page.values, page.values[1:], strict=False):
        assert following.body["prev"] == entry.hash
        assert entry.body["i"] == entry.seq


def test_a_verdict_or_an_action_selects_decisions(org: World) -> None:
    bodies = org.bodies()
    for verdict in ("allow", "deny"):
        assert seqs(org, AuditFilter(verdict=verdict)) == [
            seq for seq, body in enumerate(bodies) if body.get("verdict") == verdict
        ]
    assert len(seqs(org, AuditFilter(verdict="deny"))) == 2
    assert len(seqs(org, AuditFilter(action="tool.call"))) == 1
    assert seqs(org, AuditFilter(action="tool.call", verdict="deny")) == []


def test_an_identity_selects_all_records_about_it(org: World) -> None:
    kinds = org.kinds()
    found = [kinds[seq] for seq in seqs(org, AuditFilter(identity_id="ann"))]
    assert found == ["identity_created", "budget_created", "decision", "decision", "decision", "settle"]
    with pytest.raises(NotFound):
        seqs(org, AuditFilter(identity_id="nobody"))


def test_a_time_range_has_its_start_and_not_its_end(org: World) -> None:
    times = [int(str(body["ts"])) for body in org.bodies()]
    for from_us in (None, times[0], times[0] + 1, times[-3], times[-1], times[-1] + 1):
        for to_us in (None, times[0], times[-3], times[-1], times[-1] + 1):
            expected = [
                seq
                for seq, ts in enumerate(times)
                if (from_us is None or ts >= from_us) and (to_us is None or ts < to_us)
            ]
            assert seqs(org, AuditFilter(from_us=from_us, to_us=to_us)) == expected
            assert seqs(org, AuditFilter(from_us=from_us, to_us=to_us), limit_=2) == expected


def test_an_agent_sees_what_concerns_it_and_whoever_is_below(org: World) -> None:
    ann = org.token("ann")
    bodies = org.bodies()
    assert seqs(org, caller=ann) == [seq for seq, body in enumerate(bodies) if body.get("identity") in {"ann", "sub"}]
    assert seqs(org, AuditFilter(identity_id="sub"), ann) != []
    for outside in ("bob", "root"):
        with pytest.raises(NotFound):
            seqs(org, AuditFilter(identity_id=outside), ann)


def test_a_record_about_somebody_unknown_is_shown_to_administrators_only(org: World) -> None:
    org.write(
        lambda txn: (
            txn.of(tenant).audit.append("note", org.now_us, {"identity": "ghost"})
            if (tenant := txn.tenants.get(1))
            else None
        )
    )
    last = len(org.bodies()) - 1
    assert last in seqs(org)
    assert last not in seqs(org, caller=org.token("ann"))


def test_a_log_shows_nothing_of_another_tenant(org: World) -> None:
    org.tenant("t_two")
    count = len(org.bodies("t_two"))
    _, page = org.auditor.listed(OPERATOR, "t_two", EVERYTHING, PageRequest())
    assert [entry.body.get("tenant_id") for entry in page.values][:1] == ["t_two"]
    assert len(page.values) == count


# --- The check of the chain -------------------------------------------------------------------------------------------


def test_a_log_that_only_the_sidecar_wrote_is_valid(org: World) -> None:
    verified = org.auditor.verify(OPERATOR, "t_one", 0, None)
    count = len(org.bodies())
    report = verified.report
    assert (report.valid, report.entries_checked, report.head_seq) == (True, count, count - 1)
    assert (report.facts_missing, verified.next_seq, report.start_trusted) == (0, None, False)


def test_every_part_of_a_valid_log_is_valid(org: World) -> None:
    last = len(org.bodies()) - 1
    for start in range(last + 1):
        for end in range(start, last + 1):
            verified = org.auditor.verify(OPERATOR, "t_one", start, end)
            assert verified.report.valid
            assert verified.report.entries_checked == end - start + 1
            assert verified.next_seq is None


@pytest.mark.parametrize(
    ("start", "end", "field"), [(-1, None, "from_seq"), (99, None, "from_seq"), (3, 2, "to_seq"), (0, 99, "to_seq")]
)
def test_a_range_outside_the_log_is_refused(org: World, start: int, end: int | None, field: str) -> None:
    with pytest.raises(ValidationFailed, match="the log has the records 0 to") as refused:
        org.auditor.verify(OPERATOR, "t_one", start, end)
    assert refused.value.field == field


def test_a_call_checks_so_many_records_and_names_where_the_next_one_goes_on(
    org: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "VERIFY_ENTRIES_MAX", 4)
    last = len(org.bodies()) - 1
    checked, start = 0, 0
    for _ in range(last):
        verified = org.auditor.verify(OPERATOR, "t_one", start, None)
        assert verified.report.valid
        checked += verified.report.entries_checked
        if verified.next_seq is None:
            break
        assert verified.next_seq == start + 4
        start = verified.next_seq
    assert checked == last + 1
    assert org.auditor.verify(OPERATOR, "t_one", 0, 2).next_seq is None
    assert org.auditor.verify(OPERATOR, "t_one", 0, 7).next_seq == 4


def test_a_changed_record_is_named_wherever_the_check_begins(org: World) -> None:
    last = len(org.bodies()) - 1
    body = org.bodies()[last - 3] | {"by": "mallory"}
    before = overwrite(org, last - 3, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
    for start in (0, last - 4, last - 3):
        report = org.auditor.verify(OPERATOR, "t_one", start, None).report
        assert not report.valid
        assert report.first_invalid is not None
        assert report.first_invalid.seq == last - 3
        assert report.entries_checked == last - 3 - start
    overwrite(org, last - 3, before)


def test_a_part_ends_with_what_the_record_after_it_says(org: World) -> None:
    """The last record of a part is proven by the ``prev`` of the one that follows."""
    last = len(org.bodies()) - 1
    body = org.bodies()[last - 3] | {"by": "mallory"}
    before = overwrite(org, last - 3, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
    report = org.auditor.verify(OPERATOR, "t_one", 0, last - 3).report
    assert report.first_invalid is not None
    assert report.first_invalid.seq == last - 3
    assert org.auditor.verify(OPERATOR, "t_one", 0, last - 4).report.valid
    overwrite(org, last - 3, before)


def test_a_part_whose_next_record_is_missing_is_not_valid(org: World) -> None:
    last = len(org.bodies()) - 1
    key = TENANT_U64.pack(1, last - 3)
    txn = org.environment.begin_write()
    body = bytes(txn.get(key, db=org.environment.tables["audit"]) or b"")
    txn.delete(key, db=org.environment.tables["audit"])
    txn.commit()
    assert not org.auditor.verify(OPERATOR, "t_one", 0, last - 4).report.valid
    overwrite(org, last - 3, body)
    assert org.auditor.verify(OPERATOR, "t_one", 0, last - 4).report.valid


def test_a_changed_fact_is_found_and_an_erased_one_is_counted(org: World) -> None:
    """DESIGN 12: what was erased leaves the chain valid, and is told."""
    txn = org.environment.begin_write()
    facts = org.environment.tables["facts"]
    with txn.cursor(db=facts) as cursor:
        rows = [(bytes(key), bytes(value)) for key, value in cursor]
    key, value = next((key, value) for key, value in rows if b'"tool.call"' in value and b'"ann"' in value)
    txn.put(key, value.replace(b"ann", b"bob"), db=facts)
    txn.commit()
    report = org.auditor.verify(OPERATOR, "t_one", 0, None).report
    assert report.first_invalid is not None
    txn = org.environment.begin_write()
    txn.delete(key, db=facts)
    txn.commit()
    report = org.auditor.verify(OPERATOR, "t_one", 0, None).report
    assert (report.valid, report.facts_missing) == (True, 1)
    txn = org.environment.begin_write()
    txn.put(key, value, db=facts)
    txn.commit()


def test_the_check_is_for_administrators(org: World) -> None:
    with pytest.raises(Forbidden):
        org.auditor.verify(org.token("ann"), None, 0, None)
    assert org.auditor.verify(org.token(None), None, 0, None).report.valid

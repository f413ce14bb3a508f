"""What followers ship: every record once, at its place, or an alarm and nothing of the batch."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable, ValidationFailed
from sidecar.core.log_entries import link, text_of
from sidecar.core.windows import Period
from sidecar.service.audit import AuditFilter
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.followers import LOGS_SHOWN_MAX, LogName
from sidecar.service.paging import PageRequest
from sidecar.service.shipments import Batch, Receipt, UsageReport
from sidecar.service.shipping import Parcel
from tests.service.builders import OPERATOR, SECOND, World, limit, payment, tool_call
from tests.service.fleet import Fleet
from tests.service.mailroom import Mailroom


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A control plane and a follower that has decided a few things; both stores hold together at the end."""
    with Fleet(tmp_path) as made:
        for amount in ("10.00", "11.00"):
            made.below.settle(str(made.below.decide(payment(amount, "ann")).decision_id))
        made.below.decide(tool_call("ann"))
        yield made
        assert made.faults() == []


def refused(fleet: Fleet, batch: Batch, match: str) -> None:
    """A batch of which nothing is taken, with an alarm that is told once."""
    before, kinds, alarms = fleet.stored(batch.origin), fleet.above.kinds(), fleet.counts.alarms
    was_alarmed = fleet.caller.name in fleet.listed() and fleet.alarm() is not None
    for _ in range(2):
        with pytest.raises(Conflict, match=match):
            fleet.send(batch)
    assert fleet.stored(batch.origin) == before
    news = [] if was_alarmed else ["follower_alarm"]
    assert fleet.above.kinds() == kinds + news
    assert fleet.counts.alarms == alarms + len(news)


# --- Taking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_records_come_to_lie_as_they_are(fleet: Fleet, size: int) -> None:
    """With what they refer to, so that the log verifies there as it does at home."""
    bodies = fleet.bodies()
    fleet.ship()
    assert fleet.stored() == bodies
    assert fleet.verified() == (True, len(bodies), 0)
    for start in range(0, len(bodies), size):
        again = fleet.send(fleet.batch(start, start + size))
        assert again == Receipt(len(bodies), 0)
    assert fleet.stored() == bodies
    assert fleet.counts.records == len(bodies)


def test_a_batch_may_begin_before_what_is_missing(fleet: Fleet) -> None:
    assert fleet.send(fleet.batch(0, 4)) == Receipt(4, 4)
    assert fleet.send(fleet.batch(2, 6)) == Receipt(6, 2)
    assert fleet.send(fleet.batch(1, 3)) == Receipt(6, 0)
    assert fleet.stored() == fleet.bodies()[:6]


def test_a_question_is_answered_with_the_first_record_that_is_missing(fleet: Fleet) -> None:
    question = fleet.batch(0, 0)
    assert fleet.send(question) == Receipt(0, 0)
    assert fleet.stored() == ()
    fleet.send(fleet.batch(0, 3))
    assert fleet.send(question) == Receipt(3, 0)
    assert fleet.send(replace(question, from_seq=4)) == Receipt(3, 0)


def test_only_a_followers_token_ships_and_only_a_log(fleet: Fleet) -> None:
    batch = fleet.batch()
    for caller in (OPERATOR, fleet.above.token(None), fleet.above.token("ann")):
        with pytest.raises(Forbidden, match="ships no records"):
            fleet.send(batch, caller)
    with pytest.raises(ValidationFailed, match="not the name of a log"):
        fleet.send(replace(batch, origin="elsewhere/log"))
    with pytest.raises(ValidationFailed, match="named by no record"):
        fleet.send(replace(batch, facts=(b"something",)))
    fleet.above.run(fleet.above.desk.revoke(OPERATOR, "t_one", fleet.caller.name, fleet.above.now_us))
    with pytest.raises(Unauthenticated):
        fleet.send(batch)
    assert fleet.listed() == []


def test_a_full_disk_leaves_the_records_with_the_follower(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise Unavailable("no room")

    monkeypatch.setattr(fleet.above.store, "require_room", full)
    with pytest.raises(Unavailable):
        fleet.send(fleet.batch())
    assert fleet.send(fleet.batch(0, 0)) == Receipt(0, 0)


def test_the_endings_of_holds_are_applied_once_each(fleet: Fleet) -> None:
    """In the transaction that takes them."""
    settled = [orjson.loads(body)["decision"] for body in fleet.bodies() if b'"type":"settle"' in body]
    first = next(seq for seq, body in enumerate(fleet.bodies()) if b'"type":"settle"' in body)
    for end in (first + 1, first + 1, None):
        fleet.send(fleet.batch(0, end))
    assert [(who, each.decision_id) for who, each in fleet.ended] == [(fleet.caller.name, each) for each in settled]
    assert len(settled) == 2


def test_an_ending_that_fails_takes_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(fleet.receiver, "_apply_ending", failing)
    with pytest.raises(Unavailable):
        fleet.send(fleet.batch())
    assert fleet.stored() == ()
    monkeypatch.undo()
    fleet.send(fleet.batch())
    assert fleet.stored() == fleet.bodies()


# --- What cannot be true ----------------------------------------------------------------------------------------------


def test_a_changed_record_is_an_alarm_wherever_it_stands(fleet: Fleet) -> None:
    bodies = fleet.bodies()
    for seq in range(len(bodies)):
        mutated = (*bodies[:seq], bodies[seq].replace(b'"ts":1', b'"ts":2', 1), *bodies[seq + 1 :])
        if seq < len(bodies) - 1:
            refused(fleet, replace(fleet.batch(), records=mutated), f"record {seq} ")
    assert fleet.stored() == ()
    fleet.send(fleet.batch())
    assert fleet.alarm() is None


def test_a_record_that_was_taken_cannot_become_another(fleet: Fleet) -> None:
    """Not even with all that follows sealed again."""

    def later(body: dict[str, object]) -> None:
        body["ts"] = 1 + int(str(body["ts"]))

    last = len(fleet.bodies()) - 1
    forked = fleet.resealed(later, last)
    fleet.send(fleet.batch())
    refused(fleet, replace(fleet.batch(last), records=forked[last:]), f"record {last} is another than the one")
    question = fleet.batch(last + 1, hash=text_of(link(forked[-1])))
    refused(fleet, question, f"record {last} is another than the one that was taken: the log was forked")
    same = replace(question.status, hash=text_of(link(fleet.bodies()[-1])))
    assert fleet.send(replace(question, status=same)) == Receipt(last + 1, 0)


def test_a_forked_log_does_not_follow(fleet: Fleet) -> None:
    def other(body: dict[str, object]) -> None:
        body["name"] = "other"

    forked = fleet.resealed(other, 3)
    fleet.send(fleet.batch(0, 5))
    refused(fleet, replace(fleet.batch(5), records=forked[5:]), "record 5 does not follow record 4 as it was taken")


def test_records_are_taken_without_a_gap(fleet: Fleet) -> None:
    refused(fleet, fleet.batch(2), "record 0 is missing, record 2 comes next")
    fleet.send(fleet.batch(0, 2))
    refused(fleet, fleet.batch(4), "record 2 is missing, record 4 comes next")


def test_a_log_that_is_shorter_than_what_was_taken_was_set_back(fleet: Fleet) -> None:
    """It is known by its own word: a call that is late says of no record that it was taken before there was one."""
    size = len(fleet.bodies())
    late = fleet.batch(0, 3, head=3)
    fleet.send(fleet.batch())
    assert fleet.send(late) == Receipt(size, 0)
    assert fleet.alarm() is None
    refused(fleet, fleet.batch(size, head=3), f"the log has 3 records, of which {size} were taken already: it was set")


def test_time_goes_forward_between_two_batches_as_well(fleet: Fleet) -> None:
    def early(body: dict[str, object]) -> None:
        body["ts"] = 1

    last = len(fleet.bodies()) - 1
    fleet.send(fleet.batch(0, last))
    refused(
        fleet, replace(fleet.batch(last), records=fleet.resealed(early, last)[last:]), "is of a time before that of"
    )


def test_the_log_of_another_tenant_is_refused(fleet: Fleet) -> None:
    fleet.above.tenant("t_two")

    def elsewhere(body: dict[str, object]) -> None:
        body["tenant_id"] = "t_two"

    refused(fleet, replace(fleet.batch(), records=fleet.resealed(elsewhere, 0)), "does not `open` the log of tenant")


def test_an_alarm_is_told_in_the_log_and_by_webhook_and_is_over_with_the_next_good_record(fleet: Fleet) -> None:
    mail = Mailroom(fleet.above)
    hook = mail.hook("follower.alarm")
    refused(fleet, fleet.batch(2), "record 0 is missing")
    told = fleet.above.bodies()[-1]
    reason = "record 0 is missing, record 2 comes next"
    assert (told["follower"], told["origin"], told["reason"]) == (fleet.caller.name, fleet.origin, reason)
    assert fleet.alarm() == reason
    event = orjson.loads(mail.waiting(hook)[-1].body)
    assert (event["type"], event["data"]["follower_id"]) == ("follower.alarm", fleet.caller.name)
    fleet.send(fleet.batch(0, 3))
    assert fleet.alarm() is None
    refused(fleet, fleet.batch(5), "record 3 is missing")
    fleet.send(fleet.batch(0, 3))
    assert fleet.alarm() == "record 3 is missing, record 5 comes next"
    fleet.send(fleet.batch(3))
    assert fleet.alarm() is None


# --- One log for a token that budgets are assigned to -----------------------------------------------------------------


def fresh_log(fleet: Fleet, folder: Path) -> Batch:
    """All records of another server with the same token, such as one that lost its data."""
    with World(folder, now_us=fleet.below.now_us + SECOND) as anew:
        anew.tenant()
        with anew.look() as part:
            records = tuple(body for _, body in part.audit.read(0, 100))
            status = replace(fleet.batch().status, head=len(records))
            return replace(fleet.batch(), origin=part.audit.origin, records=records, status=status)


def own_budget(fleet: Fleet) -> BudgetDraft:
    """A budget on which the follower alone decides."""
    return replace(limit("100.00", "ann"), follower_id=fleet.caller.name)


def test_a_token_that_budgets_are_assigned_to_has_one_log(fleet: Fleet, tmp_path: Path) -> None:
    """A second server with it has not counted what the first has spent; not even its questions are answered."""
    fleet.above.budget(own_budget(fleet))
    second = fresh_log(fleet, tmp_path / "anew")
    fleet.ship()
    for batch in (second, replace(second, records=())):
        with pytest.raises(Conflict, match=f"and log `{fleet.origin}` was taken with it"):
            fleet.send(batch)
    assert fleet.stored(second.origin) == ()
    assert fleet.above.kinds().count("follower_alarm") == fleet.counts.alarms == 1
    assert fleet.alarm() is not None
    assert fleet.send(second, fleet.token("another")).received == len(second.records)


def test_the_first_log_is_the_one_whichever_server_it_is_of(fleet: Fleet, tmp_path: Path) -> None:
    fleet.above.budget(own_budget(fleet))
    first = fresh_log(fleet, tmp_path / "anew")
    assert fleet.send(replace(first, records=())) == Receipt(0, 0)
    assert fleet.send(first).received == len(first.records)
    with pytest.raises(Conflict, match=f"log `{first.origin}` was taken with it"):
        fleet.ship()


def test_the_rule_outlives_the_budget(fleet: Fleet, tmp_path: Path) -> None:
    """What was held is still settled by whoever decided, who may not have heard of its end."""
    fleet.ship()
    budget = fleet.above.budget(own_budget(fleet)).budget
    fleet.above.run(fleet.above.treasurer.delete(OPERATOR, "t_one", budget.budget_id, fleet.above.now_us))
    with pytest.raises(Conflict, match="a second log would spend them again"):
        fleet.send(fresh_log(fleet, tmp_path / "anew"))


def test_no_budget_is_assigned_to_a_token_of_several_logs(fleet: Fleet, tmp_path: Path) -> None:
    fleet.ship()
    fleet.send(fresh_log(fleet, tmp_path / "anew"))
    with pytest.raises(Conflict, match="has sent several logs, expected one"):
        fleet.above.budget(own_budget(fleet))


def test_an_alarm_about_one_log_is_not_over_with_a_record_of_another(fleet: Fleet, tmp_path: Path) -> None:
    """Or two servers with one token would raise it again and again."""
    fleet.above.budget(own_budget(fleet))
    second = fresh_log(fleet, tmp_path / "anew")
    for start in range(3):
        fleet.send(fleet.batch(start, start + 1))
        with pytest.raises(Conflict):
            fleet.send(second)
    assert fleet.above.kinds().count("follower_alarm") == fleet.counts.alarms == 1


# --- Looking ----------------------------------------------------------------------------------------------------------


def test_a_follower_that_begins_anew_has_a_new_log_and_the_old_one_stays(fleet: Fleet, tmp_path: Path) -> None:
    fleet.ship()
    old, bodies = fleet.origin, fleet.bodies()
    second = fresh_log(fleet, tmp_path / "anew")
    fresh, origin = second.records, second.origin
    assert origin != old
    fleet.send(second)
    assert (fleet.stored(origin), fleet.stored(old)) == (fresh, bodies)
    name = fleet.caller.name
    assert fleet.verified(LogName(name))[:2] == (True, len(fresh))
    assert fleet.verified(LogName(name, old)) == (True, len(bodies), 0)
    known = fleet.followers.get(OPERATOR, "t_one", name)
    assert [(each.log.origin, each.records) for each in known.logs] == [(origin, len(fresh)), (old, len(bodies))]
    assert len(known.logs) <= LOGS_SHOWN_MAX


def test_a_shipped_log_is_read_like_any_other(fleet: Fleet) -> None:
    fleet.ship()
    listed = fleet.above.auditor.listed
    name = LogName(fleet.caller.name)
    tenant_id, page = listed(OPERATOR, "t_one", AuditFilter(), PageRequest(), name)
    assert (tenant_id, [entry.body for entry in page.values]) == ("t_one", [orjson.loads(b) for b in fleet.bodies()])
    wanted = AuditFilter(verdict="allow", action="tool.call", from_us=fleet.below.now_us)
    assert len(listed(OPERATOR, "t_one", wanted, PageRequest(), name)[1].values) == 1
    ann = fleet.above.token("ann")
    assert {entry.body["identity"] for entry in listed(ann, None, AuditFilter(), PageRequest(), name)[1].values} == {
        "ann"
    }
    for unknown in (LogName("tok_none"), LogName(fleet.caller.name, "sidecar.local/none"), LogName("tok_none", "x")):
        with pytest.raises(NotFound, match="no log of a follower"):
            listed(OPERATOR, "t_one", AuditFilter(), PageRequest(), unknown)
        with pytest.raises(NotFound):
            fleet.above.auditor.verify(OPERATOR, "t_one", 0, None, unknown)


def test_another_tenant_has_neither_follower_nor_log(fleet: Fleet) -> None:
    fleet.ship()
    fleet.above.tenant("t_two")
    with pytest.raises(NotFound, match="unknown follower"):
        fleet.followers.get(OPERATOR, "t_two", fleet.caller.name)
    assert fleet.followers.listed(OPERATOR, "t_two", PageRequest()).values == ()
    with pytest.raises(NotFound):
        fleet.above.auditor.verify(OPERATOR, "t_two", 0, None, LogName(fleet.caller.name, fleet.origin))


def test_followers_are_listed_as_they_last_were(fleet: Fleet) -> None:
    other = fleet.token("second", "ann")
    assert fleet.listed() == []
    fleet.send(fleet.batch(0, 0), other)
    fleet.send(fleet.batch(0, 4, revision=2))
    fleet.above.now_us += SECOND
    fleet.send(fleet.batch(0, 2, head=2, revision=1))
    first, second = fleet.followers.listed(OPERATOR, "t_one", PageRequest()).values
    assert (first.follower.token_id, first.follower.scope, first.logs) == (other.name, "ann", ())
    assert second.follower.name == "edge"
    (known,) = second.logs
    assert known.records == 4
    assert known.log.standing is not None
    assert (known.log.standing.revision, known.log.standing.head) == (2, len(fleet.bodies()))
    assert known.log.seen_at_us == fleet.above.now_us - SECOND
    page = fleet.followers.listed(OPERATOR, "t_one", PageRequest(0, 1))
    assert [each.follower.token_id for each in page.values] == [other.name]
    assert page.next_after is not None
    (rest,) = fleet.followers.listed(OPERATOR, "t_one", PageRequest(page.next_after, 1)).values
    assert rest.follower.token_id == fleet.caller.name
    for caller in (fleet.caller, fleet.above.token("ann")):
        with pytest.raises(Forbidden):
            fleet.followers.listed(caller, None, PageRequest())
        with pytest.raises(Forbidden):
            fleet.followers.get(caller, None, other.name)


# --- Usage ------------------------------------------------------------------------------------------------------------


def shown(fleet: Fleet, budget_id: str) -> tuple[int, int, int | None]:
    """What the control plane shows of a budget: settled, held, and since when that is known."""
    found = fleet.above.treasurer.get(OPERATOR, "t_one", budget_id, fleet.above.now_us)
    return found.usage.settled, found.usage.held, found.reported_at_us


def test_the_usage_of_an_assigned_budget_is_what_its_follower_told(fleet: Fleet) -> None:
    """Nothing before it told anything."""
    budget_id, other = fleet.assign(), fleet.assign("weekly", follower_id="tok_other", owner="bob")
    assert shown(fleet, budget_id) == (0, 0, None)
    fleet.below.decide(payment("7.00", "ann"))
    fleet.below.settle(str(fleet.below.decide(payment("3.00", "ann")).decision_id))
    fleet.ship()
    assert shown(fleet, budget_id) == (300, 700, fleet.above.now_us)
    assert shown(fleet, other) == (0, 0, None)
    assert fleet.below.used(budget_id) == (300, 700)
    fleet.above.now_us += 24 * 3_600 * SECOND
    assert shown(fleet, budget_id)[:2] == (0, 0)


@pytest.mark.parametrize("period", ["rolling_24h", "total", "per_transaction"])
def test_usage_is_told_of_every_kind_of_window(fleet: Fleet, period: Period) -> None:
    budget_id = fleet.assign(period)
    decided = fleet.below.decide(payment("7.00", "ann"))
    fleet.ship()
    fleet.below.release(str(decided.decision_id))
    fleet.below.decide(payment("5.00", "ann"))
    fleet.ship()
    expected = (0, 0, None) if period == "per_transaction" else (0, 500, fleet.above.now_us)
    assert shown(fleet, budget_id) == expected


def test_usage_is_taken_from_the_follower_only_and_never_goes_back(fleet: Fleet) -> None:
    budget_id = fleet.assign()
    size = len(fleet.bodies())
    said = (UsageReport(budget_id, None, 5, 6), UsageReport("bud_none", None, 1, 1), UsageReport("", None, 1, 1))
    other = fleet.token("second")
    fleet.send(fleet.batch(usages=said), other)
    assert shown(fleet, budget_id) == (0, 0, None)
    fleet.send(fleet.batch(usages=said))
    late = (UsageReport(budget_id, None, 1, 0),)
    fleet.send(fleet.batch(0, 3, head=size - 1, usages=late))
    assert shown(fleet, budget_id)[:2] == (5, 6)


# --- Whatever the network does ----------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_record_arrives_once_whatever_is_lost_repeated_late_or_ends(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Requests are lost, come twice and late, answers are lost, and either side ends between any two steps."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        budget_id = fleet.assign()
        sent: list[Parcel] = []
        held: list[str] = []
        for _ in range(data.draw(st.integers(1, 12))):
            step = data.draw(st.sampled_from(["decide", "end", "ask", "ship", "lose", "repeat", "restart"]))
            match step:
                case "decide":
                    held.append(str(fleet.below.decide(payment("1.00", "ann")).decision_id))
                case "end" if held:
                    (fleet.below.settle if data.draw(st.booleans()) else fleet.below.release)(held.pop())
                case "ask" | "ship" | "lose":
                    parcel = fleet.shipping.question() if step == "ask" else fleet.shipping.parcel()
                    if parcel is None:
                        continue
                    sent.append(parcel)
                    if step == "lose" and data.draw(st.booleans()):
                        continue  # it never arrives, or arrives late
                    answer = fleet.deliver(parcel)
                    if step != "lose":
                        fleet.below.run(fleet.shipping.received(parcel, answer))
                case "repeat" if sent:
                    fleet.deliver(data.draw(st.sampled_from(sent)))
                case _:
                    fleet.shipping, fleet.receiver = fleet.restarted(), fleet.received_anew()
        fleet.ship()
        assert fleet.stored() == fleet.bodies()
        assert fleet.verified() == (True, len(fleet.bodies()), 0)
        assert fleet.shipping.backlog() == 0
        assert (fleet.alarm(), fleet.fault()) == (None, None)
        assert shown(fleet, budget_id)[:2] == fleet.below.used(budget_id)
        endings = [orjson.loads(body)["i"] for body in fleet.bodies() if b'"type":"settle"' in body or b'"rel' in body]
        assert [each.seq for _, each in fleet.ended] == endings
        assert fleet.counts.records == len(fleet.bodies())
        assert fleet.above.faults() == []


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_mutated_record_is_an_alarm_and_nothing_of_its_batch_is_stored(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.below.decide(payment("1.00", "ann"))
        bodies = fleet.bodies()
        before = data.draw(st.integers(0, len(bodies) - 2))
        fleet.send(fleet.batch(0, before))
        seq = data.draw(st.integers(before, len(bodies) - 2))
        body = bytearray(bodies[seq])
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 6))
        mutated = (*bodies[before:seq], bytes(body), *bodies[seq + 1 :])
        with pytest.raises(Conflict):
            fleet.send(replace(fleet.batch(before), records=mutated))
        assert fleet.stored() == bodies[:before]
        assert fleet.alarm() is not None
        assert fleet.above.kinds()[-1] == "follower_alarm"

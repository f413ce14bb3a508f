"""Every history that the services make is proven, and what was changed in one is named."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.audit import encode_hash, fact_hash
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.history import digest
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.service.budget_changes import BudgetPatch
from sidecar.service.card_drafts import CardDraft
from sidecar.service.chain_proof import verify_chain
from sidecar.service.identities import IdentityPatch
from sidecar.service.proof import MISSING_MAX, Prover, joined
from sidecar.service.treasury import CardDesk
from tests.service.builders import (
    DAY,
    HOUR,
    NOON,
    OPERATOR,
    SECOND,
    World,
    key_for,
    limit,
    payment,
    replaced,
    shipped_files,
    tool_call,
)
from tests.service.histories import Doctored, Life, chronicle, prove, retried, variants
from tests.service.terminal import Terminal, capture, refund


@given(seed=st.integers(0, 2**32))
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_every_history_is_proven(seed: int) -> None:
    """Whatever happens to a tenant, each of its decisions comes out as recorded, and by its newest files as well."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        Life(world, seed).live(120)
        assert world.faults() == []
        proof = prove(chronicle(world))
        assert proof.difference is None, proof.difference.sentence
        assert proof.decisions == world.kinds().count("decision")
        assert (proof.entries, proof.missing_count) == (len(world.kinds()), 0)
        assert verify_chain(chronicle(world), lambda _: None).fault is None


def test_a_candidate_that_changes_nothing_flips_nothing(world: World) -> None:
    """Files that held all the time, tried on a history with budgets in play."""
    life = Life(world, 7)
    life.files = [shipped_files()]
    life.live(250)
    found = retried(chronicle(world), shipped_files())
    assert found.flips == ()
    assert (found.suspended_only_before, found.suspended_only_after) == (0, 0)
    assert found.decisions == world.kinds().count("decision")


def test_what_comes_late_is_booked_where_the_hold_was(world: World) -> None:
    """Late settlements, refunds, parts, holds that are settled at their expiry, and deleted or changed budgets."""
    world.tenant()
    kept = world.budget(limit("100", on_expiry="settle"))
    gone = world.budget(limit("90", period="rolling_24h"))
    world.budget(limit("1000", dimension="count", currency=None))
    first, second, third, fourth = (world.decide(payment("20", ttl_seconds=60)).decision_id or "" for _ in range(4))
    world.settle(first, "5", final=False)
    world.settle(first, "5")
    world.release(second)
    world.now_us += HOUR
    assert world.expire() == 2
    world.settle(third, "7", final=False)
    world.settle(third, "8")
    world.refund(first, "1")
    world.refund(third, "2")
    world.run(world.treasurer.delete(OPERATOR, "t_one", gone.budget.budget_id, world.now_us))
    world.settle(fourth)
    world.decide(tool_call())
    world.now_us += DAY
    assert not world.decide(payment("101")).allowed
    assert world.decide(payment("60")).allowed
    assert world.used(kept.budget.budget_id) == (0, 6_000)
    assert prove(chronicle(world)).is_exact


def test_a_withdrawn_permit_and_a_batch_are_proven(world: World) -> None:
    """The replay of a key whose card was frozen since, and several requests as one."""
    world.tenant()
    world.identity("bob")
    desk = CardDesk(world.store, world.treasurer, world.ids)
    draft = CardDraft(identity_id="bob", currency="CAD", spend_limit_daily=Major("25"), allowed_mccs=("5734",))
    card = world.run(desk.create(OPERATOR, "t_one", draft, None, world.now_us)).value.card.card_id
    request = replaced(payment("10", "bob"), card_id=card, merchant_category="5734")
    world.authorize(request, key_for(request))
    world.batch(request, replaced(request, merchant_category=None), tool_call("bob", tool="shell"), request)
    world.run(desk.freeze(OPERATOR, "t_one", card, None, world.now_us))
    assert not world.authorize(request, key_for(request)).decision.allowed
    assert prove(chronicle(world)).is_exact


def test_policies_of_then_are_those_that_held_then(world: World) -> None:
    """Rules, templates and text of the API, files of a tenant, and files that were replaced midway."""
    world.found()
    world.identity("bob")
    rules = world.grant(rules=Rules(actions=("card.authorize",), max_amount=Major("30"), currencies=("CAD",)))
    world.cedar("permit (principal in ?principal, action, resource);", "bob")
    for files in variants():
        world.load(files)
        for request in (payment("20", "bob"), payment("40", "bob"), tool_call("bob")):
            world.decide(request)
    world.run(world.legislator.delete(OPERATOR, "t_one", rules, world.now_us))
    world.decide(payment("40", "bob"))
    proof = prove(chronicle(world))
    assert proof.is_exact
    assert proof.decisions == 16


# What was changed is named.


@pytest.fixture
def told(world: World) -> World:
    """A short history: a permit that is settled, one that is released, and a denial."""
    world.tenant()
    world.identity("bob")
    world.budget(limit("100"))
    first = world.decide(payment("20", "bob")).decision_id or ""
    second = world.decide(payment("30")).decision_id or ""
    world.settle(first)
    world.release(second)
    world.decide(payment("90"))
    world.refund(first, "1")
    world.decide(payment("10", "bob"))
    return world


def decisions(world: World) -> list[dict[str, Any]]:
    return [dict(body) for body in world.bodies() if body["type"] == "decision"]


def changing(seq: int, **fields: object) -> Callable[[dict[str, Any]], object]:
    """An edit of one record; a field of None is taken out."""

    def edit(record: dict[str, Any]) -> None:
        if record["i"] == seq:
            record.update({name: value for name, value in fields.items() if value is not None})
            for name in [name for name, value in fields.items() if value is None]:
                del record[name]

    return edit


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "deny"),
        ("codes", ["forbidden"]),
        ("matched", ["another"]),
        ("errors", ["another"]),
        ("now", 5),
        ("amount", 7),
        ("expires", 9),
        ("identity", "root"),
        ("action", "tool.call"),
        ("chain", []),
        ("entity_revision", 3),
        ("ts", NOON + 5),
    ],
)
def test_a_changed_field_of_a_decision_is_named(told: World, field: str, value: object) -> None:
    seq = decisions(told)[0]["i"]
    difference = prove(Doctored(chronicle(told), edit=changing(seq, **{field: value}))).difference
    assert difference is not None
    assert (difference.seq, difference.decision_id) == (seq, decisions(told)[0]["decision"])
    if field != "now":  # another time makes another window as well, and the telling field comes first
        assert difference.field == field
        assert f"`{field}` is recorded as" in difference.sentence


def test_a_changed_figure_of_a_budget_is_named(told: World) -> None:
    """Figures are folded from the records before, not copied from the one that is proven."""
    last = decisions(told)[-1]
    row = last["budgets"][0]
    edit = changing(last["i"], budgets=[[*row[:4], row[4] + 1, *row[5:]]])
    difference = prove(Doctored(chronicle(told), edit=edit)).difference
    assert difference is not None
    assert difference.field == "budgets"


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        ("settle", {"measures": [["amount", 2000, 0, 1900, 0]]}, None),
        ("settle", {"measures": [["amount", 2000, 0, 2100, 0]]}, "cannot settle `2100`"),
        ("settle", {"late": True}, "is recorded as"),
        ("settle", {"decision": "dec_unknown"}, "of a hold that decision `dec_unknown` does not have"),
        ("settle", {"state": "released"}, "is recorded as"),
        ("settle", {"identity": "root"}, "is recorded as"),
        ("settle", {"currency": "EUR"}, "is recorded as"),
        ("settle", {"type": "settled"}, "of type `settled`, which this version does not have"),
        ("refund", {"measures": [["amount", 2000, 0, 2000, 3000]]}, "cannot refund"),
        ("release", {"state": "settled"}, "is recorded as"),
        ("release", {"measures": 5}, "the record cannot be read"),
    ],
)
def test_a_changed_ending_is_named(told: World, kind: str, fields: dict[str, object], sentence: str | None) -> None:
    """Where the record itself goes together, the next decision's figures do not."""
    seq = told.kinds().index(kind)
    difference = prove(Doctored(chronicle(told), edit=changing(seq, **fields))).difference
    assert difference is not None
    if sentence is None:
        assert (difference.seq, difference.field) == (decisions(told)[2]["i"], "budgets")
    else:
        assert difference.seq == seq
        assert sentence in difference.sentence


def test_a_removed_change_is_noticed(told: World) -> None:
    """Each record of a kind names the one version that it made."""
    seq = next(body["i"] for body in told.bodies() if body["type"] == "identity_created" and body["identity"] == "bob")
    assert isinstance(seq, int)
    difference = prove(Doctored(chronicle(told), edit=changing(seq, chain=[]))).difference
    assert difference is not None
    assert difference.sentence.endswith("of type `identity_created` names 0 versions of kind `identity`")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("identity_created", {"identity": "somebody"}),
        ("identity_created", {"status": "suspended"}),
        ("identity_created", {"revision": 99}),
        ("identity_created", {"type": "token_created"}),
        ("budget_created", {"identity": None}),
        ("budget_created", {"card": "card_x"}),
        ("card_created", {"identity": "root"}),
        ("card_created", {"status": "closed"}),
    ],
)
def test_a_record_that_says_other_than_its_fact_is_named(told: World, kind: str, fields: dict[str, object]) -> None:
    draft = CardDraft(identity_id="bob", currency="CAD")
    told.run(CardDesk(told.store, told.treasurer, told.ids).create(OPERATOR, "t_one", draft, None, told.now_us))
    told.decide(payment("1", "bob"))
    seq = told.kinds().index(kind)
    difference = prove(Doctored(chronicle(told), edit=changing(seq, **fields))).difference
    assert difference is not None
    assert (difference.seq, difference.decision_id) == (seq, None)


def test_a_fact_of_another_version_is_named(told: World) -> None:
    """Its hash is right, and it is not what the record says that it is."""
    bodies: list[dict[str, Any]] = [dict(body) for body in told.bodies() if body["type"] == "identity_created"]
    edit = changing(bodies[0]["i"], chain=[[*bodies[0]["chain"][0][:2], bodies[1]["chain"][0][2]]])
    difference = prove(Doctored(chronicle(told), edit=edit)).difference
    assert difference is not None
    assert "at revision 1 is recorded as" in difference.sentence


def test_policies_that_the_api_never_made_are_named(world: World) -> None:
    """A decision by a list of policies that the records before do not lead to, though it comes out the same by it."""
    world.tenant()
    world.identity("bob")
    made = world.cedar('forbid (principal, action == Action::"tool.call", resource);')
    world.decide(payment("1", "bob"))
    world.run(world.legislator.delete(OPERATOR, "t_one", made, world.now_us))
    world.decide(payment("2", "bob"))
    first, second = decisions(world)
    assert prove(chronicle(world)).is_exact
    for one, other in ((first, second), (second, first)):
        edit = changing(one["i"], policies=other["policies"])
        difference = prove(Doctored(chronicle(world), edit=edit)).difference
        assert difference is not None
        assert (difference.seq, difference.found) == (
            one["i"],
            f"the records before tell otherwise of policy `{made}` than its policies do",
        )


def test_every_change_that_raises_the_revision_is_counted(world: World) -> None:
    """A record that is gone is noticed by the next decision, whether or not that needs it."""
    world.tenant()
    world.token(None)
    world.identity("bob")
    assert world.decide(tool_call("bob")).allowed
    assert prove(chronicle(world)).is_exact
    for kind in ("token_created", "policy_created"):
        seq = world.kinds().index(kind)
        difference = prove(Doctored(chronicle(world), edit=changing(seq, type="webhook_created"))).difference
        assert difference is not None
        assert "revision" in difference.sentence


def test_a_window_that_was_swept_by_a_changed_limit_stays_swept(world: World) -> None:
    """A request that is older than the change by a moment is decided behind it; its record says so."""
    world.tenant()
    world.identity("bob")
    budget = world.budget(limit(80, "bob", period="rolling_24h")).budget.budget_id
    world.decide(payment("20.00", "bob"))
    early = world.now_us + DAY - 1
    for ahead_us, room in ((DAY, "90"), (DAY + SECOND // 2, "91")):
        world.now_us = early - DAY + 1 + ahead_us
        patch = BudgetPatch(Major(room), None, None, None)
        world.run(world.treasurer.change(OPERATOR, "t_one", budget, patch, world.now_us))
        world.now_us = early
        assert world.decide(payment("75.00", "bob")).allowed is (room == "90")
    patch = BudgetPatch(None, "another name", None, None)
    world.run(world.treasurer.change(OPERATOR, "t_one", budget, patch, early + DAY))
    assert not world.decide(payment("75.00", "bob")).allowed
    proof = prove(chronicle(world))
    assert proof.difference is None, proof.difference.sentence
    assert retried(chronicle(world), shipped_files()).flips == ()


def test_a_record_0_that_opens_nothing_is_named(told: World) -> None:
    edit = changing(0, type="clock_event")
    difference = prove(Doctored(chronicle(told), edit=edit)).difference
    assert difference is not None
    assert difference.sentence == "record 0: record 0 does not open a log"


def test_changed_facts_are_named(told: World) -> None:
    first = decisions(told)[0]
    found = prove(Doctored(chronicle(told), changed={first["request"]: b"{}"})).difference
    assert found is not None
    assert found.sentence.endswith("was changed: its content has another hash")
    address = encode_hash(fact_hash(b"[]"))
    edited = Doctored(chronicle(told), edit=changing(first["i"], request=address), changed={address: b"[]"})
    found = prove(edited).difference
    assert found is not None
    assert "the fact of the request cannot be read" in found.sentence


def test_a_broken_chain_is_what_is_wrong(told: World) -> None:
    """A difference that comes of it is not told beside it."""
    edited = Doctored(chronicle(told), edit=changing(3, by="somebody"))
    chain = verify_chain(edited, lambda _: None)
    assert chain.fault is not None
    assert chain.fault.sentence.startswith("record 3: record 3 was changed")
    assert joined(chain, prove(edited)).difference == chain.fault
    cut = Doctored(chronicle(told))
    cut.size += 1
    chain = verify_chain(cut, lambda _: None)
    assert chain.fault is not None
    assert "is missing, the head is at size" in chain.fault.sentence
    whole = verify_chain(chronicle(told), lambda _: None)
    assert joined(whole, prove(chronicle(told))).is_exact


def test_another_format_is_refused_with_its_place(told: World) -> None:
    """It is no fault of the log."""
    with pytest.raises(ConfigurationInvalid, match="record 4 of tenant `t_one`: format version `2`, expected 1"):
        verify_chain(Doctored(chronicle(told), edit=changing(4, v=2)), lambda _: None)
    chain = verify_chain(Doctored(chronicle(told), edit=changing(4, v="two")), lambda _: None)
    assert chain.fault is not None
    assert chain.fault.seq == 4


def test_another_engine_is_refused_unless_it_is_accepted(told: World) -> None:
    """Accepted, its decisions are compared all the same."""

    def other(record: dict[str, Any]) -> None:
        if record["type"] == "decision":
            record["engine"] = "cedarpy 3.0"

    edited = Doctored(chronicle(told), edit=other)
    with pytest.raises(ConfigurationInvalid, match=r"decided by `cedarpy 3.0`, .* --accept-engine"):
        prove(edited)
    assert prove(edited, accept_engine=True).is_exact


# What was erased is named, and never guessed.


def erased(world: World, address: str) -> Doctored:
    return Doctored(chronicle(world), erased={address})


def test_a_decision_without_its_request_is_missing_and_still_booked(told: World) -> None:
    """Its record tells what it claimed, so the decisions behind it are proven all the same."""
    first = decisions(told)[0]
    proof = prove(erased(told, first["request"]))
    assert proof.is_exact
    assert proof.decisions == 3
    (missing,) = proof.missing
    assert (missing.seq, missing.decision_id, missing.what) == (first["i"], first["decision"], "the request")


def test_a_counting_permit_without_its_request_is_booked(world: World) -> None:
    """What it counts stands in its record, also where there is no amount; a denial books nothing."""
    world.tenant()
    world.budget(limit("3", dimension="count", currency=None))
    for request in (tool_call(), payment("5", quantities={"tokens": 3}), tool_call(tool="shell"), tool_call()):
        world.decide(request)
    world.decide(tool_call(tool="fetch"))
    addresses = [body["request"] for body in decisions(world)]
    proof = prove(Doctored(chronicle(world), erased=set(addresses[:4])))
    assert proof.is_exact
    assert proof.missing_count == 4
    assert decisions(world)[-1]["codes"] == ["budget_exceeded"]


def test_a_permit_that_holds_nothing_is_missing_without_a_booking(world: World) -> None:
    world.tenant()
    world.decide(tool_call())
    proof = prove(erased(world, decisions(world)[0]["request"]))
    assert (proof.is_exact, proof.missing_count) == (True, 1)


def test_a_decision_whose_budget_nobody_made_is_not_booked(told: World) -> None:
    """What becomes of its hold is let pass; the next decision shows that a record is gone."""
    first, *_, last = decisions(told)
    rows = [["bud_nobody", *first["budgets"][0][1:]]]
    proof = prove(Doctored(chronicle(told), edit=changing(first["i"], budgets=rows), erased={first["request"]}))
    assert [each.what for each in proof.missing] == ["the request"]
    assert proof.difference is not None
    assert proof.difference.seq <= last["i"]


def test_a_record_that_only_looks_like_an_ending_is_let_pass(told: World) -> None:
    assert prove(Doctored(chronicle(told), edit=changing(2, late=True))).is_exact


def test_a_decision_without_its_policies_is_missing(told: World) -> None:
    """The list of them, or the text of one."""
    manifest = decisions(told)[0]["policies"]
    assert {each.what for each in prove(erased(told, manifest)).missing} == {"the list of policies"}
    with told.look() as part:
        content = part.audit.fact(digest(manifest), 0) or b""
    text = orjson.loads(content)["files"][0]
    assert {each.what for each in prove(erased(told, text[1])).missing} == {f"file `{text[0]}`"}
    policy = orjson.loads(content)["api"][0]
    assert {each.what for each in prove(erased(told, policy[3])).missing} == {f"policy `{policy[0]}`"}


def test_decisions_that_need_a_lost_identity_are_missing_until_it_is_known_again(told: World) -> None:
    """Later versions are whole, so a change makes it known."""
    changed = next(body for body in told.bodies() if body["type"] == "identity_created" and body["identity"] == "bob")
    versions = changed["chain"]
    assert isinstance(versions, list)
    before = prove(erased(told, versions[0][2]))
    asked = [body for body in decisions(told) if body["identity"] == "bob"]
    assert [each.decision_id for each in before.missing] == [None, *(body["decision"] for body in asked)]
    told.run(told.registry.change(OPERATOR, "t_one", "bob", IdentityPatch(name="Robert"), told.now_us))
    told.decide(payment("1", "bob"))
    after = prove(erased(told, versions[0][2]))
    assert (after.is_exact, after.missing_count, after.decisions) == (True, before.missing_count, before.decisions + 1)


def test_decisions_that_need_a_lost_budget_are_missing_for_good(told: World) -> None:
    """Nobody knows what it had used; once it is deleted it matters no more."""
    made = next(body for body in told.bodies() if body["type"] == "budget_created")
    versions = made["budgets"]
    assert isinstance(versions, list)
    proof = prove(erased(told, versions[0][2]))
    assert (proof.decisions, proof.missing_count, proof.is_exact) == (0, 5, True)
    told.run(told.treasurer.delete(OPERATOR, "t_one", str(made["budget"]), told.now_us))
    told.decide(payment("500"))
    proof = prove(erased(told, versions[0][2]))
    assert (proof.decisions, proof.missing_count, proof.is_exact) == (1, 5, True)


def test_decisions_that_need_a_lost_card_are_missing(world: World) -> None:
    """The card itself, or the version of its budget."""
    world.tenant()
    desk = CardDesk(world.store, world.treasurer, world.ids)
    draft = CardDraft(identity_id="root", currency="CAD", spend_limit_daily=Major("25"))
    card = world.run(desk.create(OPERATOR, "t_one", draft, None, world.now_us)).value.card.card_id
    world.decide(replaced(payment("10"), card_id=card))
    world.decide(payment("10"))
    for kind, name in (("card_created", "cards"), ("budget_created", "budgets")):
        versions = next(body for body in world.bodies() if body["type"] == kind)[name]
        assert isinstance(versions, list)
        proof = prove(erased(world, versions[0][2]))
        assert (proof.is_exact, proof.decisions, proof.missing_count) == (True, 1, 2)


def test_only_so_many_missing_facts_are_named(told: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted."""
    assert MISSING_MAX >= 1_000
    monkeypatch.setattr("sidecar.service.proof.MISSING_MAX", 1)
    monkeypatch.setattr("sidecar.service.replay.MISSING_MAX", 1)
    addresses = {body["request"] for body in decisions(told)}
    proof = prove(Doctored(chronicle(told), erased=addresses))
    assert (len(proof.missing), proof.missing_count) == (1, 4)
    found = retried(Doctored(chronicle(told), erased=addresses), shipped_files())
    assert (len(found.missing), found.missing_count, found.decisions) == (1, 4, 0)


def test_it_is_told_how_far_the_work_has_come(told: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.service.proof.CHUNK", 4)
    heard: list[int] = []
    Prover(chronicle(told), heard.append, accept_engine=False).prove()
    assert heard[:3] == [0, 4, 8]
    assert heard[-1] >= len(told.kinds()) - 1


def captured(world: World) -> Terminal:
    """A tenant with a budget, where something was captured that nobody had asked for, and given back."""
    terminal = Terminal(world)
    world.budget(limit("20", "ann"))
    terminal.tells(capture(3_000))
    terminal.tells(refund(500))
    return terminal


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [("amount", 2_999, "budgets"), ("overdrawn", [], "overdrawn"), ("entity_revision", 1, "entity_revision")],
)
def test_a_capture_that_was_recorded_otherwise_is_named(world: World, field: str, value: object, named: str) -> None:
    captured(world)

    def edit(record: dict[str, Any]) -> None:
        if record["type"] == "forced":
            record[field] = value

    proof = prove(Doctored(chronicle(world), edit=edit))
    assert proof.difference is not None
    assert (proof.difference.field, proof.decisions) == (named, 0)


def test_a_capture_by_other_policies_than_those_of_then(world: World) -> None:
    captured(world)

    def edit(record: dict[str, Any]) -> None:
        if record["type"] == "policy_created":
            record["policy"] = "pol_no"

    proof = prove(Doctored(chronicle(world), edit=edit))
    assert proof.difference is not None
    assert "the records before tell otherwise of policy" in proof.difference.found


@pytest.mark.parametrize("what", ["policies", "budgets"])
def test_a_capture_whose_facts_were_erased_is_missing(world: World, what: str) -> None:
    """It is booked as it was recorded; where its budget is not known either, what becomes of it is let pass."""
    captured(world)
    [forced] = [body for body in world.bodies() if body["type"] == "forced"]
    address = str(forced[what] if what == "policies" else forced[what][0][2])  # type: ignore[index]
    proof = prove(Doctored(chronicle(world), erased=(address,)))
    assert proof.difference is None
    assert forced["decision"] in [missing.decision_id for missing in proof.missing]


def test_a_capture_stands_whatever_the_policies(world: World) -> None:
    """By other files a request after it has as little room as it had."""
    terminal = captured(world)
    terminal.asks(1_000, 1)
    found = retried(chronicle(world), shipped_files())
    assert (found.flips, found.decisions) == ((), 1)

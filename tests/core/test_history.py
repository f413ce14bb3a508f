"""Records are read as what they tell; one that tells nothing here is let pass, one of an unknown kind is not."""

import orjson
import pytest

from sidecar.core.errors import ValidationFailed
from sidecar.core.history import (
    BudgetDeleted,
    Changed,
    Decided,
    Ended,
    Forced,
    Opened,
    digest,
    may_reopen,
    opening,
    read_event,
)
from sidecar.core.references import addresses
from sidecar.core.staleness import Freshly

ADDRESS = "A" * 43
DELETED = BudgetDeleted(ts_us=5, kind="budget_deleted", budget="bud_a")
DECISION: dict[str, object] = {
    "decision": "dec_a",
    "now": 5,
    "identity": "bob",
    "action": "tool.call",
    "resource": {"type": "tool", "id": "x"},
    "verdict": "deny",
    "codes": [],
    "matched": [],
    "chain": [],
    "budgets": [],
    "request": ADDRESS,
    "policies": ADDRESS,
    "engine": "cedarpy",
    "token": "operator",
    "entity_revision": 3,
}


def body(kind: str, **fields: object) -> bytes:
    frame = {"v": 1, "log": "sidecar.local/x", "i": 7, "prev": ADDRESS, "ts": 5, "type": kind}
    return orjson.dumps(frame | fields, option=orjson.OPT_SORT_KEYS)


def test_each_kind_of_record_has_its_value() -> None:
    opened = read_event(body("open", tenant_id="t_one", root="root", time_zone="UTC", mode="live"))
    assert opening(opened) == Opened(ts_us=5, tenant_id="t_one", root="root", time_zone="UTC", mode="live")
    assert read_event(body("budget_deleted", budget="bud_a")) == DELETED
    ended = read_event(
        body("settle", decision="dec_a", identity="bob", state="settled", measures=[["amount", 5, 0, 5, 0]], late=True)
    )
    assert ended == Ended(
        seq=7,
        ts_us=5,
        kind="settle",
        decision_id="dec_a",
        identity="bob",
        state="settled",
        measures=(("amount", 5, 0, 5, 0),),
        late=True,
    )
    changed = read_event(body("kill_switch", identity="bob", chain=[["bob", 3, ADDRESS]]))
    assert changed == Changed(seq=7, ts_us=5, kind="kill_switch", chain=(("bob", 3, ADDRESS),), identity="bob")
    assert read_event(body("clock_event", expected=1)) == Changed(seq=7, ts_us=5, kind="clock_event")


def test_a_record_of_an_unknown_kind_is_refused() -> None:
    """It could tell of anything; a resource may be called what it likes."""
    decided = {**DECISION, "resource": {"type": "decision", "id": "x"}}
    assert isinstance(read_event(body("decision", **decided)), Decided)
    for kind in ("something_new", "decided", ""):
        with pytest.raises(ValidationFailed, match=f"of type `{kind}`, which this version does not have"):
            read_event(body(kind, **decided))


def test_what_cannot_be_read_is_refused() -> None:
    for bad in (b"{", b"[]", body("decision"), body("settle", decision=7)):
        with pytest.raises(ValidationFailed, match="the record cannot be read"):
            read_event(bad)
    with pytest.raises(ValidationFailed, match="record 0 does not open a log"):
        opening(DELETED)
    with pytest.raises(ValidationFailed, match="`x` is no address of a fact"):
        digest("x")


def test_a_decision_refers_to_what_it_was_made_from_and_a_change_to_what_came_of_it() -> None:
    """Each address once per place, in a fixed order."""
    names = ["".join(("A", letter, "A" * 41)) for letter in "ABCDEF"]
    request, policies, chain, other, card, budget = names
    decided = read_event(
        body(
            "decision",
            decision="dec_a",
            now=5,
            identity="bob",
            action="tool.call",
            resource={"type": "tool", "id": "x"},
            verdict="deny",
            codes=["forbidden"],
            matched=["p"],
            chain=[["bob", 1, chain]],
            budgets=[["bud_a", 1, budget, None, 0, "9007199254740992", 5]],
            request=request,
            policies=policies,
            engine="cedarpy",
            token="operator",
            entity_revision=3,
            others=[["eve", 1, other]],
            cards=[["card_a", 1, card]],
        )
    )
    assert list(addresses(decided)) == names
    changed = read_event(body("budget_created", budgets=[["bud_a", 1, budget]], budget="bud_a"))
    assert list(addresses(changed)) == [budget]
    assert list(addresses(read_event(body("policy_created", policy="pol_a", text=policies)))) == [policies]
    assert list(addresses(read_event(body("token_created", text="no address")))) == []
    assert list(addresses(DELETED)) == []


def test_what_is_heard_of_a_hold_after_its_end_is_seen_in_the_bytes() -> None:
    """A refund, a late settlement, and what was counted and is given back."""
    assert may_reopen(body("refund", decision="dec_a"))
    assert may_reopen(body("settle", late=True))
    assert may_reopen(body("release", measures=[["count", 1, 0, 0, 0]]))
    assert not may_reopen(body("release", measures=[["count", 1, 0, 1, 0]]))
    assert not may_reopen(body("settle", decision='"late":true'))


def test_a_followers_decision_is_read_with_the_age_of_its_data_and_any_other_without() -> None:
    """Records from before there were followers have nothing of it."""
    plain = read_event(body("decision", **DECISION))
    assert isinstance(plain, Decided)
    assert plain.freshly is None
    known = read_event(body("decision", **DECISION, age_ms=75_001, stale_after_ms=60_000, skew_ms=-5))
    assert isinstance(known, Decided)
    assert known.freshly == Freshly(75_001_000, 60_000_000, -5_000)
    unknown = read_event(body("decision", **DECISION, stale_after_ms=60_000, fault=True))
    assert isinstance(unknown, Decided)
    assert unknown.freshly is not None
    assert unknown.freshly.age_us is None
    assert unknown.freshly.fault is not None


FORCED: dict[str, object] = {
    "decision": "dec_a",
    "now": 5,
    "identity": "bob",
    "card": "card_a",
    "amount": 7,
    "currency": "CAD",
    "chain": [["bob", 1, "B" * 43]],
    "cards": [["card_a", 2, "C" * 43]],
    "budgets": [["bud_a", 3, "D" * 43, None, 0, 0, 7]],
    "policies": ADDRESS,
    "network": "stripe",
    "authorization": "iauth_1",
    "by": "cprg_1",
    "entity_revision": 3,
}


def test_what_was_captured_without_a_hold_is_read_whole() -> None:
    forced = read_event(body("forced", **FORCED))
    assert isinstance(forced, Forced)
    assert (forced.decision_id, forced.now_us, forced.overdrawn, forced.merchant) == ("dec_a", 5, (), None)
    assert forced.frame == {"v": 1, "log": "sidecar.local/x", "i": 7, "prev": ADDRESS, "ts": 5, "type": "forced"}
    assert list(addresses(forced)) == [ADDRESS, "B" * 43, "C" * 43, "D" * 43]
    with pytest.raises(ValidationFailed):
        read_event(body("forced", **FORCED | {"network": "visa"}))


def test_a_card_network_restates_what_a_decision_holds() -> None:
    """It may do so at any time, after any ending."""
    record = body("restate", decision="dec_a", identity="bob", state="expired", measures=[], kept=7, by="cprg_1")
    ended = read_event(record)
    assert isinstance(ended, Ended)
    assert (ended.kind, ended.kept) == ("restate", 7)
    assert may_reopen(record)
    assert isinstance(read_event(body("card_event", network="stripe", event="evt_1")), Changed)

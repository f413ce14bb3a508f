"""Records are read as what they tell, and a record that tells nothing here is let pass."""

import orjson
import pytest

from sidecar.core.errors import ValidationFailed
from sidecar.core.history import (
    BudgetDeleted,
    Changed,
    Ended,
    Opened,
    addresses,
    digest,
    may_reopen,
    opening,
    read_event,
    read_manifest,
)

ADDRESS = "A" * 43


def body(kind: str, **fields: object) -> bytes:
    frame = {"v": 1, "log": "sidecar.local/x", "i": 7, "prev": ADDRESS, "ts": 5, "type": kind}
    return orjson.dumps(frame | fields, option=orjson.OPT_SORT_KEYS)


def test_each_kind_of_record_has_its_value() -> None:
    opened = read_event(body("open", tenant_id="t_one", root="root", time_zone="UTC", mode="live"))
    assert opening(opened) == Opened(tenant_id="t_one", root="root", time_zone="UTC", mode="live")
    assert read_event(body("budget_deleted", budget="bud_a")) == BudgetDeleted("bud_a")
    ended = read_event(body("settle", decision="dec_a", state="settled", measures=[["amount", 5, 0, 5, 0]], late=True))
    assert ended == Ended(
        seq=7,
        ts_us=5,
        kind="settle",
        decision_id="dec_a",
        state="settled",
        measures=(("amount", 5, 0, 5, 0),),
        late=True,
    )
    changed = read_event(body("kill_switch", identity="bob", chain=[["bob", 3, ADDRESS]]))
    assert changed == Changed(seq=7, kind="kill_switch", chain=(("bob", 3, ADDRESS),), identity="bob")
    assert read_event(body("something_new", whatever=[1])) == Changed(seq=7, kind="something_new")


def test_what_cannot_be_read_is_refused() -> None:
    for bad in (b"{", b"[]", body("decision"), body("settle", decision=7)):
        with pytest.raises(ValidationFailed, match="the record cannot be read"):
            read_event(bad)
    with pytest.raises(ValidationFailed, match="no list of policies"):
        read_manifest(b"{}")
    with pytest.raises(ValidationFailed, match="record 0 does not open a log"):
        opening(BudgetDeleted("bud_a"))
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
    assert list(addresses(read_event(body("note", text="no address")))) == []
    assert list(addresses(BudgetDeleted("bud_a"))) == []


def test_a_refund_and_a_late_settlement_are_seen_in_the_bytes() -> None:
    assert may_reopen(body("refund", decision="dec_a"))
    assert may_reopen(body("settle", late=True))
    assert not may_reopen(body("settle", decision='"late":true'))

"""`GET /v1/shadow`: who sees it, what stands in it, and that it is there without shadow policies as well."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.doors.wire.query import cursor_at
from tests.doors.door import Door, House, build, check_refusal
from tests.process.server import OPERATOR

AT_MOST_5 = (
    '@id("at-most-5") forbid (principal, action == Action::"card.authorize", resource) when { context.amount > 500 };'
)
NO_FLIPS = {"count": 0, "amounts": []}
NOTHING = {
    "evaluated": 0,
    "same": 0,
    "allow_to_deny": NO_FLIPS,
    "deny_to_allow": NO_FLIPS,
    "errors": 0,
    "dropped": 0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of shadow policies."""
    made = tmp_path / "candidate"
    made.mkdir()
    (made / "cards.cedar").write_text(AT_MOST_5)
    return made


@pytest.fixture
def own(tmp_path: Path, folder: Path) -> Iterator[House]:
    """A tenant of an application with these shadow policies."""
    with Door(tmp_path, shadow_policies=folder) as door:
        yield build(door)


def test_differences_come_with_both_sides_and_exact_sums(own: House) -> None:
    decisions = [own.ok("POST", "/v1/authorize", own.request(amount)) for amount in ("4.99", "5.01", "6.20")]
    own.ok("POST", "/v1/authorize", own.request(7, dry_run=True))
    own.door.compare()
    answer = own.call("GET", "/v1/shadow")
    assert '"amount":11.21}' in answer.body.decode()
    found = answer.document
    assert [each["decision_id"] for each in found["data"]] == [each["decision_id"] for each in decisions[1:]]
    assert [str(each["amount"]) for each in found["data"]] == ["5.01", "6.2"]
    first = found["data"][0]
    assert (first["seq"], first["policy_revision"]) == (decisions[1]["audit"]["seq"], decisions[1]["policy_revision"])
    assert first["live"]["allowed"] is True
    assert first["shadow"] == {
        "allowed": False,
        "codes": ["forbidden"],
        "policies": [{"policy_id": "at-most-5", "source": "candidate/cards.cedar:1"}],
    }
    summary = found["summary"]
    assert first["shadow_revision"] == summary["shadow_revision"]
    assert (summary["evaluated"], summary["same"], summary["allow_to_deny"]["count"]) == (3, 1, 2)
    seen = own.door.call("GET", "/metrics", token=None).body.decode()
    assert 'sidecar_shadow_decisions_total{outcome="allow_to_deny"} 2.0' in seen
    assert 'sidecar_shadow_decisions_total{outcome="same"} 1.0' in seen


def test_pages_filters_and_cursors_are_those_of_every_list(own: House) -> None:
    for amount in (6, 7, 8):
        own.permit(amount)
    own.door.compare()
    first = own.ok("GET", "/v1/shadow?limit=2&direction=allow_to_deny")
    rest = own.ok("GET", f"/v1/shadow?limit=2&direction=allow_to_deny&cursor={first['next_cursor']}")
    assert [each["amount"] for each in (*first["data"], *rest["data"])] == [6, 7, 8]
    assert rest["next_cursor"] is None
    assert first["summary"] == rest["summary"]
    assert own.ok("GET", "/v1/shadow?direction=deny_to_allow")["data"] == []
    check_refusal(own.call("GET", "/v1/shadow?direction=both"), 400, "direction")
    check_refusal(own.call("GET", f"/v1/shadow?cursor={first['next_cursor']}"), 400, "cursor")
    check_refusal(own.call("GET", "/v1/shadow?limit=0"), 400, "limit")
    check_refusal(own.call("GET", "/v1/shadow?verdict=deny"), 400, "verdict")


@pytest.mark.parametrize("place", [2**64 - 2, 2**64 - 1, 2**64, 2**128 - 1])
def test_a_made_up_cursor_beyond_all_places_asks_for_the_end(own: House, place: int) -> None:
    own.permit(6)
    own.door.compare()
    answer = own.ok("GET", f"/v1/shadow?cursor={cursor_at(place, 'shadow')}")
    assert (answer["data"], answer["next_cursor"]) == ([], None)


def test_a_tenants_key_and_the_operator_see_it_and_an_agent_does_not(own: House) -> None:
    own.permit(6)
    own.door.compare()
    own_answer = own.ok("GET", "/v1/shadow")
    assert own.door.ok("GET", f"/v1/shadow?tenant_id={own.tenant_id}", token=OPERATOR) == own_answer
    check_refusal(own.door.call("GET", "/v1/shadow", token=OPERATOR), 400, "tenant_id")
    check_refusal(own.call("GET", "/v1/shadow", token=own.agent_token), 403)
    other = build(own.door, "Other Co")
    assert other.ok("GET", "/v1/shadow")["data"] == []
    assert other.ok("GET", "/v1/shadow")["summary"]["evaluated"] == 0


def test_what_was_found_outlives_the_server_for_as_long_as_the_files_stay(tmp_path: Path, folder: Path) -> None:
    with Door(tmp_path, shadow_policies=folder) as door:
        house = build(door)
        house.permit(6)
        door.compare()
        before = house.ok("GET", "/v1/shadow")
    for shadow, kept in ((folder, True), (None, False), (folder, False)):
        with Door(tmp_path, shadow_policies=shadow) as door:
            found = door.ok("GET", "/v1/shadow", token=house.key)
        assert (found == before) is kept
        if not kept:
            revision = None if shadow is None else before["summary"]["shadow_revision"]
            assert found == {"data": [], "next_cursor": None, "summary": {"shadow_revision": revision} | NOTHING}


def test_without_shadow_policies_there_is_nothing_to_show(house: House) -> None:
    house.permit()
    summary = {"shadow_revision": None} | NOTHING
    assert house.ok("GET", "/v1/shadow") == {"data": [], "next_cursor": None, "summary": summary}

"""Calls of followers and about them: who may make them, what they refuse, and what they show."""

import json
from typing import Any

import pytest

from sidecar.core import audit
from sidecar.core.limits import SHIPMENT_BODY_BYTES_MAX, SHIPPED_RECORDS_MAX, SHIPPED_USAGES_MAX
from sidecar.doors.wire.body import APART_BYTES
from tests.doors.door import NOON_US, Door, House, check_refusal
from tests.process.server import OPERATOR, Document

PATH = "/v1/audit/records"
ORIGIN = audit.origin("edge1")


def records(house: House, number: int, origin: str = ORIGIN, **more: object) -> list[str]:
    """A log of a follower of ``house``."""
    head = audit.Head(0, audit.genesis(origin), 0)
    opened: audit.Body = {"tenant_id": house.tenant_id, "root": house.root, "time_zone": "UTC", "mode": "live"}
    bodies = []
    for index in range(number):
        sealed = audit.seal(head, origin, "clock_event" if index else "open", NOON_US, {**more} if index else opened)
        bodies.append(sealed.body.decode())
        head = sealed.head
    return bodies


def shipment(bodies: list[str], start: int = 0, **changes: object) -> dict[str, Any]:
    """What a follower posts."""
    status = {"revision": 1, "age_ms": 1_500, "head": start + len(bodies)}
    return {"origin": ORIGIN, "from_seq": start, "records": bodies, "status": status} | changes


@pytest.fixture(scope="module")
def follower(house: House) -> Document:
    """A follower's token."""
    return house.ok("POST", "/v1/tokens", {"name": "edge", "kind": "follower"})


@pytest.fixture(scope="module")
def shipped(house: House, follower: Document) -> str:
    """The id of a follower that has shipped 12 records."""
    taken = house.door.ok("POST", PATH, shipment(records(house, 12)), token=follower["token"])
    assert taken["next_seq"] == 12
    found: str = follower["token_id"]
    return found


def test_records_of_a_follower_are_read_in_pages_by_name_or_not(house: House, shipped: str) -> None:
    first = house.ok("GET", f"/v1/audit?follower_id={shipped}&limit=7")
    rest = house.ok("GET", f"/v1/audit?follower_id={shipped}&limit=7&cursor={first['next_cursor']}")
    assert [each["seq"] for each in first["data"] + rest["data"]] == [*range(12)]
    named = house.ok("GET", f"/v1/audit?follower_id={shipped}&origin={ORIGIN}&limit=7")
    assert named["data"] == first["data"]
    verified = house.ok("GET", f"/v1/audit/verify?follower_id={shipped}")
    assert (verified["valid"], verified["entries_checked"], verified["head"]["seq"]) == (True, 12, 11)
    part = house.ok("GET", f"/v1/audit/verify?follower_id={shipped}&from_seq=3&to_seq=5")
    assert (part["valid"], part["entries_checked"]) == (True, 3)
    assert house.ok("GET", "/v1/audit?limit=1")["data"][0]["hash"] != first["data"][0]["hash"]


def test_a_follower_is_shown_as_it_said_it_is(house: House, shipped: str) -> None:
    shown = house.ok("GET", f"/v1/followers/{shipped}")
    assert (shown["name"], shown["scope"], shown["records"], shown["backlog"]) == ("edge", None, 12, 0)
    assert (shown["age_seconds"], shown["origin"]) == (1.5, ORIGIN)
    assert shown["lag_revisions"] == shown["tenant_revision"] - 1
    assert shown in house.ok("GET", "/v1/followers")["data"]
    check_refusal(house.call("GET", "/v1/followers/tok_01K9Z3J4M5N6P7Q8R9S0T1V2W3"), 404, "follower_id")


def test_a_follower_that_only_asked_is_shown_without_a_log(house: House) -> None:
    made = house.ok("POST", "/v1/tokens", {"name": "new", "kind": "follower"})
    house.door.ok("POST", PATH, shipment([]), token=made["token"])
    shown = house.ok("GET", f"/v1/followers/{made['token_id']}")
    assert (shown["logs"], shown["origin"], shown["records"], shown["revision"]) == ([], None, 0, None)
    check_refusal(house.call("GET", f"/v1/audit?follower_id={made['token_id']}"), 404, "follower_id")
    gap = house.door.call("POST", PATH, shipment(records(house, 3)[1:], 1), token=made["token"])
    assert check_refusal(gap, 409) == "record 0 is missing, record 1 comes next"
    alarm = house.ok("GET", f"/v1/followers/{made['token_id']}")["alarm"]
    assert alarm["reason"] == "record 0 is missing, record 1 comes next"


def test_only_its_tenant_sees_a_follower(house: House, neighbour: House, shipped: str) -> None:
    check_refusal(neighbour.call("GET", f"/v1/followers/{shipped}"), 404)
    for path in ("/v1/audit", "/v1/audit/verify"):
        check_refusal(neighbour.call("GET", f"{path}?follower_id={shipped}"), 404, "follower_id")
        foreign = house.call("GET", f"{path}?follower_id={shipped}&tenant_id={neighbour.tenant_id}")
        check_refusal(foreign, 403, "tenant_id")
    assert neighbour.ok("GET", "/v1/followers")["data"] == []
    operator = house.door.ok("GET", f"/v1/followers/{shipped}?tenant_id={house.tenant_id}")
    assert operator["follower_id"] == shipped


def test_only_a_follower_ships_and_only_for_its_own_tenant(house: House, neighbour: House, follower: Document) -> None:
    body = shipment(records(house, 2))
    for token in (house.key, house.agent_token, OPERATOR):
        check_refusal(house.door.call("POST", PATH, body, token=token), 403)
    answer = house.door.call("POST", f"{PATH}?tenant_id={neighbour.tenant_id}", body, token=follower["token"])
    check_refusal(answer, 403, "tenant_id")
    for path in ("/v1/followers", f"/v1/followers/{follower['token_id']}"):
        check_refusal(house.door.call("GET", path, token=house.agent_token), 403)
        check_refusal(house.door.call("GET", path, token=follower["token"]), 403)


def test_a_batch_has_an_end(door: Door, house: House, follower: Document) -> None:
    """In records, in usages and in bytes."""
    token = follower["token"]
    many = shipment(["{}"] * (SHIPPED_RECORDS_MAX + 1))
    check_refusal(door.call("POST", PATH, many, token=token), 400, "records")
    row = ["bud_x", None, 0, 0]
    status = {"revision": 1, "head": 0, "usages": [row] * (SHIPPED_USAGES_MAX + 1)}
    check_refusal(door.call("POST", PATH, shipment([], status=status), token=token), 400, "status.usages")
    long = json.dumps(shipment([], facts=["x" * SHIPMENT_BODY_BYTES_MAX])).encode()
    check_refusal(door.call("POST", PATH, long, token=token), 413)
    check_refusal(door.call("POST", PATH, shipment([], origin="x"), token=token), 400, "origin")
    check_refusal(house.call("GET", f"/v1/audit?origin={ORIGIN}"), 400, "origin")


def test_a_long_body_is_read_like_a_short_one(house: House) -> None:
    """Though in a thread; what is wrong with it is said the same way."""
    made = house.ok("POST", "/v1/tokens", {"name": "long", "kind": "follower"})
    bodies = records(house, 60, filling='ü"' * 3_000)
    whole = shipment(bodies)
    assert len(json.dumps(whole)) > APART_BYTES
    assert house.door.ok("POST", PATH, whole, token=made["token"]) == {
        "next_seq": 60,
        "received": 60,
        "follower_id": made["token_id"],
    }
    wrong = house.door.call("POST", PATH, whole | {"more": 1}, token=made["token"])
    check_refusal(wrong, 400, "more")
    assert house.ok("GET", f"/v1/audit/verify?follower_id={made['token_id']}")["valid"] is True


def test_facts_that_no_record_names_are_refused(house: House, follower: Document, shipped: str) -> None:
    answer = house.door.call("POST", PATH, shipment(records(house, 12), facts=["what"]), token=follower["token"])
    check_refusal(answer, 400, "facts")
    assert house.ok("GET", f"/v1/followers/{shipped}")["alarm"] is None

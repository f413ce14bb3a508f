"""Card programs over the native API: every call, what it refuses, and that a secret is never shown."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import Document

PATH = "/v1/treasury/card-programs"
BODY: Document = {"network": "stripe", "name": "Acme cards", "secret": "whsec_0123456789"}
STANDARD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

BAD: dict[str, tuple[Document, str | None]] = {
    "no network": ({"name": "x", "secret": "whsec_0123456789"}, "network"),
    "an unknown network": (BODY | {"network": "visa"}, "network"),
    "no name": ({"network": "stripe", "secret": "whsec_0123456789"}, "name"),
    "an empty name": (BODY | {"name": ""}, "name"),
    "a line break": (BODY | {"name": "a\nb"}, "name"),
    "no secret": ({"network": "stripe", "name": "x"}, "secret"),
    "an empty secret": (BODY | {"secret": ""}, "secret"),
    "a key of the API": (BODY | {"secret": "sk_live_0123456789"}, "secret"),
    "a secret of null": (BODY | {"secret": None}, "secret"),
    "no base64": (BODY | {"network": "lithic"}, "secret"),
    "an unknown field": (BODY | {"id": "cprg_1"}, "id"),
}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """A tenant with an application of its own."""
    with Door(tmp_path) as door:
        yield build(door)


def test_a_program_is_made_shown_rotated_and_deleted(own: House) -> None:
    made = own.ok("POST", PATH, BODY)
    assert made == {
        "program_id": made["program_id"],
        "tenant_id": own.tenant_id,
        "network": "stripe",
        "name": "Acme cards",
        "has_former_secret": False,
        "former_secret_until": None,
        "created_at": "2026-03-09T12:00:00Z",
        "rotated_at": None,
        "revision": 1,
    }
    one = f"{PATH}/{made['program_id']}"
    assert own.ok("GET", one) == made
    assert own.ok("GET", PATH) == {"data": [made], "next_cursor": None}
    rotated = own.ok("POST", f"{one}/rotate", {"secret": "whsec_another_one"})
    day_later = {"has_former_secret": True, "former_secret_until": "2026-03-10T12:00:00Z", "revision": 2}
    assert rotated == made | day_later | {"rotated_at": "2026-03-09T12:00:00Z"}
    own.door.clock.now_us += 86_400_000_000
    assert own.ok("GET", one) == rotated | {"has_former_secret": False, "former_secret_until": None}
    assert own.call("DELETE", one).status == 204
    check_refusal(own.call("GET", one), 404, "program_id")
    check_refusal(own.call("DELETE", one), 404, "program_id")
    check_refusal(own.call("POST", f"{one}/rotate", {"secret": "whsec_another_one"}), 404, "program_id")
    kinds = [record["type"] for record in own.ok("GET", "/v1/audit?limit=200")["data"]]
    assert kinds[-3:] == [f"card_program_{change}" for change in ("created", "rotated", "deleted")]


@pytest.mark.parametrize(("body", "field"), named(BAD))
def test_a_program_that_cannot_be_is_refused(house: House, body: Document, field: str | None) -> None:
    before = house.state()
    sentence = check_refusal(house.call("POST", PATH, body), 400, field)
    assert "0123456789" not in sentence
    assert house.state() == before


def test_a_rotation_that_cannot_be_is_refused(own: House) -> None:
    one = f"{PATH}/{own.ok('POST', PATH, BODY)['program_id']}"
    wrong: tuple[tuple[Document, str], ...] = (
        ({}, "secret"),
        ({"secret": "x"}, "secret"),
        ({"secret": "whsec_another_one", "grace_seconds": -1}, "grace_seconds"),
        ({"secret": "whsec_another_one", "grace_seconds": 10**9}, "grace_seconds"),
        ({"secret": "whsec_another_one", "network": "lithic"}, "network"),
    )
    for body, field in wrong:
        check_refusal(own.call("POST", f"{one}/rotate", body), 400, field)
    check_refusal(own.call("POST", f"{one}/rotate", {"secret": BODY["secret"]}), 409, "secret")
    check_refusal(own.call("POST", PATH, BODY), 409, "secret")


def test_a_repeated_call_is_answered_as_before_and_says_so(own: House) -> None:
    body = {"network": "lithic", "name": "x", "secret": STANDARD}
    first, again = own.call("POST", PATH, body, key="k"), own.call("POST", PATH, body, key="k")
    assert (first.status, again.status, again.is_replayed) == (201, 201, True)
    assert again.document == first.document
    check_refusal(own.call("POST", PATH, body | {"name": "y"}, key="k"), 422)
    one = f"{PATH}/{first.document['program_id']}/rotate"
    turned = [own.call("POST", one, {"secret": f"whsec_{'A' * 32}"}, key="r") for _ in range(2)]
    assert [answer.is_replayed for answer in turned] == [False, True]
    assert turned[0].document == turned[1].document


def test_only_tenant_keys_and_the_operator_may_call(house: House, neighbour: House) -> None:
    made = house.ok("POST", PATH, {"network": "lithic", "name": "x", "secret": STANDARD})
    one = f"{PATH}/{made['program_id']}"
    calls = (("GET", PATH, None), ("POST", PATH, BODY), ("GET", one, None), ("DELETE", one, None))
    for method, path, body in (*calls, ("POST", f"{one}/rotate", {"secret": STANDARD})):
        check_refusal(house.call(method, path, body, token=house.agent_token), 403)
        if path == one:
            check_refusal(neighbour.call(method, path, body), 404)
    assert neighbour.ok("GET", PATH)["data"] == []
    assert house.door.ok("GET", f"{one}?tenant_id={house.tenant_id}") == made

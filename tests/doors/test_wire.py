"""What is wrong with a request before its meaning matters: each is the documented 4xx, and nothing has changed."""

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest

from sidecar.core.access import Caller
from sidecar.doors.native import shapes
from sidecar.doors.wire.context import Context
from sidecar.doors.wire.endpoint import Ask, Call, Endpoint
from sidecar.doors.wire.http import Answer
from tests.doors.door import Door, House, check_refusal, named
from tests.process.server import OPERATOR

LONG = "a" * 10_000
DEEP = "[" * 40 + "]" * 40


@pytest.fixture(autouse=True)
def _nothing_changes(house: House) -> Iterator[None]:
    """No test of this module leaves a trace, and the application goes on answering."""
    before = house.state()
    yield
    assert house.state() == before
    assert house.door.ok("GET", "/v1/health", token=None)["status"] == "ok"


def body_of(house: House) -> str:
    """Return a good request as text, for breaking it."""
    return json.dumps(house.request("47.23", context={"purpose": "x"}), separators=(",", ":")).replace(
        '"47.23"', "47.23"
    )


# --- JSON -------------------------------------------------------------------------------------------------------------

UNREADABLE: dict[str, tuple[object, ...]] = {
    "a comma too many": ("47.23}", "47.23,}"),
    "an end that is missing": ('"x"}}', '"x"}'),
    "two values": ('{"identity_id"', '{} {"identity_id"'),
    "a comment": ('{"identity_id"', '/* hi */ {"identity_id"'),
    "a single quote": ('"purpose"', "'purpose'"),
    "a key given twice": ('{"identity_id"', '{"action":"x","identity_id"'),
    "a key given twice in the resource": ('"id":"AWS"', '"id":"AWS","id":"GCP"'),
    "a key given twice far below": ('"purpose":"x"', '"purpose":[{"a":{"b":1,"b":2}}]'),
    "a key given twice in two spellings": ('"purpose":"x"', '"purpose":"x","purp\\u006fse":"y"'),
    "not a number": ("47.23", "NaN"),
    "infinity": ("47.23", "Infinity"),
    "minus infinity": ("47.23", "-Infinity"),
    "an underscore in a number": ("47.23", "1_000"),
    "a plus sign": ("47.23", "+1"),
    "a leading zero": ("47.23", "047"),
    "a number without a whole part": ("47.23", ".5"),
    "a hexadecimal number": ("47.23", "0x10"),
    "a number of five thousand digits": ("47.23", "9" * 5_000),
    "half of a surrogate pair": ('"AWS"', '"\\ud800"'),
    "half of a surrogate pair in a key": ('"purpose"', '"\\udfff"'),
    "a control character": ('"AWS"', '"A\tWS"'),
    "a byte of nothing": ('"AWS"', '"A\0WS"'),
    "nesting": ('"x"', DEEP),
    "nesting beyond any stack": ('"x"', "[" * 30_000),
    "a byte order mark": ("{", "\ufeff{"),
}


@pytest.mark.parametrize(("old", "new"), named(UNREADABLE))
def test_json_that_can_be_read_in_two_ways_or_none_is_refused(house: House, old: str, new: str) -> None:
    body = body_of(house)
    assert old in body
    answer = house.call("POST", "/v1/authorize", body.replace(old, new, 1).encode())
    check_refusal(answer, 400)
    assert answer.document["type"] == "invalid_json"


@pytest.mark.parametrize("body", [b"\xff\xfe{}", b'{"identity_id":"\xc3\x28"}', b"\xef\xbb\xbf{}", b"\0", b"nonsense"])
def test_bytes_that_are_no_json_are_refused(house: House, body: bytes) -> None:
    answer = house.call("POST", "/v1/authorize", body)
    check_refusal(answer, 400)
    assert answer.document["type"] == "invalid_json"


@pytest.mark.parametrize("body", [b"[]", b"null", b"true", b'"text"', b"5", b"0.5"])
def test_a_body_is_an_object(house: House, body: bytes) -> None:
    for path in ("/v1/authorize", "/v1/identities", "/v1/policies", "/v1/budgets", "/v1/tokens"):
        answer = house.call("POST", path, body)
        check_refusal(answer, 400)
        assert answer.document["type"] == "validation_failed"


MISFITS: dict[str, tuple[object, ...]] = {
    "an unknown field": ('{"identity_id"', '{"amounts":1,"identity_id"', "amounts"),
    "an unknown field of the resource": ('"id":"AWS"', '"id":"AWS","price":1', "resource.price"),
    "a number for an id": (None, '"identity_id":5', "identity_id"),
    "a list for the resource": (None, '"resource":[]', "resource"),
    "nothing for the action": (None, '"action":null', "action"),
    "a text for a flag": ('{"identity_id"', '{"dry_run":"yes","identity_id"', "dry_run"),
    "a list for the context": (None, '"context":[]', "context"),
    "a flag for an amount": ("47.23", "true", "resource.amount"),
    "an object for an amount": ("47.23", '{"value":1}', "resource.amount"),
    "an exponent": ("47.23", "1e400", "resource.amount"),
    "a small exponent": ("47.23", "1e2", "resource.amount"),
    "more than a currency has places": ("47.23", "47.235", "resource.amount"),
    "more than a currency has places, in zeros": ("47.23", "47.000", "resource.amount"),
    "less than nothing": ("47.23", "-1", "resource.amount"),
    "less than nothing as text": ("47.23", '"-0.01"', "resource.amount"),
    "a huge amount": ("47.23", "10000000000000.01", "resource.amount"),
    "a huge amount beyond 64 bits": ("47.23", "99999999999999999999999", "resource.amount"),
    "an amount in words": ("47.23", '"ten"', "resource.amount"),
    "an empty amount": ("47.23", '""', "resource.amount"),
    "an amount with a comma": ("47.23", '"47,23"', "resource.amount"),
    "an amount in other digits": ("47.23", '"\uff14\uff17"', "resource.amount"),
    "an amount with spaces": ("47.23", '" 47.23"', "resource.amount"),
    "an unknown currency": ('"CAD"', '"XQQ"', "resource.currency"),
    "a currency in small letters": ('"CAD"', '"cad"', "resource.currency"),
    "an amount without a currency": ('"currency":"CAD",', "", "resource.currency"),
    "a currency without an amount": (',"amount":47.23', "", "resource.amount"),
    "neither amount nor currency": ("both", "", "resource.amount"),
    "a category that is none": ('"7372"', '"73"', "resource.merchant_category"),
    "an empty id": ('"AWS"', '""', "resource.id"),
    "an id of ten thousand characters": ('"AWS"', f'"{LONG}"', "resource.id"),
    "a line break in an id": ('"AWS"', '"A\\nWS"', "resource.id"),
    "a null in an id": ('"AWS"', '"A\\u0000WS"', "resource.id"),
    "an odd action": ('"card.authorize"', '"card authorize"', "action"),
    "a long action": ('"card.authorize"', f'"{LONG}"', "action"),
    "an odd type": ('"merchant"', '"Merchant"', "resource.type"),
    "a resource that the action does not apply to": ('"merchant"', '"tool"', "resource.type"),
    "a fraction in the context": ('"purpose":"x"', '"purpose":0.5', "context.purpose"),
    "a wrong type in the context": ('"purpose":"x"', '"purpose":5', "context.purpose"),
    "an unknown key in the context": ('"purpose":"x"', '"color":"red"', "context.color"),
    "a key of the sidecar's in the context": ('"purpose":"x"', '"amount":1', "context.amount"),
    "an entity in the context": ('"purpose":"x"', '"__entity":{"type":"User","id":"x"}', "context.__entity"),
    "an extension below a key of the context": (
        '"purpose":"x"',
        '"purpose":{"a":[{"__extn":{"fn":"ip","arg":"1.2.3.4"}}]}',
        "context.purpose.a[0].__extn",
    ),
    "more than 64 bits in the context": ('"purpose":"x"', '"purpose":9223372036854775808', "context.purpose"),
    "an unknown attribute": ('"id":"AWS"', '"id":"AWS","attributes":{"color":"red"}', "resource.attributes.color"),
    "a fraction of a quantity": (
        '"id":"AWS"',
        '"id":"AWS","quantities":{"tokens":1.5}',
        "resource.quantities.tokens",
    ),
    "less than no quantity": ('"id":"AWS"', '"id":"AWS","quantities":{"tokens":-1}', "resource.quantities.tokens"),
    "amount as a quantity": ('"id":"AWS"', '"id":"AWS","quantities":{"amount":1}', "resource.quantities.amount"),
    "no time to live": (
        '{"identity_id"',
        '{"reservation_ttl_seconds":0,"identity_id"',
        "reservation_ttl_seconds",
    ),
    "an eternal life": (
        '{"identity_id"',
        '{"reservation_ttl_seconds":99999999,"identity_id"',
        "reservation_ttl_seconds",
    ),
}


@pytest.mark.parametrize(("old", "new", "field"), named(MISFITS))
def test_what_does_not_fit_is_refused_with_its_place(house: House, old: str | None, new: str, field: str) -> None:
    body = body_of(house)
    if old is None:
        name = new.split('"')[1]
        document = json.loads(body) | json.loads(f"{{{new}}}")
        assert name in document
        body = json.dumps(document)
    elif old == "both":
        body = body.replace('"currency":"CAD",', "").replace(',"amount":47.23', "")
    else:
        assert old in body
        body = body.replace(old, new, 1)
    answer = house.call("POST", "/v1/authorize", body.encode())
    check_refusal(answer, 400, field)
    assert answer.document["type"] == "validation_failed"


@pytest.mark.parametrize("field", ["identity_id", "action", "resource", "resource.type", "resource.id"])
def test_what_is_required_is_named_when_it_is_missing(house: House, field: str) -> None:
    body = house.request()
    *above, last = field.split(".")
    del (body[above[0]] if above else body)[last]
    check_refusal(house.call("POST", "/v1/authorize", body), 400, field)


@pytest.mark.parametrize("odd", [LONG, "", "\u0000", "id_\u00e9", "../../etc/passwd", "id_01", "a" * 512, "\U0001f600"])
def test_an_id_that_nobody_has_is_not_found(house: House, odd: str) -> None:
    """Whatever it looks like, and however long it is."""
    answer = house.call("POST", "/v1/authorize", house.request() | {"identity_id": odd})
    assert answer.status in {400, 404}, answer
    check_refusal(answer, answer.status, "identity_id")
    check_refusal(house.call("POST", "/v1/authorize", house.request() | {"card_id": odd}), 404, "card_id")


@pytest.mark.parametrize("odd", [LONG, "%00", "id_%C3%A9", "%FF%FE", "..%2F..", "a" * 512, "%F0%9F%98%80", "dec_0"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/tenants/{}"),
        ("GET", "/v1/identities/{}"),
        ("GET", "/v1/identities/{}/chain"),
        ("POST", "/v1/identities/{}/revoke"),
        ("GET", "/v1/policies/{}"),
        ("DELETE", "/v1/policies/{}"),
        ("GET", "/v1/budgets/{}"),
        ("DELETE", "/v1/budgets/{}"),
        ("GET", "/v1/decisions/{}"),
        ("POST", "/v1/decisions/{}/release"),
        ("DELETE", "/v1/tokens/{}"),
        ("GET", "/v1/budgets?identity_id={}"),
        ("GET", "/v1/policies?identity_id={}"),
        ("GET", "/v1/tokens?identity_id={}"),
        ("GET", "/v1/audit?identity_id={}"),
        ("GET", "/v1/identities?parent_id={}"),
    ],
)
def test_a_path_to_nothing_is_not_found(house: House, method: str, path: str, odd: str) -> None:
    answer = house.call(method, path.format(odd))
    assert answer.status in {400, 404}, answer
    check_refusal(answer, answer.status)


# --- The body as a whole ----------------------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_refused_however_it_comes(house: House) -> None:
    """64 KiB pass; one byte more does not, with a length in front or in chunks."""
    body = body_of(house).encode()
    fits = body + b" " * (64 * 1024 - len(body))
    over = fits + b" "
    assert house.call("POST", "/v1/authorize?tenant_id=t_other", fits).status == 403
    check_refusal(house.call("POST", "/v1/authorize", over), 413)
    check_refusal(house.call("POST", "/v1/authorize", [over[:100], over[100:]]), 413)
    check_refusal(house.call("POST", "/v1/authorize", [b" " * 65_536] * 40), 413)


@pytest.mark.parametrize(
    "declared", ["text/plain", "", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "json"]
)
def test_a_body_that_is_not_declared_as_json_is_refused(house: House, declared: str) -> None:
    body = body_of(house).encode()
    answer = house.door.call("POST", "/v1/authorize", body, token=house.key, headers=[("Content-Type", declared)])
    check_refusal(answer, 415)


def test_a_call_without_a_body_takes_none(house: House) -> None:
    check_refusal(house.call("GET", "/v1/budgets", b"{}"), 400)
    check_refusal(house.call("DELETE", f"/v1/budgets/{house.budget}", b"{}"), 400)


def test_no_body_stands_for_an_empty_object(house: House) -> None:
    """It is then the required fields that are missed."""
    check_refusal(house.call("POST", "/v1/identities"), 400, "parent_id")


# --- Headers ----------------------------------------------------------------------------------------------------------

DOUBLED = {"Authorization": "Bearer x", "Idempotency-Key": "b", "Content-Type": "text/plain", "X-Request-Id": "b"}


@pytest.mark.parametrize("name", DOUBLED)
def test_a_header_that_matters_is_given_once(house: House, name: str) -> None:
    """Of two, one layer would take the first and another the last."""
    usual = {"Authorization": f"Bearer {house.key}", "Content-Type": "application/json"}
    usual |= {"Idempotency-Key": "a", "X-Request-Id": "a"}
    headers = [*usual.items(), (name, DOUBLED[name])]
    answer = house.door.call("POST", "/v1/authorize", body_of(house).encode(), token=None, headers=headers)
    assert "twice" in check_refusal(answer, 400)


@pytest.mark.parametrize("key", ["", "x" * 256, "\x7f"])
def test_an_idempotency_key_has_a_shape(house: House, key: str) -> None:
    answer = house.call("POST", "/v1/authorize", body_of(house).encode(), key=key)
    check_refusal(answer, 400, "Idempotency-Key")


def test_a_header_is_ascii(house: House) -> None:
    headers = [("Idempotency-Key", b"\xff\xfe")]
    answer = house.door.call("POST", "/v1/authorize", body_of(house).encode(), token=house.key, headers=headers)
    check_refusal(answer, 400)


def test_a_dry_run_takes_no_idempotency_key(house: House) -> None:
    check_refusal(house.call("POST", "/v1/authorize", house.request(dry_run=True), key="k"), 400, "Idempotency-Key")


@pytest.mark.parametrize("path", ["/v1/health", "/v1/budgets", "/v1/nowhere", "/v1/decisions/dec_x"])
def test_the_request_id_is_taken_or_made_and_echoed(house: House, path: str) -> None:
    """In the header of every answer, and in the body of an error."""
    taken = house.door.call("GET", path, token=house.key, headers=[("X-Request-Id", "trace-1:a/b.c")])
    assert taken.headers["x-request-id"] == "trace-1:a/b.c"
    made = house.door.call("GET", path, token=house.key)
    assert made.headers["x-request-id"].startswith("req_")
    if made.status >= 400:
        assert taken.document["request_id"] == "trace-1:a/b.c"
        assert made.document["request_id"] == made.headers["x-request-id"]


@pytest.mark.parametrize("odd", ["a b", "x" * 200, "<script>", b"\xe9"])
@pytest.mark.parametrize(
    "path",
    ["/v1/budgets", "/v1/nowhere"],
)
def test_a_request_id_that_could_not_stand_in_a_log_is_replaced(house: House, path: str, odd: str | bytes) -> None:
    answer = house.door.call("GET", path, token=house.key, headers=[("X-Request-Id", odd)])
    assert answer.headers["x-request-id"].startswith("req_")


# --- Tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", "Basic b3A6", "Bearer x y", f"Token {OPERATOR}", "Bearer \x00"]
)
def test_a_call_without_a_bearer_token_is_not_authenticated(house: House, value: str | None) -> None:
    headers = [] if value is None else [("Authorization", value)]
    answer = house.door.call("POST", "/v1/authorize", body_of(house).encode(), token=None, headers=headers)
    check_refusal(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_that_is_not_known_says_nothing_of_why(house: House) -> None:
    """Garbage, a wrong secret, a wrong check and a token that never was are answered alike."""
    prefix, secret, check = house.key.rsplit("_", 2)
    wrong = ("1" if secret[0] == "0" else "0") + secret[1:]
    tokens = ["x", LONG, house.key[:-1] + "!", f"{prefix}_{wrong}_{check}", f"{prefix}_{secret}", OPERATOR + "x"]
    tokens += [house.key.replace("sk_live", "at_live"), house.key.replace("sk_live", "sk_test")]
    sentences = {check_refusal(house.call("GET", "/v1/budgets", token=token), 401) for token in tokens}
    assert len(sentences) == 1


def test_a_token_that_ran_out_opens_nothing(house: House) -> None:
    """A token is refused from the second that it was made for; one that would have expired already is not made."""
    expired = {"name": "a", "identity_id": house.agent, "expires_at": "2020-01-01T00:00:00Z"}
    check_refusal(house.call("POST", "/v1/tokens", expired), 400, "expires_at")


# --- Paths, methods, queries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v2/health", "/v1/health/", "/v1/authorize/", "/v1//budgets"])
def test_an_unknown_path_is_not_found(door: Door, path: str) -> None:
    check_refusal(door.call("GET", path), 404)
    check_refusal(door.call("POST", path, b"{"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/authorize", "POST"),
        ("GET", "/authorize", "POST"),
        ("PUT", "/v1/identities", "GET, POST"),
        ("DELETE", "/v1/identities/id_x", "GET, PATCH"),
        ("PATCH", "/v1/budgets", "GET, POST"),
        ("POST", "/v1/budgets/bud_x", "DELETE, GET, PATCH"),
        ("POST", "/v1/policies/pol_x", "DELETE, GET"),
        ("GET", "/v1/decisions/dec_x/settle", "POST"),
        ("GET", "/v1/tokens/tok_x", "DELETE, PATCH"),
        ("DELETE", "/v1/tenants/t_x", "GET, PATCH"),
        ("POST", "/v1/audit", "GET"),
        ("DELETE", "/v1/audit", "GET"),
        ("POST", "/v1/audit/verify", "GET"),
        ("POST", "/v1/health", "GET"),
        ("TRACE", "/v1/tenants", "GET, POST"),
    ],
)
def test_a_method_that_a_path_does_not_have_is_refused_with_those_it_has(
    house: House, method: str, path: str, allowed: str
) -> None:
    answer = house.call(method, path)
    check_refusal(answer, 405)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("color=red", "color"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e2", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", None),
        ("cursor=", "cursor"),
        ("cursor=nonsense", "cursor"),
        ("cursor=AAAAAAAAAAAAAAAA", "cursor"),
        ("cursor=%00", "cursor"),
        ("identity_id", None),
        ("a=%FF", None),
        ("&".join(f"a{number}=1" for number in range(40)), None),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(house: House, query: str, field: str | None) -> None:
    for path in ("/v1/budgets", "/v1/audit", "/v1/identities", "/v1/policies", "/v1/tokens"):
        check_refusal(house.call("GET", f"{path}?{query}"), 400, field)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("verdict=maybe", "verdict"),
        ("action=", "action"),
        ("action=card%20authorize", "action"),
        ("from=yesterday", "from"),
        ("to=2026-02-30T00:00:00Z", "to"),
        ("from=2026-01-01", "from"),
    ],
)
def test_a_filter_of_the_audit_log_that_cannot_be_meant_is_refused(house: House, query: str, field: str) -> None:
    check_refusal(house.call("GET", f"/v1/audit?{query}"), 400, field)


@pytest.mark.parametrize(
    ("query", "field"),
    [("type=Agent", "type"), ("type=", "type"), ("status=dead", "status"), ("external_id=", "external_id")],
)
def test_a_filter_of_identities_that_nothing_can_fit_is_refused(house: House, query: str, field: str) -> None:
    check_refusal(house.call("GET", f"/v1/identities?{query}"), 400, field)


@pytest.mark.parametrize(
    ("query", "field"), [("from_seq=99999", "from_seq"), ("to_seq=99999", "to_seq"), ("from_seq=5&to_seq=3", "to_seq")]
)
def test_a_part_of_the_log_that_does_not_exist_is_not_verified(house: House, query: str, field: str) -> None:
    check_refusal(house.call("GET", f"/v1/audit/verify?{query}"), 400, field)


def test_a_cursor_is_good_for_its_own_list_and_as_it_was_given(house: House) -> None:
    """Not for another list, and not with a character changed."""
    cursor = house.ok("GET", "/v1/identities?limit=1")["next_cursor"]
    assert house.call("GET", f"/v1/identities?cursor={cursor}").status == 200
    changed = ("B" if cursor[3] == "A" else "A").join((cursor[:3], cursor[4:]))
    for path in (f"/v1/audit?cursor={cursor}", f"/v1/identities?cursor={changed}", f"/v1/identities?cursor={cursor}A"):
        check_refusal(house.call("GET", path), 400, "cursor")


def test_body_and_query_name_the_same_tenant(house: House) -> None:
    body = house.request() | {"tenant_id": house.tenant_id}
    check_refusal(house.call("POST", "/v1/authorize?tenant_id=t_other", body), 400, "tenant_id")
    check_refusal(house.door.call("POST", "/v1/authorize", house.request()), 400, "tenant_id")
    check_refusal(house.door.call("GET", "/v1/budgets"), 400, "tenant_id")
    check_refusal(house.door.call("GET", "/v1/budgets?tenant_id=t_nobody"), 404, "tenant_id")
    check_refusal(house.door.call("GET", f"/v1/budgets?tenant_id={LONG}"), 404, "tenant_id")


def test_a_body_that_did_not_arrive_whole_does_nothing() -> None:
    """A settlement cut off on its way must not become one of all that is held."""
    cut: MutableMapping[str, Any] = {"type": "http.request", "body": b"", "more_body": True}
    messages: list[MutableMapping[str, Any]] = [cut, {"type": "http.disconnect"}]
    sent: list[object] = []

    async def run(_ask: Ask) -> Answer:
        raise AssertionError

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    call = Call(method="POST", path="/x", run=run, request=shapes.SettleBody)
    context = Context(lambda _text, _now_us: Caller("operator"), lambda: 0, lambda _now_us: "req_1")
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [(b"content-type", b"application/json")]}
    asyncio.run(Endpoint(context, {"POST": call})(scope, receive, send))
    assert sent == []

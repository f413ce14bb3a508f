"""A door's manner: where its credentials are, how its errors read, which limit of its own it has."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import msgspec
import orjson
import pytest

from sidecar.core.access import Caller, Token
from sidecar.core.admission import Admission, Quota
from sidecar.core.errors import SidecarError, Unauthenticated
from sidecar.core.rates import DoorLimit, RateLimit
from sidecar.doors.wire.context import Context
from sidecar.doors.wire.endpoint import Ask, Call, Endpoint, json_answer
from sidecar.doors.wire.http import Answer, Header, Incoming
from sidecar.doors.wire.manner import Credentials, Manner

LIMIT = DoorLimit("door", RateLimit(1, 60))
TOKEN = Token(
    token_id="tok_1",
    key_id="k",
    digest=b"",
    prefix="sk",
    tenant=1,
    kind="tenant",
    name="key",
    identity_id=None,
    may_release=True,
    created_at_us=0,
    expires_at_us=None,
)


def credentials(incoming: Incoming) -> Credentials:
    """A key and its secret in two headers."""
    key, secret = incoming.header(b"x-key"), incoming.header(b"x-secret")
    if key is None or secret is None:
        raise Unauthenticated("a key and its secret are needed")
    return Credentials(secret, key)


def spoken(error: SidecarError, request_id: str, methods: tuple[str, ...]) -> Answer:
    """An error in words of the door's own."""
    return Answer(418, orjson.dumps({"oh": error.code, "id": request_id, "methods": methods}))


def headers(admission: Admission) -> tuple[Header, ...]:
    """One header."""
    return (("X-Left", str(admission.quotas[0].remaining)),)


MANNER = Manner(credentials=credentials, error_answer=spoken, limit_headers=headers, limit=LIMIT, requires_json=False)


def authenticate(text: str, _now_us: int) -> Caller:
    """Know one secret, and fail at another."""
    if text == "boom":
        raise RuntimeError("boom")
    if text != "secret":
        raise Unauthenticated("unknown")
    return Caller("tenant", TOKEN)


def admit(_caller: Caller, _now_us: int, door: DoorLimit | None) -> Admission:
    """Let in what the door lets in."""
    assert door is LIMIT
    return Admission((Quota("door", LIMIT.limit, 0, 60),), None)


async def echo(ask: Ask) -> Answer:
    """Answer with the name of the caller and the body."""
    return json_answer({"caller": ask.caller.name, "body": ask.document()})


class Body(msgspec.Struct, frozen=True):
    """Whatever has a number."""

    a: int


def asked(sent: dict[str, str], body: bytes = b'{"a":1}', method: str = "POST") -> tuple[int, dict[str, Any], set[Any]]:
    """Make one request and return status, document and headers."""
    endpoint = Endpoint(
        Context(authenticate, lambda: 7, lambda _: "req_1", admit),
        {"POST": Call(method="POST", path="/door", run=echo, request=Body, manner=MANNER)},
    )
    messages: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/door",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    asyncio.run(endpoint(scope, receive, send))
    return messages[0]["status"], orjson.loads(messages[1]["body"]), set(messages[0]["headers"])


def test_credentials_are_taken_from_where_the_door_has_them() -> None:
    """The token must be the one that is named beside it; a body needs no declaration here."""
    status, document, sent = asked({"x-key": "tok_1", "x-secret": "secret"})
    assert (status, document) == (200, {"caller": "tok_1", "body": {"a": 1}})
    assert (b"X-Left", b"0") in sent


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({}, "unauthenticated"),
        ({"x-key": "tok_1"}, "unauthenticated"),
        ({"x-key": "tok_1", "x-secret": "wrong"}, "unauthenticated"),
        ({"x-key": "tok_2", "x-secret": "secret"}, "unauthenticated"),
        ({"authorization": "Bearer secret"}, "unauthenticated"),
        ({"x-key": "tok_1", "x-secret": "boom"}, "internal"),
    ],
)
def test_an_error_reads_as_the_door_writes_it(sent: dict[str, str], code: str) -> None:
    status, document, _ = asked(sent)
    assert (status, document["oh"], document["id"]) == (418, code, "req_1")


def test_a_method_that_the_path_does_not_take_is_refused_in_the_same_words() -> None:
    status, document, _ = asked({}, method="PUT")
    assert (status, document["oh"], document["methods"]) == (418, "method_not_allowed", ["POST"])

"""A path of the table is answered as the framework would have it answered, which sees all others."""

from collections.abc import MutableMapping
from typing import Any

import orjson
import pytest
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from sidecar.doors.wire.application import Application
from tests.doors.door import Door, House

Messages = list[MutableMapping[str, Any]]


def spoken(house: House, application: ASGIApp, method: str, path: str, **more: object) -> Messages:
    """What an application sends in answer to one request."""
    body = b"" if method in {"GET", "HEAD"} else house_body(house)
    headers = [
        (b"authorization", f"Bearer {house.key}".encode()),
        (b"content-type", b"application/json"),
        (b"x-request-id", b"one"),
    ]
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "scheme": "http",
        "server": ("a", 1),
        "client": ("b", 2),
        **more,
    }
    sent: Messages = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        await application(scope, receive, send)

    house.door.run(run())
    return sent


def house_body(house: House) -> bytes:
    """A dry run, which may be asked for twice."""
    return (
        f'{{"identity_id":"{house.agent}","action":"card.authorize","dry_run":true,"resource":{{"type":"merchant",'
        f'"id":"AWS","amount":1,"currency":"CAD","merchant_category":"7372"}}}}'
    ).encode()


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/nothing", {"error", "type", "request_id"}),
        ("/v1/nothing", {"error", "type", "request_id"}),
        ("/tallyho", {"error", "type", "request_id"}),
        ("/ledgers", {"error", "type", "request_id"}),
        ("/tledger2", {"error", "type", "request_id"}),
        ("/ledger", {"error.code", "error.message"}),
        ("/ledger/", {"error.code", "error.message"}),
        ("/tally", {"error.type", "error.message"}),
        ("/tally/v2", {"error.type", "error.message"}),
        ("/tledger", {"detail"}),
        ("/tledger/v2", {"detail"}),
    ],
)
def test_an_unknown_path_is_answered_in_the_manner_of_the_door_that_it_is_below(
    house: House, path: str, members: set[str]
) -> None:
    start, body = spoken(house, house.door.application, "GET", path)
    document = orjson.loads(body["body"])
    inner = document.get("error")
    told = {f"error.{name}" for name in inner} if isinstance(inner, dict) else set(document)
    assert (start["status"], told) == (404, members)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "get", "BREW"])
@pytest.mark.parametrize(
    "path",
    [
        *("/v1/authorize", "/authorize", "/v1/authorize/batch", "/v1/health", "/livez", "/v1/budgets"),
        *("/v1/authorize/", "//v1/authorize", "/v1/authorize\n", "/V1/authorize", "/v1/authorize%2F", "/", ""),
        *("/v1/decisions/dec_1", "/v1/decisions/{decision_id}", "/v1/decisions/dec_1/settle", "/v1/nowhere"),
    ],
)
def test_both_ways_answer_alike(house: House, method: str, path: str) -> None:
    application = house.door.application
    assert spoken(house, application, method, path) == spoken(house, application.framework, method, path)


@pytest.mark.parametrize(
    ("root", "path", "status"),
    [("", "/v1/health", 200), ("/a", "/a/v1/health", 200), ("/v1", "/v1/health", 404), ("/a", "/v1/health", 200)],
)
def test_a_server_below_another_path_leaves_that_path_to_the_framework(
    house: House, root: str, path: str, status: int
) -> None:
    application = house.door.application
    begun, *rest = spoken(house, application, "GET", path, root_path=root)
    assert begun["status"] == status
    assert [begun, *rest] == spoken(house, application.framework, "GET", path, root_path=root)


def test_what_is_no_request_is_left_to_the_framework(house: House) -> None:
    """A websocket on a path of the table is closed, not answered."""
    application = house.door.application
    sent = spoken(house, application, "GET", "/v1/health", type="websocket", subprotocols=[])
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_no_route_with_placeholders_takes_a_path_of_the_table(door: Door) -> None:
    """The framework takes the first route that fits, the table the only one: they must agree."""
    application: Application = door.application
    paths = [route.path for route in door.routes() if "{" not in route.path]
    assert "/v1/authorize" in paths
    for path in paths:
        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        fitting = [route for route in application.framework.routes if route.matches(scope)[0] is not Match.NONE]
        assert [route.path for route in fitting if isinstance(route, Route)][:1] == [path]

"""The application of one worker in this process, spoken to without a socket and with a clock that is set by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import httpx
import pytest
from starlette.routing import Route

from sidecar.app import composition
from sidecar.app.composition import Health, Worker, compose
from sidecar.app.prepare import prepare
from sidecar.core.errors import StoreUnusable
from sidecar.core.rates import parse_rate_limit
from sidecar.doors.wire.application import Application
from sidecar.doors.wire.context import Context
from sidecar.doors.wire.endpoint import Call
from sidecar.settings import Settings
from sidecar.state.store import LmdbStore
from tests.doors.contract import Contract
from tests.process.server import OPERATOR, ROOT, Answer, Document

T = TypeVar("T")

NOON_US = 1_773_057_600_000_000
"""2026-03-09T12:00:00Z, a Monday."""

TYPES = {
    400: {"invalid_json", "validation_failed"},
    401: {"unauthenticated"},
    403: {"forbidden"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    409: {"conflict"},
    413: {"too_large"},
    415: {"unsupported_media_type"},
    422: {"idempotency_conflict"},
    429: {"rate_limited"},
}


class SetClock:
    """A clock that stands still unless it is set."""

    def __init__(self, now_us: int = NOON_US) -> None:
        """Show ``now_us``."""
        self.now_us = now_us

    def __call__(self) -> int:
        """Return the time."""
        return self.now_us

    def take_jump(self) -> None:
        """Return no jump: whoever sets this clock knows."""


class Door:
    """One worker's application over a store of its own in ``folder``."""

    def __init__(
        self,
        folder: Path,
        policies: Path = ROOT / "policies",
        schemas: Path = ROOT / "schemas",
        rate_limit: str | None = None,
        shadow_policies: Path | None = None,
        control_plane: tuple[str, str] | None = None,
        public_url: str | None = None,
        gateway: Path | None = None,
    ) -> None:
        """Open it; the clock shows noon. ``control_plane`` is the address and the token of a follower."""
        self.clock = SetClock()
        self.data_dir = folder / "data"
        settings = Settings(
            data_dir=self.data_dir,
            policies=policies,
            schemas=schemas,
            shadow_policies=shadow_policies,
            admin_token=OPERATOR,
            free_bytes_min=0,
            rate_limit=None if rate_limit is None else parse_rate_limit(rate_limit, "rate_limit"),
            control_plane=None if control_plane is None else control_plane[0],
            control_plane_token=None if control_plane is None else control_plane[1],
            public_url=public_url,
            gateway=gateway,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(composition, "Clock", lambda _floor_us: self.clock)
            patch.setattr(composition, "envoy_grpc", self._keep)
            self._health = Health()
            self._worker: Worker = compose(prepare(settings), lambda: None, self._health)
        self._runner = asyncio.Runner()
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self._worker.application), base_url="http://sidecar.test"
        )

    def __enter__(self) -> Self:
        """Give the door."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self._runner.run(self._http.aclose())
        self._worker.store.close()
        self._worker.rates.close()
        self._runner.close()

    def _keep(self, _settings: Settings, context: Context, calls: Iterable[Call]) -> None:
        """Keep what a door beside the HTTP server would be put together of."""
        self.context = context
        self._calls = {call.path: call for call in calls}

    def call_at(self, path: str) -> Call:
        """Return the call of a path as it is declared."""
        return self._calls[path]

    def routes(self) -> list[Route]:
        """Return what the application serves."""
        return [route for route in self._worker.application.framework.routes if isinstance(route, Route)]

    @property
    def application(self) -> Application:
        """Return what the server calls."""
        return self._worker.application

    @property
    def store(self) -> LmdbStore:
        """The store below."""
        return self._worker.store

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns, in the event loop of this application."""
        return self._runner.run(work)

    def compare(self) -> None:
        """Compare what was decided with the shadow policies, which are there."""
        assert self._worker.shadow is not None
        self.run(self._worker.shadow.finish())

    def break_store(self, error: StoreUnusable) -> None:
        """Let the process know that its store broke."""
        self._health.broken = error

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = OPERATOR,
        key: str | None = None,
        headers: Iterable[tuple[str, str | bytes]] = (),
    ) -> Answer:
        """Make one call. ``body`` is sent as it is when it is bytes or chunks, as JSON otherwise."""
        sent: list[tuple[bytes, bytes]] = [(name.encode(), _bytes(value)) for name, value in headers]
        if token is not None:
            sent.append((b"Authorization", f"Bearer {token}".encode()))
        if key is not None:
            sent.append((b"Idempotency-Key", key.encode()))
        content: bytes | AsyncIterator[bytes] | None = None
        if isinstance(body, bytes):
            content = body
        elif isinstance(body, list | Iterator):
            content = _chunks(body)
        elif body is not None:
            content = json.dumps(body).encode()
        if content is not None and not any(name.lower() == b"content-type" for name, _ in sent):
            sent.append((b"Content-Type", b"application/json"))
        answer = self._send(method, path, content, sent)
        self.contract.check(method, path, body, answer)
        return answer

    def at_once(self, path: str, *bodies: Document) -> list[Answer]:
        """Post several bodies at the same time, as the operator."""

        async def gathered() -> list[httpx.Response]:
            headers = {"Authorization": f"Bearer {OPERATOR}"}
            return await asyncio.gather(*(self._http.post(path, json=body, headers=headers) for body in bodies))

        found = self._runner.run(gathered())
        return [Answer(each.status_code, dict(each.headers), each.content) for each in found]

    @cached_property
    def contract(self) -> Contract:
        """The description that this application serves; every answer is held against it."""
        return _contract(self._send("GET", "/openapi.json", None, []).body)

    def _send(
        self, method: str, path: str, content: bytes | AsyncIterator[bytes] | None, sent: list[tuple[bytes, bytes]]
    ) -> Answer:
        response = self._runner.run(self._http.request(method, path, content=content, headers=sent))
        return Answer(response.status_code, dict(response.headers), response.content)

    def ok(self, method: str, path: str, body: object = None, *, token: str | None = OPERATOR) -> Document:
        """Make a call that must succeed and return its document."""
        answer = self.call(method, path, body, token=token)
        assert answer.status in {200, 201, 204}, (method, path, answer)
        return answer.document if answer.body else {}


@cache
def _contract(description: bytes) -> Contract:
    return Contract(json.loads(description))


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


async def _chunks(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class House(NamedTuple):
    """A tenant behind a door: a team with an agent below it that may pay by card in CAD, and another agent beside."""

    door: Door
    tenant_id: str
    key: str
    root: str
    team: str
    agent: str
    other: str
    policy: str
    budget: str
    card: str
    agent_token: str
    agent_token_id: str

    def request(self, amount: object = 10, **changes: object) -> Document:
        """Return the body of a card payment."""
        resource = {"type": "merchant", "id": "AWS", "currency": "CAD", "merchant_category": "7372", "amount": amount}
        return {"identity_id": self.agent, "action": "card.authorize", "resource": resource} | changes

    def call(self, method: str, path: str, body: object = None, **more: str) -> Answer:
        """Make a call with the tenant's key, or the ``token`` that is named."""
        return self.door.call(method, path, body, token=more.get("token", self.key), key=more.get("key"))

    def ok(self, method: str, path: str, body: object = None) -> Document:
        """Make a call that must succeed and return its document."""
        return self.door.ok(method, path, body, token=self.key)

    def permit(self, amount: object = 10) -> str:
        """Have a payment permitted and return the decision's id."""
        decision = self.ok("POST", "/v1/authorize", self.request(amount))
        assert decision["allowed"], decision
        decision_id: str = decision["decision_id"]
        return decision_id

    def state(self) -> Document:
        """Return what a refused call must leave as it is: head of the log, revisions, and what is reserved."""
        trial = self.ok("POST", "/v1/authorize", self.request(1, dry_run=True))
        return {
            "head": self.ok("GET", "/v1/audit/verify")["head"],
            "entity_revision": trial["entity_revision"],
            "policy_revision": trial["policy_revision"],
            "budgets": self.ok("GET", "/v1/budgets?limit=200")["data"],
            "cards": self.ok("GET", "/v1/treasury/cards?limit=200")["data"],
        }


def build(door: Door, name: str = "Acme Co") -> House:
    """Make a tenant."""
    tenant = door.ok("POST", "/v1/tenants", {"name": name, "time_zone": "America/Toronto"})
    key, root = tenant["api_key"], tenant["root_identity_id"]

    def make(path: str, body: Document) -> Document:
        return door.ok("POST", path, body, token=key)

    def identity(parent: str, kind: str) -> str:
        made = make("/v1/identities", {"parent_id": parent, "type": kind, "name": f"the {kind}"})
        found: str = made["identity_id"]
        return found

    team = identity(root, "team")
    agent, other = identity(team, "agent"), identity(root, "agent")
    rules = {"actions": ["card.authorize"], "max_amount": 200, "currencies": ["CAD"]}
    policy = make("/v1/policies", {"identity_id": team, "name": "cards", "rules": rules})
    limit = {"dimension": "amount", "period": "daily", "limit": 500, "currency": "CAD"}
    budget = make("/v1/budgets", {"identity_id": team, "name": "daily"} | limit)
    card = make("/v1/treasury/cards", {"identity_id": agent, "currency": "CAD"})
    token = make("/v1/tokens", {"name": "agent", "identity_id": agent})
    return House(
        door=door,
        tenant_id=tenant["tenant_id"],
        key=key,
        root=root,
        team=team,
        agent=agent,
        other=other,
        policy=policy["policy_id"],
        budget=budget["budget_id"],
        card=card["card_id"],
        agent_token=token["token"],
        agent_token_id=token["token_id"],
    )


def check_refusal(answer: Answer, status: int, field: str | None = None) -> str:
    """Check that an answer is the documented error, with ``field`` where one is named; returns its sentence."""
    document = answer.document
    assert answer.status == status, (answer.status, document)
    assert document["type"] in TYPES[status], document
    assert set(document) - {"field"} == {"error", "type", "request_id"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == document["request_id"]
    sentence: str = document["error"]
    assert sentence.strip()
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    if field is not None:
        assert document.get("field") == field, document
    return sentence


def named(table: Mapping[str, tuple[object, ...]]) -> list[Any]:
    """Return a table of cases as parameters with names."""
    return [pytest.param(*values, id=name) for name, values in table.items()]

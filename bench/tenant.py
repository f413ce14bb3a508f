"""The tenant that is asked about: a root, a team with a rules policy and a budget, an agent with a budget of its own.

Limits are so high that no run reaches them: every request is a permit that claims from both budgets.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final, Self

import httpx
import msgspec

from bench.servers import Server

AMOUNT: Final = Decimal("47.23")
"""What every request asks for, in CAD."""

BUDGET_LIMIT: Final = 1_000_000_000
RULES: Final = {
    "actions": ["card.authorize"],
    "max_amount": 200,
    "currencies": ["CAD", "USD"],
    "allowed_mccs": ["5411", "5732", "5734", "5814", "5815", "5816", "5817", "5818", "7372", "7379"],
}


class Tenant(msgspec.Struct, frozen=True):
    """A tenant that is set up. ``key`` is the tenant's, ``token`` the agent's own; the budget's id may be empty."""

    key: str
    token: str
    root_id: str
    team_id: str
    agent_id: str
    team_budget_id: str

    def request(self, *, dry_run: bool = False) -> dict[str, object]:
        """Return the body of a request that is permitted."""
        resource = {"type": "merchant", "id": "AWS", "amount": 47.23, "currency": "CAD", "merchant_category": "7372"}
        body: dict[str, object] = {"identity_id": self.agent_id, "action": "card.authorize", "resource": resource}
        return body | {"dry_run": True} if dry_run else body


class Desk:
    """Calls of one server's management API with one token."""

    def __init__(self, url: str, token: str, uds: str = "") -> None:
        """Call the server at ``url``, or the one that listens on the socket ``uds``."""
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            transport=httpx.HTTPTransport(uds=uds) if uds else None,
        )

    def __enter__(self) -> Self:
        """Keep connections until the end of the context."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close them."""
        self._client.close()

    def post(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        """Create something and return it; raises httpx.HTTPStatusError, with the server's sentence."""
        return self._read(self._client.post(path, json=body))

    def get(self, path: str) -> dict[str, Any]:
        """Return something, its fractions exact; raises httpx.HTTPStatusError, with the server's sentence."""
        return self._read(self._client.get(path))

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            message = f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
            raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
        found: dict[str, Any] = json.loads(answer.text, parse_float=Decimal)
        return found


def set_up(url: str, operator: str) -> Tenant:
    """Make the tenant on the server at ``url``; raises httpx.HTTPError."""
    with _found(url, operator) as (desk, tenant):
        team_budget_id = add_budget(desk, tenant.team_id, "Team", "total", BUDGET_LIMIT)
        add_budget(desk, tenant.agent_id, "Agent daily", "daily", BUDGET_LIMIT)
    return msgspec.structs.replace(tenant, team_budget_id=team_budget_id)


def set_up_with_budgets(url: str, operator: str, budgets: int) -> Tenant:
    """Make the tenant with so many budgets on the agent's chain, spread over it; raises httpx.HTTPError."""
    with _found(url, operator) as (desk, tenant):
        chain = (tenant.agent_id, tenant.team_id, tenant.root_id)
        for number in range(budgets):
            add_budget(desk, chain[number % len(chain)], f"Budget {number}", "total", BUDGET_LIMIT)
    return tenant


@contextmanager
def _found(url: str, operator: str) -> Iterator[tuple[Desk, Tenant]]:
    """Make the tenant without a budget and give a desk of its own."""
    with Desk(url, operator) as desk:
        made = desk.post("/v1/tenants", {"name": "Bench", "time_zone": "America/Toronto"})
    with Desk(url, made["api_key"]) as desk:
        team = add_identity(desk, made["root_identity_id"], "team", "Procurement")
        desk.post("/v1/policies", {"identity_id": team, "name": "Cloud spend", "rules": RULES})
        agent = add_identity(desk, team, "agent", "Worker")
        token = desk.post("/v1/tokens", {"name": "Worker", "identity_id": agent})["token"]
        yield desk, Tenant(made["api_key"], token, made["root_identity_id"], team, agent, "")


def add_identity(desk: Desk, parent_id: str, kind: str, name: str, **more: object) -> str:
    """Make an identity and return its id; ``more`` are further fields, such as an ``id`` of one's choice."""
    body: dict[str, object] = {"parent_id": parent_id, "type": kind, "name": name}
    identity_id: str = desk.post("/v1/identities", body | more)["identity_id"]
    return identity_id


def add_budget(desk: Desk, identity_id: str, name: str, period: str, limit: int) -> str:
    """Make a budget in CAD and return its id."""
    budget_id: str = desk.post("/v1/budgets", budget(identity_id, name, period, limit))["budget_id"]
    return budget_id


def budget(identity_id: str, name: str, period: str, limit: int) -> dict[str, object]:
    """Return the body that makes a budget in CAD."""
    owner: dict[str, object] = {"identity_id": identity_id, "name": name, "period": period}
    return owner | {"limit": limit, "dimension": "amount", "currency": "CAD"}


def first_disagreement(server: Server, tenant: Tenant, permits: int) -> str | None:
    """Return how the team's budget disagrees with ``permits`` permits that were answered, or None."""
    with Desk(server.url, tenant.key, server.uds) as desk:
        reserved = Decimal(desk.get(f"/v1/budgets/{tenant.team_budget_id}")["usage"]["reserved"])
    if reserved != permits * AMOUNT:
        return f"the team's budget holds {reserved} CAD, {permits} permits make {permits * AMOUNT}"
    return None

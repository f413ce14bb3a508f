"""The vendor's two pages about agents, example by example in their order, with every field that they document."""

import pytest

from tests.doors.door import Door
from tests.doors.ledger import NOON_MS, Ledger, check_error, found
from tests.process.server import Document


@pytest.fixture
def ledger(door: Door) -> Ledger:
    """An organisation of its own."""
    return found(door)


def registration(ledger: Ledger) -> Document:
    """The page's body of a registration."""
    return {
        "externalId": "my-shopping-agent",
        "userId": ledger.user,
        "name": "Shopping Agent",
        "spendingLimit": 50000,
        "spendingLimitFrequency": "perMonth",
    }


def test_the_page_about_agents(ledger: Ledger) -> None:
    made = register(ledger)
    look_up(ledger, made)
    use_tokens(ledger, made)
    card = suspend_and_activate(ledger, made)
    check_spending(ledger, made)  # before the agent ends: the page has it after
    deregister(ledger, made, card)


def register(ledger: Ledger) -> Document:
    """Register an Agent."""
    made = ledger.ok("POST", "/register", registration(ledger), 201)
    documented = {
        "object": "agent",
        "id": made["id"],
        "externalId": "my-shopping-agent",
        "userId": ledger.user,
        "name": "Shopping Agent",
        "status": "active",
        "spendingLimit": 50000,
        "spendingLimitFrequency": "perMonth",
        "currentSpend": 0,
        "created": True,
        "token": made["token"],
    }
    assert made | documented == made
    assert made["token"].startswith("at_live_")
    return made


def look_up(ledger: Ledger, made: Document) -> None:
    """Idempotent Registration, and Get Agent by External ID."""
    again = ledger.ok("POST", "/register", registration(ledger))
    unchanged = {"object": "agent", "id": made["id"], "externalId": "my-shopping-agent", "created": False}
    assert again | unchanged | {"token": None} == again
    other = registration(ledger) | {"userId": ledger.root}
    assert "`my-shopping-agent`" in check_error(ledger.call("POST", "/register", other), 409, "conflict")
    listed = ledger.ok("GET", "?external_id=my-shopping-agent")
    assert listed == {"object": "list", "data": [ledger.ok("GET", f"/{made['id']}")], "hasMore": False, "cursor": None}
    assert listed["data"][0]["id"] == made["id"]


def use_tokens(ledger: Ledger, made: Document) -> None:
    """Agent Tokens: create, list, revoke."""
    agent = f"/{made['id']}"
    token = ledger.ok("POST", f"{agent}/tokens", {"name": "staging-environment"}, 201)
    shown = {
        "id": token["id"],
        "agentId": made["id"],
        "tokenPrefix": token["tokenPrefix"],
        "name": "staging-environment",
        "isActive": True,
    }
    assert token | shown | {"object": "agent_token"} == token
    assert token["tokenPrefix"].startswith("at_live_")
    assert token["token"].startswith(token["tokenPrefix"])
    tokens = ledger.ok("GET", f"{agent}/tokens")
    assert tokens["object"] == "list"
    assert tokens["data"][-1] | shown | {"createdAt": NOON_MS} == tokens["data"][-1]
    assert [each["tokenPrefix"] for each in tokens["data"]] == [made["token"][:18], token["tokenPrefix"]]
    assert not any("token" in each for each in tokens["data"])
    revoked = ledger.ok("DELETE", f"{agent}/tokens/{token['id']}")
    assert (revoked["id"], revoked["isActive"]) == (token["id"], False)
    check_error(ledger.call("GET", agent, token=token["token"]), 401, "unauthenticated")
    assert len(ledger.ok("GET", f"{agent}/tokens")["data"]) == 1


def suspend_and_activate(ledger: Ledger, made: Document) -> str:
    """Suspend/Activate via PATCH; returns the id of a card."""
    agent = f"/{made['id']}"
    card: Document = ledger.ok("POST", f"{agent}/cards", {}, 201)
    assert ledger.ok("PATCH", agent, {"status": "suspended"})["status"] == "suspended"
    assert [each["status"] for each in ledger.ok("GET", f"{agent}/cards")["data"]] == ["frozen"]
    assert ledger.ok("PATCH", agent, {"status": "active"})["status"] == "active"
    assert [each["status"] for each in ledger.ok("GET", f"{agent}/cards")["data"]] == ["active"]
    card_id: str = card["id"]
    return card_id


def check_spending(ledger: Ledger, made: Document) -> None:
    """Check Spending."""
    ledger.spend(made["id"], 25000)
    policy = ledger.ok("GET", f"/{made['id']}/policy")
    spent = {
        "agentId": made["id"],
        "spendingLimit": 50000,
        "spendingLimitFrequency": "perMonth",
        "currentSpend": 25000,
        "remaining": 25000,
    }
    assert policy | spent == policy


def deregister(ledger: Ledger, made: Document, card_id: str) -> None:
    """Deregister an Agent, and register another one with its external id."""
    agent = f"/{made['id']}"
    ended = ledger.ok("POST", f"{agent}/deregister")
    soft = {
        "object": "agent",
        "id": made["id"],
        "externalId": "my-shopping-agent",
        "status": "deregistered",
        "deregisteredAt": NOON_MS,
    }
    assert ended | soft == ended
    check_error(ledger.call("GET", agent, token=made["token"]), 401, "unauthenticated")
    kept = ledger.ok("GET", f"{agent}/cards")["data"]
    assert [(each["id"], each["status"]) for each in kept] == [(card_id, "frozen")]
    refused = ledger.authorize(made["id"], 100, card_id=card_id)
    assert [reason["code"] for reason in refused["reasons"]] == ["identity_revoked"]
    anew = ledger.ok("POST", "/register", registration(ledger), 201)
    assert (anew["created"], anew["id"] == made["id"]) == (True, False)


@pytest.mark.parametrize(
    ("frequency", "period"),
    [
        ("perTransaction", "per_transaction"),
        ("per24HourPeriod", "rolling_24h"),
        ("perWeek", "weekly"),
        ("perMonth", "monthly"),
        ("perYear", "yearly"),
        ("allTime", "total"),
    ],
)
@pytest.mark.parametrize(("on_limit", "on_exceeded"), [("suspend", "suspend"), ("notify", "notify"), ("none", "track")])
def test_the_page_about_creating_an_agent(
    ledger: Ledger, frequency: str, period: str, on_limit: str, on_exceeded: str
) -> None:
    metadata = {"team": "growth", "nested": {"rates": [0.5, 1, None], "deep": {"is": True}}}
    body = {
        "userId": ledger.user,
        "name": "An agent",
        "description": "Buys what is needed",
        "spendingLimit": 123,
        "spendingLimitFrequency": frequency,
        "onLimitExceeded": on_limit,
        "maxCards": 123,
        "defaultCardLimit": 123,
        "defaultCardLimitFrequency": frequency,
        "metadata": metadata,
    }
    made = ledger.ok("POST", "", body, 201)
    answered = {"status": "active", "createdAt": NOON_MS, "currentSpend": 0, "cardCount": 0}
    assert made == body | answered | {
        "object": "agent",
        "id": made["id"],
        "currency": "USD",
        "defaultCardLimitCurrency": "USD",
    }
    assert ledger.ok("GET", f"/{made['id']}") == made
    (budget,) = ledger.native("GET", f"/v1/budgets?identity_id={made['id']}")["data"]
    assert (budget["period"], budget["on_exceeded"], budget["currency"]) == (period, on_exceeded, "USD")
    card = ledger.ok("POST", f"/{made['id']}/cards", {}, 201)
    assert (card["spendingLimit"], card["spendingLimitFrequency"], card["currency"]) == (123, frequency, "USD")
    assert ledger.ok("GET", f"/{made['id']}")["cardCount"] == 1

"""The Ledger dialect beyond its vendor's examples: lists, changes, limits, cards, tokens, and what it has in common.

Everything it makes is native, so each of these also looks at, or changes, what the native door has.
"""

import pytest

from tests.doors.door import Door
from tests.doors.ledger import NOON_MS, Ledger, check_error, found
from tests.process.server import OPERATOR, Document


@pytest.fixture
def ledger(door: Door) -> Ledger:
    """An organisation of its own."""
    return found(door)


def ids(listed: Document) -> list[str]:
    """Return the ids of a list."""
    return [each["id"] for each in listed["data"]]


# --- Users and agents -------------------------------------------------------------------------------------------------


def test_one_company_user_funds_many_agents(ledger: Ledger) -> None:
    """The root of the tenant is a user whatever its type."""
    made = [ledger.register(f"flow-{number}", userId=ledger.root)["id"] for number in range(3)]
    assert ids(ledger.ok("GET", f"?userId={ledger.root}")) == made
    assert {each["userId"] for each in ledger.ok("GET")["data"]} == {ledger.root}


def test_each_customer_funds_its_own(ledger: Ledger) -> None:
    other = ledger.native(
        "POST", "/v1/identities", {"parent_id": ledger.root, "type": "user", "name": "Another customer"}
    )["identity_id"]
    first, second = ledger.register("a")["id"], ledger.register("b", userId=other)["id"]
    assert ids(ledger.ok("GET", f"?userId={ledger.user}")) == [first]
    assert ids(ledger.ok("GET", f"?user_id={other}")) == [second]
    ledger.native("PATCH", f"/v1/identities/{other}", {"status": "suspended"})
    assert [ledger.ok("GET", f"/{each}")["status"] for each in (first, second)] == ["active", "suspended"]
    assert ids(ledger.ok("GET", "?status=suspended")) == [second]


def test_agents_that_were_made_natively_are_agents(ledger: Ledger) -> None:
    body = {"parent_id": ledger.user, "type": "agent", "name": "Native", "external_id": "n-1"}
    agent = ledger.native("POST", "/v1/identities", body)["identity_id"]
    limit = {"name": "cap", "dimension": "amount", "period": "weekly", "limit": "12.34", "currency": "CAD"}
    ledger.native("POST", "/v1/budgets", limit | {"identity_id": agent})
    shown = ledger.ok("GET", "?externalId=n-1")["data"][0]
    assert shown == {
        "object": "agent",
        "id": agent,
        "externalId": "n-1",
        "userId": ledger.user,
        "name": "Native",
        "status": "active",
        "createdAt": NOON_MS,
        "cardCount": 0,
        "metadata": {},
        "spendingLimit": 1234,
        "spendingLimitFrequency": "perWeek",
        "currency": "CAD",
        "currentSpend": 0,
    }
    again = ledger.ok("POST", "/register", ledger.registration("n-1"))
    assert again == shown | {"created": False, "token": None}


def test_an_agent_without_a_limit_has_nothing_to_show_of_one(ledger: Ledger) -> None:
    agent = ledger.register()["id"]
    assert not {"spendingLimit", "spendingLimitFrequency", "currentSpend", "currency"} & set(
        ledger.ok("GET", f"/{agent}")
    )
    nothing = ("spendingLimit", "spendingLimitFrequency", "currency", "currentSpend", "remaining")
    assert ledger.ok("GET", f"/{agent}/policy") == {"agentId": agent} | dict.fromkeys(nothing)


def test_agents_are_listed_page_by_page(ledger: Ledger) -> None:
    made = [ledger.register(f"p-{number}")["id"] for number in range(5)]
    first = ledger.ok("GET", "?limit=2")
    second = ledger.ok("GET", f"?limit=2&cursor={first['cursor']}")
    third = ledger.ok("GET", f"?limit=2&cursor={second['cursor']}")
    assert [ids(page) for page in (first, second, third)] == [made[:2], made[2:4], made[4:]]
    assert [page["hasMore"] for page in (first, second, third)] == [True, True, False]
    assert third["cursor"] is None
    other = f"?limit=2&status=active&cursor={first['cursor']}"
    check_error(ledger.call("GET", other), 400, "validation_failed")


def test_the_deregistered_are_listed_only_where_they_are_asked_for(ledger: Ledger) -> None:
    agent = ledger.register()["id"]
    ledger.ok("POST", f"/{agent}/deregister")
    assert ids(ledger.ok("GET")) == []
    assert ids(ledger.ok("GET", "?external_id=agent-1")) == []
    assert ids(ledger.ok("GET", "?status=deregistered")) == [agent]
    assert ledger.ok("GET", f"/{agent}")["deregisteredAt"] == NOON_MS


# --- What a registration may do ---------------------------------------------------------------------------------------


def test_a_registered_agent_may_pay_by_card_and_nothing_else(ledger: Ledger) -> None:
    agent = ledger.register()["id"]
    assert ledger.authorize(agent, 100)["allowed"]
    tool = {"identity_id": agent, "action": "tool.call", "resource": {"type": "tool", "id": "search"}}
    assert not ledger.native("POST", "/v1/authorize", tool)["allowed"]
    (policy,) = ledger.native("GET", f"/v1/policies?identity_id={agent}")["data"]
    assert (policy["name"], policy["rules"]) == ("Ledger agent", {"actions": ["card.authorize"]})
    ledger.door.ok("DELETE", f"/v1/policies/{policy['policy_id']}", token=ledger.key)
    assert not ledger.authorize(agent, 100)["allowed"]


def test_a_default_policy_takes_the_place_of_the_usual_one(ledger: Ledger) -> None:
    team = ledger.native("POST", "/v1/identities", {"parent_id": ledger.root, "type": "team", "name": "Templates"})
    rules = {"actions": ["card.authorize"], "max_amount": 1, "currencies": ["USD"]}
    template = ledger.native(
        "POST", "/v1/policies", {"identity_id": team["identity_id"], "name": "Small", "rules": rules}
    )["policy_id"]
    agent = ledger.register(defaultPolicyId=template)["id"]
    assert [ledger.authorize(agent, cents)["allowed"] for cents in (100, 101)] == [True, False]
    (policy,) = ledger.native("GET", f"/v1/policies?identity_id={agent}")["data"]
    assert (policy["name"], policy["rules"]) == ("Small", rules)


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_without_an_action_what_does_not_fit_is_refused(ledger: Ledger) -> None:
    agent = ledger.register(spendingLimit=500, spendingLimitFrequency="perWeek")
    assert "onLimitExceeded" not in agent
    refused = ledger.authorize(agent["id"], 501)
    assert [reason["code"] for reason in refused["reasons"]] == ["budget_exceeded"]
    assert ledger.ok("GET", f"/{agent['id']}")["status"] == "active"


@pytest.mark.parametrize("action", ["notify", "none"])
def test_a_limit_that_only_tells_or_counts_refuses_nothing(ledger: Ledger, action: str) -> None:
    agent = ledger.register(spendingLimit=500, onLimitExceeded=action)["id"]
    ledger.spend(agent, 700)
    policy = ledger.ok("GET", f"/{agent}/policy")
    assert (policy["currentSpend"], policy["remaining"]) == (700, 0)


def test_a_limit_that_suspends_freezes_the_cards_until_the_agent_is_active_again(ledger: Ledger) -> None:
    """What somebody froze one by one stays frozen, and so does what the kill switch froze."""
    agent = ledger.register(spendingLimit=500, onLimitExceeded="suspend")["id"]
    killed, frozen, own = (ledger.ok("POST", f"/{agent}/cards", {}, 201)["id"] for _ in range(3))
    ledger.native("POST", "/v1/treasury/kill-switch", {"identity_id": agent})
    for card in (frozen, own):
        ledger.native("POST", f"/v1/treasury/cards/{card}/unfreeze")
    ledger.native("POST", f"/v1/treasury/cards/{frozen}/freeze")
    assert not ledger.authorize(agent, 501, card_id=own)["allowed"]
    assert ledger.ok("GET", f"/{agent}")["status"] == "suspended"
    assert {each["status"] for each in ledger.ok("GET", f"/{agent}/cards")["data"]} == {"frozen"}
    check_error(ledger.call("POST", f"/{agent}/cards", {}), 409, "conflict")
    ledger.ok("PATCH", f"/{agent}", {"status": "active"})
    cards = {each["id"]: each["status"] for each in ledger.ok("GET", f"/{agent}/cards")["data"]}
    assert cards == {killed: "frozen", frozen: "frozen", own: "active"}
    assert ledger.authorize(agent, 100, card_id=own)["allowed"]


def test_a_description_comes_back_as_it_was_written(ledger: Ledger) -> None:
    text = "Buys:\n\t- shoes\n\t- \u201chats\u201d\n"
    agent = f"/{ledger.register(description=text)['id']}"
    assert ledger.ok("GET", agent)["description"] == text
    assert not ledger.ok("PATCH", agent, {"description": ""})["description"]
    assert ledger.native("GET", f"/v1/identities{agent}")["description"] == ""
    assert ledger.native("PATCH", f"/v1/identities{agent}", {"description": text})["description"] == text


def test_an_agent_is_changed_field_by_field(ledger: Ledger) -> None:
    agent = f"/{ledger.register(description='Old', metadata={'a': 1})['id']}"
    assert ledger.ok("PATCH", agent, {}) == ledger.ok("GET", agent)
    changed = ledger.ok(
        "PATCH",
        agent,
        {
            "name": "New",
            "description": "Buys",
            "metadata": {"b": [0.5, {"c": None}]},
            "maxCards": 2,
            "spendingLimit": 900,
            "spendingLimitFrequency": "per24HourPeriod",
            "onLimitExceeded": "notify",
            "defaultCardLimit": 40,
            "defaultCardLimitFrequency": "perTransaction",
            "status": "suspended",
        },
    )
    assert changed == ledger.ok("GET", agent)
    assert (
        changed
        | {
            "name": "New",
            "description": "Buys",
            "metadata": {"b": [0.5, {"c": None}]},
            "maxCards": 2,
            "spendingLimit": 900,
            "spendingLimitFrequency": "per24HourPeriod",
            "onLimitExceeded": "notify",
            "defaultCardLimit": 40,
            "defaultCardLimitFrequency": "perTransaction",
            "status": "suspended",
        }
        == changed
    )
    part = ledger.ok("PATCH", agent, {"onLimitExceeded": None, "spendingLimitFrequency": None})
    assert (part["spendingLimit"], part["spendingLimitFrequency"]) == (900, "allTime")
    assert "onLimitExceeded" not in part
    taken = ledger.ok(
        "PATCH",
        agent,
        {"description": None, "metadata": None, "maxCards": None, "spendingLimit": None, "defaultCardLimit": None},
    )
    assert taken["metadata"] == {}
    assert not {"description", "maxCards", "spendingLimit", "currentSpend", "defaultCardLimit"} & set(taken)


def test_another_currency_is_said_and_counted_in_its_minor_units(ledger: Ledger) -> None:
    agent = ledger.register(spendingLimit=1_500_000, defaultCardLimit=7, currency="USDC")
    assert (agent["currency"], agent["spendingLimit"]) == ("USDC", 1_500_000)
    (budget,) = ledger.native("GET", f"/v1/budgets?identity_id={agent['id']}")["data"]
    assert (budget["limit"], budget["currency"]) == (1.5, "USDC")
    card = ledger.ok("POST", f"/{agent['id']}/cards", None, 201)
    assert (card["currency"], card["spendingLimit"], card["spendingLimitFrequency"]) == ("USDC", 7, "allTime")
    changed = ledger.ok("PATCH", f"/{agent['id']}", {"spendingLimit": 9, "currency": "JPY"})
    assert (changed["spendingLimit"], changed["currency"], changed["defaultCardLimitCurrency"]) == (9, "JPY", "USDC")


def test_a_native_default_in_another_period_is_shown_without_a_frequency(ledger: Ledger) -> None:
    agent = ledger.register()["id"]
    defaults = {"limit": "5.00", "currency": "CAD", "period": "daily"}
    ledger.native("PATCH", f"/v1/identities/{agent}", {"card_defaults": defaults})
    shown = ledger.ok("GET", f"/{agent}")
    assert (shown["defaultCardLimit"], shown["defaultCardLimitCurrency"]) == (500, "CAD")
    assert "defaultCardLimitFrequency" not in shown
    card = ledger.ok("POST", f"/{agent}/cards", {}, 201)
    assert "spendingLimit" not in card
    assert ledger.native("GET", f"/v1/treasury/cards/{card['id']}")["spend_limit_daily"] == 5


# --- Cards ------------------------------------------------------------------------------------------------------------


def test_cards_are_made_up_to_the_most_that_an_agent_may_have(ledger: Ledger) -> None:
    agent = ledger.register(maxCards=2)["id"]
    first = ledger.ok("POST", f"/{agent}/cards", {}, 201)["id"]
    ledger.ok("POST", f"/{agent}/cards", {}, 201)
    before = ledger.state()
    message = check_error(ledger.call("POST", f"/{agent}/cards", {}), 409, "conflict")
    assert "as many open cards as it may: 2" in message
    assert ledger.state() == before
    ledger.native("POST", f"/v1/treasury/cards/{first}/close")
    assert ledger.ok("GET", f"/{agent}")["cardCount"] == 1
    ledger.ok("POST", f"/{agent}/cards", {}, 201)
    assert [each["status"] for each in ledger.ok("GET", f"/{agent}/cards")["data"]] == ["closed", "active", "active"]


def test_a_card_may_have_a_limit_of_its_own(ledger: Ledger) -> None:
    agent = ledger.register(defaultCardLimit=100, spendingLimit=9_000)["id"]
    body = {"spendingLimit": 250, "spendingLimitFrequency": "perWeek", "allowedMccs": ["7372", "5734"], "last4": "4242"}
    card = ledger.ok("POST", f"/{agent}/cards", body, 201)
    assert card == body | {
        "object": "card",
        "id": card["id"],
        "agentId": agent,
        "status": "active",
        "currency": "USD",
        "createdAt": NOON_MS,
    }
    native = ledger.native("GET", f"/v1/treasury/cards/{card['id']}")
    assert (native["identity_id"], native["last4"], native["allowed_mccs"]) == (agent, "4242", ["7372", "5734"])
    other = ledger.ok("POST", f"/{agent}/cards", {"spendingLimit": 5, "currency": "JPY"}, 201)
    assert (other["currency"], other["spendingLimit"], other["spendingLimitFrequency"]) == ("JPY", 5, "allTime")


def test_a_card_pays_in_the_currency_of_its_agents_limit(ledger: Ledger) -> None:
    agent = ledger.register(spendingLimit=100, currency="EUR")["id"]
    assert ledger.ok("POST", f"/{agent}/cards", {}, 201)["currency"] == "EUR"
    assert ledger.ok("POST", f"/{agent}/cards", {"spendingLimit": 1}, 201)["currency"] == "EUR"
    assert ledger.ok("POST", f"/{agent}/cards", {"currency": "CAD"}, 201)["currency"] == "CAD"
    assert ledger.ok("POST", f"/{ledger.register('free')['id']}/cards", {}, 201)["currency"] == "USD"


def test_cards_are_listed_page_by_page(ledger: Ledger) -> None:
    agent = ledger.register()["id"]
    made = [ledger.ok("POST", f"/{agent}/cards", {}, 201)["id"] for _ in range(3)]
    page = ledger.ok("GET", f"/{agent}/cards?limit=2")
    assert (ids(page), page["hasMore"]) == (made[:2], True)
    assert ids(ledger.ok("GET", f"/{agent}/cards?limit=2&cursor={page['cursor']}")) == made[2:]


# --- Agent tokens -----------------------------------------------------------------------------------------------------


def test_an_agent_token_does_what_concerns_cards_and_reads_its_agent(ledger: Ledger) -> None:
    made = ledger.register(spendingLimit=500, defaultCardLimit=100)
    agent, token = f"/{made['id']}", made["token"]
    for path in ("", "/policy", "/cards"):
        assert ledger.call("GET", f"{agent}{path}", token=token).status == 200
    card = ledger.call("POST", f"{agent}/cards", {"spendingLimit": 9_999_999}, token=token)
    assert (card.status, card.document["spendingLimit"]) == (201, 100)
    assert not ledger.authorize(made["id"], 101, card_id=card.document["id"])["allowed"]
    native = ledger.door.call("POST", "/v1/treasury/cards", {"identity_id": made["id"], "currency": "USD"}, token=token)
    assert native.status == 403


FORBIDDEN: dict[str, tuple[str, str, Document | None]] = {
    "register": ("POST", "/register", {"externalId": "x", "userId": "u", "name": "n"}),
    "create": ("POST", "", {"userId": "u", "name": "n"}),
    "list": ("GET", "", None),
    "change": ("PATCH", "/{agent}", {"spendingLimit": 1}),
    "deregister": ("POST", "/{agent}/deregister", None),
    "make a token": ("POST", "/{agent}/tokens", {"name": "more"}),
    "list tokens": ("GET", "/{agent}/tokens", None),
    "revoke a token": ("DELETE", "/{agent}/tokens/tok_1", None),
}


@pytest.mark.parametrize(("method", "path", "body"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_an_agent_token_does_nothing_else(ledger: Ledger, method: str, path: str, body: Document | None) -> None:
    made = ledger.register()
    before = ledger.state()
    answer = ledger.call(method, path.format(agent=made["id"]), body, token=made["token"])
    check_error(answer, 403, "forbidden")
    assert ledger.state() == before


def test_an_agent_token_reaches_its_own_agent_only(ledger: Ledger) -> None:
    token, other = ledger.register()["token"], ledger.register("other")["id"]
    for method, path in (("GET", ""), ("GET", "/policy"), ("GET", "/cards"), ("POST", "/cards")):
        check_error(ledger.call(method, f"/{other}{path}", token=token), 404, "not_found")


def test_tokens_are_listed_page_by_page_and_show_whether_they_open(ledger: Ledger) -> None:
    agent = ledger.register()["id"]
    soon = {"name": "soon", "identity_id": agent, "expires_at": "2026-03-09T12:00:01Z"}
    ledger.native("POST", "/v1/tokens", soon)
    ledger.door.clock.now_us += 2_000_000
    try:
        page = ledger.ok("GET", f"/{agent}/tokens?limit=1")
        assert (page["data"][0]["isActive"], page["hasMore"]) == (True, True)
        (last,) = ledger.ok("GET", f"/{agent}/tokens?cursor={page['cursor']}&limit=1")["data"]
        assert (last["name"], last["isActive"]) == ("soon", False)
    finally:
        ledger.door.clock.now_us -= 2_000_000


# --- Idempotency ------------------------------------------------------------------------------------------------------


def test_a_repeated_key_is_answered_alike_and_without_secrets(ledger: Ledger) -> None:
    body = {"userId": ledger.user, "name": "Once", "spendingLimit": 5}
    first, again = (ledger.call("POST", "", body, key="k-1") for _ in range(2))
    assert (first.status, again.status, again.document) == (201, 201, first.document)
    assert (first.is_replayed, again.is_replayed) == (False, True)
    agent = first.document["id"]
    made, repeated = (ledger.call("POST", f"/{agent}/tokens", {"name": "t"}, key="k-2") for _ in range(2))
    assert repeated.document == made.document | {"token": None}
    card, same = (ledger.call("POST", f"/{agent}/cards", {}, key="k-3") for _ in range(2))
    assert (same.document, same.is_replayed) == (card.document, True)
    check_error(ledger.call("POST", "", body | {"name": "Twice"}, key="k-1"), 422, "idempotency_conflict")
    ended, still = (ledger.call("POST", f"/{agent}/deregister", key="k-4") for _ in range(2))
    assert (ended.status, still.document, still.is_replayed) == (200, ended.document, True)
    assert len(ledger.ok("GET", "?status=deregistered")["data"]) == 1


def test_a_repeated_registration_with_a_key_says_what_the_first_said(ledger: Ledger) -> None:
    body = ledger.registration("keyed")
    first, again = (ledger.call("POST", "/register", body, key="k-5") for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert again.document == first.document | {"token": None}
    assert again.document["created"] is True
    present = [ledger.call("POST", "/register", body, key="k-6") for _ in range(2)]
    assert [(each.status, each.document["created"], each.is_replayed) for each in present] == [
        (200, False, False),
        (200, False, True),
    ]


# --- Across doors -----------------------------------------------------------------------------------------------------


def pay(ledger: Ledger, agent: str, to: str) -> Document:
    """Have the agent pay an account natively."""
    body = {"identity_id": agent, "to_account_id": to, "amount": "1.00", "currency": "USD"}
    return ledger.native("POST", "/v1/payments", body)


def test_suspended_natively_is_denied_by_card_and_payment_recorded_once_and_seen_here(ledger: Ledger) -> None:
    made = ledger.register(spendingLimit=5_000)
    agent = made["id"]
    card = ledger.ok("POST", f"/{agent}/cards", {}, 201)["id"]
    assert ledger.authorize(agent, 100, card_id=card)["allowed"]
    policy = {"identity_id": agent, "name": "payments", "rules": {"actions": ["payment.create"]}}
    ledger.native("POST", "/v1/policies", policy)
    own, till = (
        ledger.native("POST", "/v1/accounts", {"identity_id": owner, "asset": "USD"})["account_id"]
        for owner in (agent, ledger.user)
    )
    ledger.native("POST", f"/v1/accounts/{own}/deposits", {"amount": "5.00"})
    assert pay(ledger, agent, till)["status"] == "success"
    assert ledger.ok("GET", f"/{agent}/policy")["currentSpend"] == 200
    ledger.native("PATCH", f"/v1/identities/{agent}", {"status": "suspended"})
    denied = ledger.authorize(agent, 100, card_id=card)
    assert [(reason["code"], reason["identity_id"]) for reason in denied["reasons"]] == [("identity_suspended", agent)]
    failed = pay(ledger, agent, till)
    assert (failed["status"], failed["decision"]["allowed"]) == ("failed", False)
    assert [reason["code"] for reason in failed["decision"]["reasons"]] == ["identity_suspended"]
    records = [each for each in ledger.native("GET", "/v1/audit?limit=200")["data"] if each.get("identity_id") == agent]
    assert [each["type"] for each in records].count("identity_suspended") == 1
    assert [each["verdict"] for each in records if each["type"] == "decision"] == ["allow", "allow", "deny", "deny"]
    assert ledger.ok("GET", f"/{agent}")["status"] == "suspended"
    assert [each["status"] for each in ledger.ok("GET", f"/{agent}/cards")["data"]] == ["frozen"]
    ledger.ok("PATCH", f"/{agent}", {"status": "active"})
    assert ledger.native("GET", f"/v1/identities/{agent}")["effective_status"] == "active"
    assert ledger.authorize(agent, 100, card_id=card)["allowed"]


def test_ended_here_is_revoked_natively(ledger: Ledger) -> None:
    made = ledger.register()
    ledger.ok("POST", f"/{made['id']}/deregister", {})
    native = ledger.native("GET", f"/v1/identities/{made['id']}")
    assert (native["status"], native["revoked_at"]) == ("revoked", "2026-03-09T12:00:00Z")
    assert ledger.native("GET", f"/v1/tokens?identity_id={made['id']}")["data"] == []
    check_error(ledger.call("PATCH", f"/{made['id']}", {"status": "active"}), 409, "conflict")
    check_error(ledger.call("POST", f"/{made['id']}/tokens", {"name": "more"}), 409, "conflict")
    check_error(ledger.call("POST", f"/{made['id']}/cards", {}), 409, "conflict")


def test_the_log_of_what_was_done_here_verifies(ledger: Ledger) -> None:
    """With fractions in the metadata, whose facts are in the log like all others."""
    agent = ledger.register(spendingLimit=500, metadata={"rate": 0.1, "big": 1e300})["id"]
    ledger.spend(agent, 100)
    ledger.ok("PATCH", f"/{agent}", {"spendingLimit": 700, "metadata": {"rate": [1.25]}})
    ledger.ok("POST", f"/{agent}/deregister")
    assert ledger.native("GET", "/v1/audit/verify")["valid"] is True


def test_the_operator_names_the_tenant(ledger: Ledger) -> None:
    ledger.register()
    assert len(ledger.call("GET", f"?tenant_id={ledger.tenant_id}", token=OPERATOR).document["data"]) == 1
    check_error(ledger.call("GET", token=OPERATOR), 400, "validation_failed")

"""The tLedger dialect in the order of its walkthrough: each call and field, and what is there natively."""

import json
from decimal import Decimal

import pytest

from tests.doors.door import Door, House, build
from tests.doors.tledger import API, Portal, check_detail, opened, pair
from tests.process.server import Document

NOW = "2026-03-09T12:00:00Z"
ASSETS = ["SOL", "USDC", "USDT"]

PAYMENT = {
    *("object", "id", "status", "payment_amount", "sending_agent_id", "sending_agent_name", "receiving_agent_id"),
    *("receiving_agent_name", "settlement_network", "currency", "transaction_fee", "transaction_hash", "created_at"),
    *("updated_at", "request_id", "error_details", "challenge", "risk_level", "debug_mode"),
}


@pytest.fixture(scope="module")
def portal(door: Door) -> Portal:
    """A tenant with a project and two agents; one of them has money."""
    found = opened(door)
    found.deposit(found.buyer, 500)
    return found


@pytest.fixture
def own(door: Door) -> Portal:
    """The same for one test alone."""
    found = opened(door, "Own Co")
    found.deposit(found.buyer, 500)
    return found


def account(agent: Document, asset: str) -> Document:
    """What an account of an agent looks like before anything happened."""
    (found,) = (each for each in agent["account"] if each["asset"] == asset)
    return {
        "object": "account",
        "id": found["id"],
        "agent_id": agent["id"],
        "asset": asset,
        "currency": asset,
        "network": "solana",
        "wallet_address": f"sidecar:{agent['id']}",
        "balance": 0,
        "status": "active",
        "created_at": NOW,
    }


# --- Authentication ---------------------------------------------------------------------------------------------------


def test_a_pair_is_a_token_that_is_seen_and_taken_back_natively(house: House) -> None:
    made = house.ok("POST", f"{API}/api_key/generate-api-key", {"name": "the desk"})
    secret, key = made.pop("api_secret"), made["api_key"]
    assert made == {"object": "api_key", "api_key": key, "name": "the desk", "created_at": NOW}
    assert secret.startswith("sk_live_")
    (token,) = (each for each in house.ok("GET", "/v1/tokens?limit=200")["data"] if each["token_id"] == key)
    assert (token["kind"], token["name"]) == ("tenant", "the desk")
    listed = house.door.call("GET", f"{API}/projects", token=None, headers=pair(key, secret))
    assert listed.status == 200
    house.call("DELETE", f"/v1/tokens/{key}")
    gone = house.door.call("GET", f"{API}/projects", token=None, headers=pair(key, secret))
    check_detail(gone, 401, "header", "X-API-Key", kind="unauthenticated")


def test_a_pair_makes_a_further_pair(portal: Portal) -> None:
    made = portal.ok("POST", "/api_key/generate-api-key/")
    assert made["name"] == "tledger"
    second = pair(made["api_key"], made["api_secret"])
    assert portal.ok("GET", "/projects", headers=second) == portal.ok("GET", "/projects")


# --- Create a project -------------------------------------------------------------------------------------------------


def test_a_project_comes_with_a_treasury_agent(house: House) -> None:
    portal = opened(house.door, "Projects Co")
    body = {"name": "Research", "description": "All desks", "daily_limit": 250.5}
    made = portal.ok("POST", "/projects", body)
    treasury = made["treasury_agent"]
    assert made == {
        "object": "project",
        "id": made["id"],
        "name": "Research",
        "description": "All desks",
        "network": "solana",
        "daily_limit": 250.5,
        "treasury_agent_id": treasury["id"],
        "treasury_agent": treasury,
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert treasury == {
        "object": "agent",
        "id": treasury["id"],
        "project_id": made["id"],
        "name": "Research treasury",
        "agent_description": "",
        "agent_type": "treasury_agent",
        "created_at": NOW,
        "updated_at": NOW,
        "daily_limit": 250.5,
        "account": [account(treasury, asset) for asset in ASSETS],
    }
    assert portal.ok("GET", f"/projects/{made['id']}") == made
    assert portal.ok("GET", "/projects")["data"][-1] == made


def test_a_project_is_seen_natively_with_all_that_it_has(portal: Portal) -> None:
    house, project = portal.house, portal.project
    identity = house.ok("GET", f"/v1/identities/{project['id']}")
    assert (identity["type"], identity["name"], identity["description"]) == ("project", "Trading", "Desk 7")
    assert (identity["metadata"], identity["status"]) == ({"network": "solana"}, "active")
    root = house.ok("GET", f"/v1/identities/{project['id']}/chain")["chain"][-1]
    assert root["identity_id"] == identity["parent_id"]
    (policy,) = house.ok("GET", f"/v1/policies?identity_id={project['id']}")["data"]
    assert policy["rules"] == {"actions": ["payment.create"]}
    budgets = house.ok("GET", f"/v1/budgets?identity_id={project['id']}")["data"]
    assert [(each["currency"], each["period"], each["limit"]) for each in budgets] == [
        (asset, "daily", 1000) for asset in ASSETS
    ]
    assert {tuple(each["actions"]) for each in budgets} == {("payment.create",)}
    treasury = house.ok("GET", f"/v1/identities/{project['treasury_agent_id']}")
    assert treasury["metadata"] == {"agent_type": "treasury_agent", "network": "solana"}


def test_the_same_key_makes_one_project(portal: Portal) -> None:
    def make() -> tuple[Document, bool]:
        headers = (("X-API-Key", portal.key), ("X-API-Secret", portal.secret))
        body = {"name": "Once", "description": "", "daily_limit": 1}
        answer = portal.house.door.call("POST", f"{API}/projects", body, token=None, key="once", headers=headers)
        return answer.document, answer.is_replayed

    first, second = make(), make()
    assert first[0] == second[0]
    assert (first[1], second[1]) == (False, True)


@pytest.mark.parametrize(("network", "assets"), [("xrpl", ["XRP"]), ("base", ["USDC"])])
def test_a_network_has_its_own_assets(portal: Portal, network: str, assets: list[str]) -> None:
    body = {"name": network, "description": "", "daily_limit": 10, "network": network}
    project = portal.ok("POST", "/projects", body)
    draft = {"name": "Agent", "description": "", "project_id": project["id"]}
    agent = portal.ok("POST", "/agent_profiles", draft)
    for found in (project["treasury_agent"], agent):
        assert [(each["asset"], each["network"]) for each in found["account"]] == [(asset, network) for asset in assets]


# --- Onboard an agent -------------------------------------------------------------------------------------------------


def test_an_agent_gets_an_account_per_asset(portal: Portal) -> None:
    body = {"name": "Worker", "description": "Buys data", "project_id": portal.project["id"]}
    made = portal.ok("POST", "/agent_profiles/", body)
    assert made == {
        "object": "agent",
        "id": made["id"],
        "project_id": portal.project["id"],
        "name": "Worker",
        "agent_description": "Buys data",
        "agent_type": "autonomous_agent",
        "created_at": NOW,
        "updated_at": NOW,
        "daily_limit": 100,
        "account": [account(made, asset) for asset in ASSETS],
    }
    assert portal.ok("GET", f"/agent_profiles/{made['id']}") == made
    assert portal.ok("GET", f"/agent_profiles?project_id={portal.project['id']}&page_size=100")["data"][-1] == made
    native = portal.house.ok("GET", f"/v1/identities/{made['id']}")
    assert (native["type"], native["parent_id"]) == ("agent", portal.project["id"])
    assert native["metadata"] == {"agent_type": "autonomous_agent", "network": "solana"}
    accounts = portal.house.ok("GET", f"/v1/accounts?identity_id={made['id']}")["data"]
    assert [each["account_id"] for each in accounts] == [each["id"] for each in made["account"]]
    assert len({each["wallet_address"] for each in accounts}) == 1


def test_an_agent_has_the_type_and_limit_that_were_asked_for(portal: Portal) -> None:
    body = {"name": "Own", "description": "", "project_id": portal.project["id"]}
    made = portal.ok("POST", "/agent_profiles", body | {"agent_daily_limit": 12.25, "agent_type": "trading_agent"})
    assert (made["daily_limit"], made["agent_type"]) == (12.25, "trading_agent")


def test_a_change_made_natively_is_seen_here(own: Portal) -> None:
    own.house.door.clock.now_us += 1_000_000
    own.house.ok("PATCH", f"/v1/identities/{own.buyer['id']}", {"name": "Bidder"})
    own.house.door.clock.now_us -= 1_000_000
    agent = own.ok("GET", f"/agent_profiles/{own.buyer['id']}")
    assert (agent["name"], agent["created_at"], agent["updated_at"]) == ("Bidder", NOW, "2026-03-09T12:00:01Z")
    assert own.pay()["sending_agent_name"] == "Bidder"


# --- Initiate a payment -----------------------------------------------------------------------------------------------


def test_a_payment_is_answered_with_every_field(own: Portal) -> None:
    made = own.pay(12.5, request_id="order-1", trace_context='{"run": 7}', func_stack_hashes='["a1"]')
    assert set(made) == PAYMENT
    assert made == {
        "object": "payment",
        "id": made["id"],
        "status": "success",
        "payment_amount": 12.5,
        "sending_agent_id": own.buyer["id"],
        "sending_agent_name": "Buyer",
        "receiving_agent_id": own.seller["id"],
        "receiving_agent_name": "Seller",
        "settlement_network": "solana",
        "currency": "USDC",
        "transaction_fee": 0,
        "transaction_hash": None,
        "created_at": NOW,
        "updated_at": NOW,
        "request_id": "order-1",
        "error_details": None,
        "challenge": None,
        "risk_level": None,
        "debug_mode": False,
    }
    assert made["id"].startswith("pay_")
    assert own.ok("GET", f"/payment/{made['id']}") == made
    assert own.ok("GET", f"/payments/{made['id']}/") == made
    assert own.ok("GET", "/payments")["data"] == [made]
    assert (own.balance(own.buyer), own.balance(own.seller)) == (487.5, 12.5)
    native = own.house.ok("GET", f"/v1/payments/{made['id']}")
    assert native["metadata"] == {"trace_context": '{"run": 7}', "func_stack_hashes": '["a1"]'}
    (decision,) = own.house.ok("GET", "/v1/audit?action=payment.create&limit=200")["data"]
    assert (decision["identity_id"], decision["verdict"]) == (own.buyer["id"], "allow")
    assert native["decision"]["decision_id"] == decision["decision_id"]


@pytest.mark.parametrize(("written", "is_same"), [("5e-05", "0.00005"), ("1E-6", "0.000001"), ("1.25e1", "12.50")])
def test_a_number_may_have_an_exponent(own: Portal, written: str, is_same: str) -> None:
    """As Python writes every number below 0.0001."""
    body = json.dumps(own.order("AMOUNT", request_id="small")).replace('"AMOUNT"', written).encode()
    made = own.ok("POST", "/payment", body)
    assert (made["status"], made["payment_amount"]) == ("success", Decimal(is_same))
    assert own.balance(own.buyer) == 500 - Decimal(is_same)
    assert own.pay(is_same, request_id="small") == made


def test_a_repeated_request_id_is_the_same_payment(own: Portal) -> None:
    made = own.pay(10, request_id="order-1")
    assert own.pay(10, request_id="order-1") == made
    assert own.balance(own.buyer) == 490
    other = own.call("POST", "/payment", own.order(11, request_id="order-1"))
    check_detail(other, 422, "body", "request_id", kind="idempotency_conflict")
    assert own.balance(own.buyer) == 490


def test_debug_mode_moves_nothing(own: Portal) -> None:
    made = own.pay(10, debug_mode=True)
    assert (made["debug_mode"], made["status"]) == (True, "success")
    assert (own.balance(own.buyer), own.balance(own.seller)) == (500, 0)
    assert own.ok("GET", f"/agent_profiles/{own.buyer['id']}/agent_limits")["limit_remaining"] == 100
    assert own.ok("GET", f"/payment/{made['id']}") == made


def test_a_payment_over_the_daily_limit_has_failed_and_says_why(own: Portal) -> None:
    failed = own.pay(100.000001)
    assert failed["status"] == "failed"
    assert failed["error_details"].startswith(
        "budget_exceeded: budget `daily limit of the agent` allows 100 USDC a day"
    )
    assert own.house.ok("GET", f"/v1/tokens?identity_id={own.buyer['id']}")["data"] == []
    assert own.balance(own.buyer) == 500
    (record,) = own.house.ok("GET", "/v1/audit?verdict=deny&limit=200")["data"]
    assert record["action"] == "payment.create"
    assert own.ok("GET", "/payments?status=failed")["data"] == [failed]
    assert own.pay(100)["status"] == "success"
    assert own.pay("0.000001")["status"] == "failed"


def test_the_limit_of_the_project_holds_for_all_of_its_agents(door: Door) -> None:
    portal = opened(door, "Small Co")
    portal.deposit(portal.buyer, 500)
    for budget in portal.house.ok("GET", f"/v1/budgets?identity_id={portal.project['id']}")["data"]:
        portal.house.ok("PATCH", f"/v1/budgets/{budget['budget_id']}", {"limit": 15})
    assert portal.ok("GET", f"/projects/{portal.project['id']}")["daily_limit"] == 15
    assert portal.pay(10)["status"] == "success"
    failed = portal.pay(10)
    assert failed["status"] == "failed"
    assert failed["error_details"] == (
        "budget_exceeded: budget `daily limit of the project` allows 15 USDC a day, 10 USDC was asked"
        " and 5 USDC remains"
    )


def test_without_its_policy_a_project_pays_nothing(own: Portal) -> None:
    (policy,) = own.house.ok("GET", f"/v1/policies?identity_id={own.project['id']}")["data"]
    own.house.call("DELETE", f"/v1/policies/{policy['policy_id']}")
    failed = own.pay()
    assert failed["status"] == "failed"
    assert "not_permitted" in failed["error_details"]


def test_who_is_suspended_natively_pays_nothing_here(own: Portal) -> None:
    own.house.ok("PATCH", f"/v1/identities/{own.project['id']}", {"status": "suspended"})
    failed = own.pay()
    assert failed["status"] == "failed"
    assert "identity_suspended" in failed["error_details"]


def test_payments_are_listed_by_pages_and_filters(own: Portal) -> None:
    own.deposit(own.seller, 5)
    ids = [own.pay(amount, request_id=f"r{amount}")["id"] for amount in range(1, 6)]
    back = {"sending_agent_id": own.seller["id"], "receiving_agent_id": own.buyer["id"]}
    ids.append(own.ok("POST", "/payment", own.order(5) | back)["id"])

    def listed(query: str) -> list[str]:
        return [each["id"] for each in own.ok("GET", f"/payments?{query}")["data"]]

    assert listed("order=asc") == ids
    assert listed("") == ids[::-1]
    assert listed("order=asc&page_size=2&page_number=2") == ids[2:4]
    assert listed("page_size=4&page_number=2") == ids[1::-1]
    last = own.ok("GET", "/payments?page_size=3&page_number=2")
    assert (last["object"], last["page_number"], last["page_size"], last["has_more"]) == ("list", 2, 3, False)
    assert own.ok("GET", "/payments?page_size=3")["has_more"] is True
    assert listed(f"order=asc&sending_agent_id={own.buyer['id']}") == ids[:5]
    assert listed(f"receiving_agent_id={own.buyer['id']}") == ids[5:]
    assert listed(f"order=asc&account_id={own.account(own.seller)}&status=success&currency=USDC") == ids
    assert listed("currency=SOL") == []
    assert listed("page_number=9") == []


# --- Agents, accounts and limits --------------------------------------------------------------------------------------


def test_balances_are_shown_per_asset(own: Portal) -> None:
    own.deposit(own.buyer, "0.000000001", "SOL")
    agent = own.ok("GET", f"/agent_profiles/{own.buyer['id']}")
    assert [each["balance"] for each in agent["account"]] == [Decimal("0.000000001"), 500, 0]
    found = own.ok("GET", f"/balance/agent/{own.buyer['id']}")
    assert (found["object"], found["agent_id"]) == ("balance", own.buyer["id"])
    fields = {"account_id", "asset", "currency", "network", "wallet_address", "balance"}
    assert [set(each) for each in found["balances"]] == [fields] * 3
    assert [(each["asset"], each["balance"]) for each in found["balances"]][1:] == [("USDC", 500), ("USDT", 0)]
    account_id = own.account(own.buyer)
    assert own.ok("GET", f"/accounts/{account_id}") == own.ok("GET", f"/account/{account_id}/")
    assert own.ok("GET", f"/accounts/{account_id}") == agent["account"][1]


def test_a_limit_is_set_and_shown_with_what_remains(own: Portal) -> None:
    path = f"/agent_profiles/{own.buyer['id']}/agent_limits"
    weekly = {"limit_amount": 40.5, "limit_currency": "USDC", "limit_refresh_period": "WEEKLY"}
    made = own.ok("POST", f"{path}/", weekly)
    assert made == {
        "object": "agent_limit",
        "id": made["id"],
        "agent_id": own.buyer["id"],
        **weekly,
        "limit_remaining": 40.5,
        "limit_refresh_timestamp": "2026-03-16T04:00:00Z",
        "created_at": NOW,
        "updated_at": NOW,
    }
    own.pay(10.5)
    shown = own.ok("GET", path)
    limits = shown.pop("limits")
    assert shown == made | {"limit_remaining": 30}
    assert [(each["limit_currency"], each["limit_refresh_period"]) for each in limits] == [
        *((asset, "DAILY") for asset in ASSETS),
        ("USDC", "WEEKLY"),
    ]
    assert limits[1]["limit_remaining"] == 89.5
    assert limits[1]["limit_refresh_timestamp"] == "2026-03-10T04:00:00Z"
    assert own.pay(31)["status"] == "failed"
    native = own.house.ok("GET", f"/v1/budgets/{made['id']}")
    assert (native["identity_id"], native["period"], native["limit"]) == (own.buyer["id"], "weekly", 40.5)


def test_setting_a_limit_again_changes_it(own: Portal) -> None:
    path = f"/agent_profiles/{own.buyer['id']}/agent_limits"
    daily = {"limit_amount": 7, "limit_currency": "USDC", "limit_refresh_period": "DAILY"}
    before = len(own.house.ok("GET", f"/v1/budgets?identity_id={own.buyer['id']}")["data"])
    own.house.door.clock.now_us += 1_000_000
    changed = own.ok("POST", path, daily)
    own.house.door.clock.now_us -= 1_000_000
    assert (changed["created_at"], changed["updated_at"]) == (NOW, "2026-03-09T12:00:01Z")
    assert len(own.house.ok("GET", f"/v1/budgets?identity_id={own.buyer['id']}")["data"]) == before
    assert own.ok("GET", f"/agent_profiles/{own.buyer['id']}")["daily_limit"] == 7
    assert own.pay(8)["status"] == "failed"
    own.ok("POST", path, daily | {"limit_amount": 8})
    assert own.pay(8)["status"] == "success"


def test_a_limit_that_suspends_natively_is_the_one_that_is_changed(own: Portal) -> None:
    budgets = own.house.ok("GET", f"/v1/budgets?identity_id={own.buyer['id']}")["data"]
    for budget in budgets:
        own.house.ok("PATCH", f"/v1/budgets/{budget['budget_id']}", {"on_exceeded": "suspend"})
    daily = {"limit_amount": 300, "limit_currency": "USDC", "limit_refresh_period": "DAILY"}
    own.ok("POST", f"/agent_profiles/{own.buyer['id']}/agent_limits", daily)
    assert own.pay(250)["status"] == "success"
    assert "budget_exceeded" in own.pay(51)["error_details"]
    assert "identity_suspended" in own.pay(1)["error_details"]


def test_an_agent_without_limits_has_none_to_show(own: Portal) -> None:
    """Natively they can be taken away; nothing is refused by them any more."""
    for budget in own.house.ok("GET", f"/v1/budgets?identity_id={own.buyer['id']}")["data"]:
        own.house.call("DELETE", f"/v1/budgets/{budget['budget_id']}")
    assert own.ok("GET", f"/agent_profiles/{own.buyer['id']}")["daily_limit"] is None
    check_detail(own.call("GET", f"/agent_profiles/{own.buyer['id']}/agent_limits"), 404, "path", "agent_id")
    assert own.pay(400)["status"] == "success"


# --- Delete -----------------------------------------------------------------------------------------------------------


def test_a_deleted_agent_is_gone_and_its_money_is_not(own: Portal) -> None:
    path = f"/agent_profiles/{own.buyer['id']}"
    own.house.ok("POST", "/v1/tokens", {"name": "buyer", "identity_id": own.buyer["id"]})
    assert own.ok("DELETE", path) == {"object": "agent", "id": own.buyer["id"], "deleted": True}
    for method, gone in (("GET", path), ("DELETE", path), ("GET", f"{path}/agent_limits")):
        check_detail(own.call(method, gone), 404, "path", "agent_id", kind="not_found")
    assert own.buyer["id"] not in {each["id"] for each in own.ok("GET", "/agent_profiles")["data"]}
    failed = own.pay()
    assert failed["status"] == "failed"
    assert "identity_revoked" in failed["error_details"]
    assert own.house.ok("GET", f"/v1/identities/{own.buyer['id']}")["status"] == "revoked"
    assert own.balance(own.buyer) == 500
    own.house.ok("POST", f"/v1/accounts/{own.account(own.buyer)}/withdrawals", {"amount": 500})
    assert own.balance(own.buyer) == 0


def test_a_project_whose_treasury_agent_was_deleted_has_none(own: Portal) -> None:
    own.ok("DELETE", f"/agent_profiles/{own.project['treasury_agent_id']}")
    found = own.ok("GET", f"/projects/{own.project['id']}")
    assert (found["treasury_agent"], found["treasury_agent_id"]) == (None, None)
    draft = {"name": "Vault", "description": "", "project_id": own.project["id"], "agent_type": "treasury_agent"}
    second = own.ok("POST", "/agent_profiles", draft)
    assert own.ok("GET", f"/projects/{own.project['id']}")["treasury_agent"] == second


def test_a_deleted_project_takes_its_agents_along(own: Portal) -> None:
    path = f"/projects/{own.project['id']}/"
    assert own.ok("DELETE", path) == {"object": "project", "id": own.project["id"], "deleted": True}
    check_detail(own.call("GET", path), 404, "path", "project_id", kind="not_found")
    check_detail(own.call("GET", f"/agent_profiles/{own.buyer['id']}"), 404, "path", "agent_id")
    assert own.ok("GET", "/projects")["data"] == []
    assert own.house.ok("GET", f"/v1/policies?identity_id={own.project['id']}")["data"] == [], "nor its permission"
    draft = {"name": "Late", "description": "", "project_id": own.project["id"]}
    check_detail(own.call("POST", "/agent_profiles", draft), 404, "body", "project_id")
    assert own.pay()["status"] == "failed"


# --- An agent's own pair ----------------------------------------------------------------------------------------------


@pytest.fixture
def agents_own(own: Portal) -> Portal:
    """The same tenant, seen with the pair of the buyer's own token."""
    token = own.house.ok("POST", "/v1/tokens", {"name": "buyer", "identity_id": own.buyer["id"]})
    return own._replace(key=token["token_id"], secret=token["token"])


def test_an_agent_reads_and_pays_within_its_reach(own: Portal, agents_own: Portal) -> None:
    made = agents_own.pay(5)
    assert (made["status"], made["sending_agent_name"], made["receiving_agent_name"]) == ("success", "Buyer", None)
    assert agents_own.ok("GET", f"/payment/{made['id']}") == made
    assert agents_own.ok("GET", "/payments")["data"] == [made]
    assert agents_own.balance(own.buyer) == 495
    mine = agents_own.ok("GET", "/agent_profiles")["data"]
    assert mine == [agents_own.ok("GET", f"/agent_profiles/{own.buyer['id']}")]
    assert agents_own.ok("GET", "/projects")["data"] == []
    check_detail(agents_own.call("GET", f"/agent_profiles/{own.seller['id']}"), 404, "path", "agent_id")
    check_detail(agents_own.call("GET", f"/accounts/{own.account(own.seller)}"), 404, "path", "account_id")
    back = {"sending_agent_id": own.seller["id"], "receiving_agent_id": own.buyer["id"]}
    check_detail(agents_own.call("POST", "/payment", own.order() | back), 404, "body", "sending_agent_id")


def test_an_agent_manages_nothing(own: Portal, agents_own: Portal) -> None:
    limit = {"limit_amount": 9000, "limit_currency": "USDC", "limit_refresh_period": "DAILY"}
    agent = {"name": "Friend", "description": "", "project_id": own.project["id"]}
    for method, path, body in (
        ("POST", "/projects", {"name": "Mine", "description": "", "daily_limit": 1}),
        ("POST", f"/agent_profiles/{own.buyer['id']}/agent_limits", limit),
        ("DELETE", f"/agent_profiles/{own.buyer['id']}", None),
        ("POST", "/api_key/generate-api-key", {}),
    ):
        check_detail(agents_own.call(method, path, body), 403, "header", "X-API-Key", kind="forbidden")
    check_detail(agents_own.call("POST", "/agent_profiles", agent), 404, "body", "project_id")


def test_two_tenants_do_not_see_each_other(own: Portal, door: Door) -> None:
    other = opened(door, "Foreign Co")
    made = own.pay()
    for path in (
        f"/projects/{own.project['id']}",
        f"/agent_profiles/{own.buyer['id']}",
        f"/accounts/{own.account(own.buyer)}",
        f"/balance/agent/{own.buyer['id']}",
        f"/payment/{made['id']}",
    ):
        assert own.call("GET", path).status == 200
        check_detail(other.call("GET", path), 404, kind="not_found")
    foreign = other.order(receiving_agent_id=own.seller["id"])
    check_detail(other.call("POST", "/payment", foreign), 404, "body", "receiving_agent_id")
    stolen = own.order()
    check_detail(other.call("POST", "/payment", stolen), 404, "body", "sending_agent_id")
    assert build(door, "Nobody Co").ok("GET", "/v1/accounts")["data"] == []

"""Accounts and payments over the native door: their answers, what they refuse, and who sees what."""

from typing import Any

import pytest

from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import Document

ACCOUNTS, PAYMENTS = "/v1/accounts", "/v1/payments"


class Market:
    """A tenant whose agent may pay, with 100 CAD, and another agent with an empty account."""

    def __init__(self, house: House) -> None:
        """Open the accounts."""
        self.house = house
        rules = {"actions": ["payment.create"], "max_amount": 60, "currencies": ["CAD"]}
        house.ok("POST", "/v1/policies", {"identity_id": house.agent, "name": "pay", "rules": rules})
        self.mine = self.account(house.agent)
        self.other = self.account(house.other)
        house.ok("POST", f"{ACCOUNTS}/{self.mine}/deposits", {"amount": 100})

    def account(self, identity_id: str, **more: object) -> str:
        """Open an account."""
        made = self.house.ok("POST", ACCOUNTS, {"identity_id": identity_id, "asset": "CAD"} | more)
        account_id: str = made["account_id"]
        return account_id

    def body(self, **changes: object) -> Document:
        """The body of a payment from the agent's account to the other's; fields that are None are left out."""
        body = {"from_account_id": self.mine, "to_account_id": self.other, "amount": 10, "currency": "CAD"} | changes
        return {name: value for name, value in body.items() if value is not None}

    def pay(self, **changes: object) -> Document:
        """Make a payment."""
        return self.house.ok("POST", PAYMENTS, self.body(**changes))

    def balance(self, account_id: str) -> object:
        """What is in an account."""
        return self.house.ok("GET", f"{ACCOUNTS}/{account_id}")["balance"]


@pytest.fixture(scope="module")
def shared(door: Door) -> Market:
    """One that nothing is moved in."""
    return Market(build(door, "Market Co"))


@pytest.fixture
def market(door: Door) -> Market:
    """One for one test alone."""
    return Market(build(door, "Payments Co"))


# --- Accounts ---------------------------------------------------------------------------------------------------------


def test_an_account_is_answered_with_what_is_in_it(shared: Market) -> None:
    house = shared.house
    more = {"network": "solana", "wallet_address": "7xKXtg2CW87d97TXJSDpbD5jBkheTqA83TZRuJosgAsU", "name": "Hot"}
    made = house.ok("POST", ACCOUNTS, {"identity_id": house.agent, "asset": "USDC"} | more)
    assert made == {
        "account_id": made["account_id"],
        "tenant_id": house.tenant_id,
        "identity_id": house.agent,
        "asset": "USDC",
        "network": "solana",
        "wallet_address": more["wallet_address"],
        "name": "Hot",
        "status": "active",
        "balance": 0,
        "created_at": "2026-03-09T12:00:00Z",
        "revision": made["revision"],
    }
    assert made["account_id"].startswith("acct_")
    assert house.ok("GET", f"{ACCOUNTS}/{made['account_id']}") == made
    listed = house.ok("GET", f"{ACCOUNTS}?identity_id={house.agent}&asset=USDC&network=solana&status=active")
    assert listed == {"data": [made], "next_cursor": None}


def test_what_comes_in_goes_out_and_the_account_closes(market: Market) -> None:
    house, path = market.house, f"{ACCOUNTS}/{market.other}"
    assert house.ok("POST", f"{path}/deposits", {"amount": "12.50", "reference": "wire 7"})["balance"] == 12.5
    check_refusal(house.call("POST", f"{path}/withdrawals", {"amount": 12.51}), 409, "amount")
    check_refusal(house.call("POST", f"{path}/close", {}), 409)
    assert house.ok("POST", f"{path}/withdrawals", {"amount": 12.5})["balance"] == 0
    assert house.ok("POST", f"{path}/close", {})["status"] == "closed"
    check_refusal(house.call("POST", f"{path}/deposits", {"amount": 1}), 409)


def test_a_repeated_key_opens_moves_and_closes_once(market: Market) -> None:
    house = market.house
    body = {"identity_id": house.agent, "asset": "CAD"}
    path = f"{ACCOUNTS}/{market.account(house.agent)}"
    for target, sent in (
        (ACCOUNTS, body),
        (f"{path}/deposits", {"amount": 5}),
        (f"{path}/withdrawals", {"amount": 5}),
        (f"{path}/close", {}),
    ):
        first = house.call("POST", target, sent, key="k")
        again = house.call("POST", target, sent, key="k")
        assert (again.status, again.exact, again.is_replayed) == (first.status, first.exact, True)


BAD_ACCOUNTS: dict[str, tuple[object, ...]] = {
    "no identity": ({"identity_id": None}, 400, "identity_id"),
    "an unknown identity": ({"identity_id": "id_nobody"}, 404, "identity_id"),
    "no asset": ({"asset": None}, 400, "asset"),
    "an unknown asset": ({"asset": "XXZ"}, 400, "asset"),
    "an odd network": ({"network": "so lana"}, 400, "network"),
    "an odd name": ({"name": "a\nb"}, 400, "name"),
    "an odd address": ({"wallet_address": ""}, 400, "wallet_address"),
    "an unknown field": ({"balance": 100}, 400, "balance"),
    "another tenant": ({"tenant_id": "t_other"}, 403, "tenant_id"),
}


@pytest.mark.parametrize(("changes", "status", "field"), named(BAD_ACCOUNTS))
def test_an_account_that_cannot_be_is_refused(shared: Market, changes: Document, status: int, field: str) -> None:
    house, before = shared.house, shared.house.state()
    body: Document = {"identity_id": house.agent, "asset": "CAD"} | changes
    sent = {name: value for name, value in body.items() if value is not None}
    check_refusal(house.call("POST", ACCOUNTS, sent), status, field)
    assert house.state() == before


@pytest.mark.parametrize(
    ("query", "field"),
    [("asset=XXZ", "asset"), ("network=so%20lana", "network"), ("status=frozen", "status"), ("owner=x", "owner")],
)
def test_a_list_of_accounts_by_what_no_account_has_is_refused(shared: Market, query: str, field: str) -> None:
    check_refusal(shared.house.call("GET", f"{ACCOUNTS}?{query}"), 400, field)


BAD_MOVEMENTS: dict[str, tuple[object, ...]] = {
    "nothing": ({"amount": 0}, 400, "amount"),
    "below zero": ({"amount": -1}, 400, "amount"),
    "too fine": ({"amount": 0.001}, 400, "amount"),
    "too much": ({"amount": 10**14}, 400, "amount"),
    "no amount": ({}, 400, "amount"),
    "an odd reference": ({"amount": 1, "reference": "a\nb"}, 400, "reference"),
    "another tenant": ({"amount": 1, "tenant_id": "t_other"}, 403, "tenant_id"),
}


@pytest.mark.parametrize("kind", ["deposits", "withdrawals"])
@pytest.mark.parametrize(("body", "status", "field"), named(BAD_MOVEMENTS))
def test_a_movement_that_cannot_be_is_refused(
    shared: Market, *, body: Document, status: int, field: str, kind: str
) -> None:
    house, before = shared.house, shared.house.state()
    check_refusal(house.call("POST", f"{ACCOUNTS}/{shared.mine}/{kind}", body), status, field)
    assert (house.state(), shared.balance(shared.mine)) == (before, 100)


# --- Payments ---------------------------------------------------------------------------------------------------------


def test_a_payment_is_answered_with_its_decision(market: Market) -> None:
    house = market.house
    made = market.pay(amount="10.50", request_id="order 7", metadata={"order": "7"}, context={"purpose": "books"})
    decision = made["decision"]
    assert made == {
        "payment_id": made["payment_id"],
        "tenant_id": house.tenant_id,
        "identity_id": house.agent,
        "from_account_id": market.mine,
        "to_account_id": market.other,
        "sender_id": house.agent,
        "receiver_id": house.other,
        "amount": 10.5,
        "currency": "CAD",
        "network": "internal",
        "status": "success",
        "request_id": "order 7",
        "transaction_hash": None,
        "transaction_fee": 0,
        "error_details": None,
        "challenge": None,
        "risk_level": None,
        "debug_mode": False,
        "metadata": {"order": "7"},
        "decision": decision,
        "created_at": "2026-03-09T12:00:00Z",
        "updated_at": "2026-03-09T12:00:00Z",
    }
    assert set(decision) == {"decision_id", "allowed", "reasons", "budget_checks"}
    assert [check["budget_id"] for check in decision["budget_checks"]] == [house.budget]
    assert (market.balance(market.mine), market.balance(market.other)) == (89.5, 10.5)
    assert house.ok("GET", f"{PAYMENTS}/{made['payment_id']}") == made
    assert house.ok("GET", f"{PAYMENTS}?status=success&currency=CAD")["data"] == [made]
    found = house.ok("GET", f"/v1/decisions/{decision['decision_id']}")
    assert (found["action"], found["reservation"]["state"]) == ("payment.create", "settled")
    assert house.ok("GET", f"/v1/budgets/{house.budget}")["usage"]["settled"] == 10.5


def test_sides_can_be_named_as_identities(market: Market) -> None:
    house = market.house
    made = market.pay(from_account_id=None, to_account_id=None, identity_id=house.agent, receiver_id=house.other)
    assert (made["from_account_id"], made["to_account_id"]) == (market.mine, market.other)


def test_a_denial_by_a_policy_or_a_budget_is_a_failed_payment(market: Market) -> None:
    house = market.house
    by_rule = market.pay(amount=61)
    assert (by_rule["status"], by_rule["decision"]["allowed"]) == ("failed", False)
    assert by_rule["decision"]["reasons"][0]["matched_rule"] == "max_amount"
    house.ok("PATCH", f"/v1/budgets/{house.budget}", {"limit": 5})
    by_budget = market.pay(amount=6)
    assert by_budget["error_details"].startswith("budget_exceeded: ")
    assert market.balance(market.mine) == 100
    failed = house.ok("GET", f"{PAYMENTS}?status=failed&sender_id={house.agent}")["data"]
    assert failed == [by_rule, by_budget]


def test_an_agents_token_pays_and_sees_its_own(market: Market) -> None:
    house = market.house
    token = house.agent_token
    answer = house.call("POST", PAYMENTS, market.body(), token=token)
    assert (answer.status, answer.document["status"]) == (201, "success")
    payment_id = answer.document["payment_id"]
    assert house.call("GET", f"{PAYMENTS}/{payment_id}", token=token).exact == answer.exact
    assert house.call("GET", PAYMENTS, token=token).document["data"] == [answer.document]
    stranger = house.ok("POST", "/v1/tokens", {"name": "x", "identity_id": house.ok(
        "POST", "/v1/identities", {"parent_id": house.root, "type": "agent", "name": "stranger"}
    )["identity_id"]})["token"]  # fmt: skip
    check_refusal(house.call("GET", f"{PAYMENTS}/{payment_id}", token=stranger), 404, "payment_id")
    check_refusal(house.call("POST", PAYMENTS, market.body(), token=stranger), 404, "from_account_id")
    assert house.call("GET", PAYMENTS, token=stranger).document["data"] == []
    for path, body in (
        (ACCOUNTS, {"identity_id": house.agent, "asset": "CAD"}),
        (f"{ACCOUNTS}/{market.mine}/deposits", {"amount": 1}),
        (f"{ACCOUNTS}/{market.mine}/withdrawals", {"amount": 1}),
        (f"{ACCOUNTS}/{market.mine}/close", {}),
        (f"{PAYMENTS}/{payment_id}/cancel", {}),
    ):
        check_refusal(house.call("POST", path, body, token=token), 403)


def test_a_repeated_key_and_a_repeated_request_id_pay_once(market: Market) -> None:
    house, body = market.house, market.body(request_id="order 7")
    first = house.call("POST", PAYMENTS, body, key="k")
    assert not first.is_replayed
    for again in (house.call("POST", PAYMENTS, body, key="k"), house.call("POST", PAYMENTS, body | {"amount": "10.0"})):
        assert (again.status, again.exact, again.is_replayed) == (201, first.exact, True)
    check_refusal(house.call("POST", PAYMENTS, body | {"amount": 11}), 422, "request_id")
    check_refusal(house.call("POST", PAYMENTS, body | {"amount": 11}, key="k"), 422)
    assert market.balance(market.other) == 10


def test_debug_mode_moves_nothing(market: Market) -> None:
    made = market.pay(debug_mode=True)
    assert (made["status"], made["debug_mode"], made["decision"]["decision_id"]) == ("success", True, None)
    assert market.balance(market.mine) == 100
    assert market.house.ok("GET", f"{PAYMENTS}/{made['payment_id']}") == made


def test_a_payment_that_has_ended_is_not_cancelled(market: Market) -> None:
    made = market.pay()
    check_refusal(market.house.call("POST", f"{PAYMENTS}/{made['payment_id']}/cancel", {}), 409)
    check_refusal(market.house.call("POST", f"{PAYMENTS}/pay_nobody/cancel", {}), 404, "payment_id")


BAD_PAYMENTS: dict[str, tuple[object, ...]] = {
    "nothing": ({"amount": 0}, 400, "amount"),
    "below zero": ({"amount": -1}, 400, "amount"),
    "too fine": ({"amount": "1.001"}, 400, "amount"),
    "no amount": ({"amount": None}, 400, "amount"),
    "over the balance": ({"amount": 60, "from_account_id": "EMPTY", "identity_id": "AGENT"}, 409, "amount"),
    "no currency": ({"currency": None}, 400, "currency"),
    "an unknown currency": ({"currency": "XXZ"}, 400, "currency"),
    "another asset": ({"currency": "USD"}, 400, "currency"),
    "another network": ({"network": "solana"}, 400, "network"),
    "an odd network": ({"network": "so lana"}, 400, "network"),
    "to itself": ({"to_account_id": "MINE"}, 400, "to_account_id"),
    "from an unknown account": ({"from_account_id": "acct_nobody"}, 404, "from_account_id"),
    "to an unknown account": ({"to_account_id": "acct_nobody"}, 404, "to_account_id"),
    "from nobody": ({"from_account_id": None}, 400, "from_account_id"),
    "to nobody": ({"to_account_id": None}, 400, "to_account_id"),
    "to two": ({"receiver_id": "id_other"}, 400, "receiver_id"),
    "to an unknown identity": ({"to_account_id": None, "receiver_id": "id_nobody"}, 404, "receiver_id"),
    "by an unknown identity": ({"identity_id": "id_nobody"}, 404, "identity_id"),
    "an odd request id": ({"request_id": "a\nb"}, 400, "request_id"),
    "context of another type": ({"context": {"purpose": 1}}, 400, "context.purpose"),
    "an account in the context": ({"context": {"account_id": "acct_1"}}, 400, "context.account_id"),
    "a fraction in the metadata": ({"metadata": {"a": 1.5}}, 400, "metadata.a"),
    "an unknown field": ({"to": "x"}, 400, "to"),
    "another tenant": ({"tenant_id": "t_other"}, 403, "tenant_id"),
}


@pytest.mark.parametrize("debug_mode", [False, True], ids=["meant", "debug"])
@pytest.mark.parametrize(("changes", "status", "field"), named(BAD_PAYMENTS))
def test_a_payment_that_cannot_be_changes_nothing(
    shared: Market, *, changes: dict[str, Any], status: int, field: str, debug_mode: bool
) -> None:
    house = shared.house
    if "EMPTY" in changes.values():
        changes = changes | {"from_account_id": shared.account(house.team)}
    words = {"MINE": shared.mine, "AGENT": house.agent}
    sent = shared.body(**{name: words.get(str(value), value) for name, value in changes.items()})
    before = house.state()
    check_refusal(house.call("POST", PAYMENTS, sent | {"debug_mode": debug_mode}), status, field)
    assert (house.state(), shared.balance(shared.mine)) == (before, 100)
    assert house.ok("GET", PAYMENTS)["data"] == []


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("currency=XXZ", 400, "currency"),
        ("status=done", 400, "status"),
        ("from=x", 400, "from"),
        ("account_id=acct_nobody", 404, "account_id"),
        ("sender_id=id_nobody", 404, "sender_id"),
        ("receiver_id=id_nobody", 404, "receiver_id"),
        ("identity_id=id_nobody", 404, "identity_id"),
    ],
)
def test_a_list_of_payments_by_what_no_payment_has_is_refused(
    shared: Market, query: str, status: int, field: str
) -> None:
    check_refusal(shared.house.call("GET", f"{PAYMENTS}?{query}"), status, field)


def test_another_tenant_sees_neither_accounts_nor_payments(market: Market, shared: Market) -> None:
    made, other = market.pay(), shared.house
    for path, field in (
        (f"{ACCOUNTS}/{market.mine}", "account_id"),
        (f"{PAYMENTS}/{made['payment_id']}", "payment_id"),
    ):
        check_refusal(other.call("GET", path), 404, field)
    check_refusal(other.call("POST", PAYMENTS, market.body()), 404, "from_account_id")
    check_refusal(other.call("POST", PAYMENTS, market.body(from_account_id=shared.mine)), 404, "to_account_id")
    check_refusal(other.call("POST", f"{ACCOUNTS}/{market.mine}/withdrawals", {"amount": 1}), 404, "account_id")

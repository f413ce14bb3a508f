"""Permission grants and passkeys over the native door: their answers, what they refuse, and a payment by a grant."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.core.authenticator import PRESENT, Authenticator, encoded
from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import Document

GRANTS, PASSKEYS = "/v1/grants", "/v1/passkeys"


def plain(answer: object) -> Document:
    """What a browser sends: members that are not known yet are let in."""
    document: Document = msgspec.to_builtins(answer)
    return document | {"authenticatorAttachment": "platform", "clientExtensionResults": {"credProps": {"rk": True}}}


class Wallet(NamedTuple):
    """A wallet of a user beside the team, who has a passkey."""

    house: House
    owner: str
    account_id: str
    phone: Authenticator
    passkey: Document

    def body(self, **changes: object) -> Document:
        """A grant for the agent."""
        wanted = {"max_per_tx": 5, "daily_cap": "12.00", "recipients": [{"type": "agent", "id": self.house.other}]}
        return {"identity_id": self.house.agent, "account_id": self.account_id} | wanted | changes

    def make(self, **changes: object) -> Document:
        """Make a grant."""
        return self.house.ok("POST", GRANTS, self.body(**changes))

    def signed(self, grant: Mapping[str, Any], **changes: Any) -> Document:  # noqa: ANN401
        """The owner's answer to a grant."""
        return {"credential": plain(self.phone.get(grant["approval"], **changes))}

    def approve(self, grant: Mapping[str, Any]) -> Document:
        """Approve a grant."""
        return self.house.ok("POST", f"{GRANTS}/{grant['grant_id']}/approve", self.signed(grant))


def enrolled(house: House, phone: Authenticator, identity_id: str) -> Document:
    """Register a passkey as a page does."""
    options = house.ok("POST", f"{PASSKEYS}/options", {"identity_id": identity_id})
    body = {"identity_id": identity_id, "name": "Phone", "credential": plain(phone.create(options))}
    return house.ok("POST", PASSKEYS, body)


@pytest.fixture
def wallet(door: Door) -> Wallet:
    """A tenant for one test alone, with a wallet that holds 100 CAD."""
    house = build(door, "Wallet Co")
    person = {"parent_id": house.root, "type": "user", "name": "Wanda"}
    owner = house.ok("POST", "/v1/identities", person)["identity_id"]
    account_id = house.ok("POST", "/v1/accounts", {"identity_id": owner, "asset": "CAD"})["account_id"]
    house.ok("POST", f"/v1/accounts/{account_id}/deposits", {"amount": 100})
    phone = Authenticator()
    return Wallet(house, owner, account_id, phone, enrolled(house, phone, owner))


# --- Passkeys ---------------------------------------------------------------------------------------------------------


def test_a_passkey_is_registered_shown_and_deleted(wallet: Wallet) -> None:
    house, made = wallet.house, wallet.passkey
    assert made == {
        "passkey_id": made["passkey_id"],
        "tenant_id": house.tenant_id,
        "identity_id": wallet.owner,
        "name": "Phone",
        "credential_id": encoded(wallet.phone.credential_id),
        "sign_count": 0,
        "backed_up": False,
        "created_at": "2026-03-09T12:00:00Z",
        "revision": made["revision"],
    }
    one = f"{PASSKEYS}/{made['passkey_id']}"
    assert house.ok("GET", one) == made
    assert house.ok("GET", f"{PASSKEYS}?identity_id={wallet.owner}")["data"] == [made]
    assert house.call("DELETE", one).status == 204
    check_refusal(house.call("GET", one), 404, "passkey_id")


def test_options_are_for_the_domain_of_the_settings(wallet: Wallet) -> None:
    options = wallet.house.ok("POST", f"{PASSKEYS}/options", {"identity_id": wallet.owner})
    assert options["rp"] == {"id": "localhost", "name": "localhost"}
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["excludeCredentials"] == [{"id": wallet.passkey["credential_id"], "type": "public-key"}]


def registration(wallet: Wallet, **changes: Any) -> Document:  # noqa: ANN401
    """The body of a registration by another authenticator."""
    options = wallet.house.ok("POST", f"{PASSKEYS}/options", {"identity_id": wallet.owner})
    return {"identity_id": wallet.owner, "credential": plain(Authenticator(5).create(options, **changes))}


def test_a_forged_registration_is_forbidden(wallet: Wallet) -> None:
    for changes in ({"origin": "https://evil.example"}, {"rp_id": "evil.example"}, {"flags": PRESENT}):
        answer = wallet.house.call("POST", PASSKEYS, registration(wallet, **changes))
        check_refusal(answer, 403, "credential")
    answer = wallet.house.call("POST", PASSKEYS, registration(wallet, challenge=encoded(bytes(32))))
    assert check_refusal(answer, 403, "credential").endswith("ask for new options")


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"identity_id": "nobody"}, 404, "identity_id"),
        ({"name": "\n"}, 400, "name"),
        ({"credential": {"id": "x"}}, 400, "credential.rawId"),
        ({"credential": None}, 400, "credential"),
        ({"extra": 1}, 400, "extra"),
    ],
)
def test_what_no_passkey_is_made_of(wallet: Wallet, changes: Document, status: int, field: str) -> None:
    body = registration(wallet) | changes
    before = wallet.house.state()
    check_refusal(wallet.house.call("POST", PASSKEYS, body), status, field)
    assert wallet.house.state() == before


# --- Grants -----------------------------------------------------------------------------------------------------------


def test_a_grant_is_answered_with_what_is_to_be_signed(wallet: Wallet) -> None:
    house, made = wallet.house, wallet.make(expires_at="2026-04-01T00:00:00Z")
    approval = made["approval"]
    assert made == {
        "grant_id": made["grant_id"],
        "tenant_id": house.tenant_id,
        "identity_id": house.agent,
        "account_id": wallet.account_id,
        "owner_id": wallet.owner,
        "asset": "CAD",
        "max_per_tx": 5,
        "daily_cap": 12,
        "recipients": [{"type": "agent", "id": house.other}],
        "expires_at": "2026-04-01T00:00:00Z",
        "status": "pending",
        "approval": approval,
        "signed_text": made["signed_text"],
        "policy_id": None,
        "budget_ids": [],
        "passkey_id": None,
        "created_at": "2026-03-09T12:00:00Z",
        "approved_at": None,
        "revoked_at": None,
        "revision": made["revision"],
    }
    assert approval == {
        "challenge": encoded(hashlib.sha256(made["signed_text"].encode()).digest()),
        "timeout": 300_000,
        "rpId": "localhost",
        "allowCredentials": [{"id": wallet.passkey["credential_id"], "type": "public-key"}],
        "userVerification": "required",
    }
    assert house.ok("GET", f"{GRANTS}/{made['grant_id']}") == made


def test_a_grant_is_approved_used_and_revoked(wallet: Wallet) -> None:
    house = wallet.house
    target = house.ok("POST", "/v1/accounts", {"identity_id": house.other, "asset": "CAD"})["account_id"]
    payment = {"identity_id": house.agent, "from_account_id": wallet.account_id, "to_account_id": target}

    def pay(amount: int) -> Document:
        return house.call("POST", "/v1/payments", payment | {"amount": amount, "currency": "CAD"}).document

    assert pay(5)["type"] == "not_found"
    waiting = wallet.make()
    active = wallet.approve(waiting)
    assert (active["status"], active["approval"], active["approved_at"]) == ("active", None, "2026-03-09T12:00:00Z")
    assert active["passkey_id"] == wallet.passkey["passkey_id"]
    policy = house.ok("GET", f"/v1/policies/{active['policy_id']}")
    assert f'@id("{active["policy_id"]}/max_per_tx")' in policy["cedar"]
    budgets = house.ok("GET", f"/v1/budgets?identity_id={house.agent}&limit=200")["data"]
    assert {each["budget_id"] for each in budgets if each["account_id"] == wallet.account_id} == {*active["budget_ids"]}
    assert pay(5)["status"] == "success"
    denied = pay(6)
    assert denied["status"] == "failed"
    (reason,) = denied["decision"]["reasons"]
    assert (reason["code"], reason["policy_id"]) == ("forbidden", active["policy_id"])
    assert reason["advice"] == "pay at most 5 CAD, or ask the wallet's owner for another grant"
    ended = house.ok("POST", f"{GRANTS}/{active['grant_id']}/revoke", {})
    assert (ended["status"], ended["policy_id"], ended["budget_ids"]) == ("revoked", None, [])
    assert pay(1)["type"] == "not_found"
    again = house.call("POST", f"{GRANTS}/{active['grant_id']}/approve", wallet.signed(waiting))
    assert (again.status, again.document["type"]) == (409, "conflict")


def test_a_forged_approval_is_forbidden_and_changes_nothing(wallet: Wallet) -> None:
    house, made = wallet.house, wallet.make()
    path = f"{GRANTS}/{made['grant_id']}/approve"
    other = wallet.make()
    before = house.state()
    for body in (
        wallet.signed(made, origin="https://evil.example"),
        wallet.signed(made, rp_id="evil.example"),
        wallet.signed(made, flags=PRESENT),
        wallet.signed(other),
        {"credential": plain(Authenticator(7).get(made["approval"]))},
    ):
        check_refusal(house.call("POST", path, body), 403, "credential")
    assert house.state() == before
    assert house.ok("GET", f"{GRANTS}/{made['grant_id']}") == made


def test_a_call_that_is_repeated_is_answered_from_the_first(wallet: Wallet) -> None:
    house = wallet.house
    first, second = (house.call("POST", GRANTS, wallet.body(), key="g1") for _ in range(2))
    assert (first.status, second.status, second.headers["idempotent-replayed"]) == (201, 201, "true")
    assert first.document == second.document
    body = wallet.signed(first.document)
    path = f"{GRANTS}/{first.document['grant_id']}"
    approved = [house.call("POST", f"{path}/approve", body, key="a1").document for _ in range(2)]
    assert approved[0] == approved[1]
    revoked = [house.call("POST", f"{path}/revoke", {}, key="r1").document for _ in range(2)]
    assert revoked[0] == revoked[1]


BAD: dict[str, tuple[object, ...]] = {
    "an unknown agent": ({"identity_id": "nobody"}, 404, "identity_id"),
    "an unknown wallet": ({"account_id": "acct_01K9Z3J4M5N6P7Q8R9S0T1V2W3"}, 404, "account_id"),
    "no wallet": ({"account_id": None}, 400, "account_id"),
    "too many places": ({"max_per_tx": "0.001"}, 400, "max_per_tx"),
    "a negative cap": ({"daily_cap": -1}, 400, "daily_cap"),
    "an odd recipient": ({"recipients": [{"type": "merchant", "id": "x"}]}, 400, "recipients[0].type"),
    "a recipient with more": ({"recipients": [{"type": "agent", "id": "x", "name": "X"}]}, 400, "recipients[0].name"),
    "a time that is over": ({"expires_at": "2026-03-09T12:00:00Z"}, 400, "expires_at"),
    "a time that is too fine": ({"expires_at": "2027-03-09T12:00:00.0001Z"}, 400, "expires_at"),
    "no time": ({"expires_at": "tomorrow"}, 400, "expires_at"),
    "an unknown field": ({"extra": 1}, 400, "extra"),
}


@pytest.mark.parametrize(("changes", "status", "field"), named(BAD))
def test_what_no_grant_is_made_of(wallet: Wallet, changes: Document, status: int, field: str) -> None:
    before = wallet.house.state()
    check_refusal(wallet.house.call("POST", GRANTS, wallet.body(**changes)), status, field)
    assert wallet.house.state() == before


def test_grants_are_listed_by_agent_wallet_and_what_holds(wallet: Wallet) -> None:
    house = wallet.house
    one, two = wallet.make(), wallet.make(identity_id=house.other, recipients=[])
    active = wallet.approve(one)

    def ids(query: str) -> list[str]:
        return [each["grant_id"] for each in house.ok("GET", f"{GRANTS}?{query}")["data"]]

    assert ids("limit=200") == [one["grant_id"], two["grant_id"]]
    assert ids(f"identity_id={house.agent}&status=active") == [active["grant_id"]]
    assert ids(f"account_id={wallet.account_id}&status=pending") == [two["grant_id"]]
    assert ids("status=expired") == []
    check_refusal(house.call("GET", f"{GRANTS}?status=open"), 400, "status")


def test_an_agents_token_sees_its_own_grants_and_makes_none(wallet: Wallet) -> None:
    house = wallet.house
    mine, other = wallet.make(), wallet.make(identity_id=house.other, recipients=[])

    def call(method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        return house.call(method, path, body, token=house.agent_token)

    assert call("GET", f"{GRANTS}/{mine['grant_id']}").document == mine
    check_refusal(call("GET", f"{GRANTS}/{other['grant_id']}"), 404, "grant_id")
    assert call("GET", GRANTS).document["data"] == [mine]
    for path, body in (
        (GRANTS, wallet.body()),
        (f"{GRANTS}/{mine['grant_id']}/approve", wallet.signed(mine)),
        (f"{GRANTS}/{mine['grant_id']}/revoke", {}),
        (f"{PASSKEYS}/options", {"identity_id": wallet.owner}),
    ):
        assert call("POST", path, body).status == 403


def test_grants_of_another_tenant_do_not_exist(wallet: Wallet, neighbour: House) -> None:
    made = wallet.make()
    check_refusal(neighbour.call("GET", f"{GRANTS}/{made['grant_id']}"), 404, "grant_id")
    check_refusal(neighbour.call("POST", f"{GRANTS}/{made['grant_id']}/approve", wallet.signed(made)), 404, "grant_id")
    check_refusal(neighbour.call("GET", f"{PASSKEYS}/{wallet.passkey['passkey_id']}"), 404, "passkey_id")
    foreign = wallet.body(tenant_id=wallet.house.tenant_id)
    assert neighbour.call("POST", GRANTS, foreign).status == 403

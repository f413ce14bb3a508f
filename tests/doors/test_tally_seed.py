"""The examples of Tally's agents page, one after the other, with every field that is documented there.

Only the base URL, the key and the ids are changed. Then what the page says in words, its roadmap, and bad input.
"""

import json
from urllib.parse import quote

import msgspec
import pytest
from structlog.testing import capture_logs

from sidecar.core.errors import StoreUnusable, Unavailable
from sidecar.service.roster import Roster
from tests.core.authenticator import Authenticator
from tests.doors.door import NOON_US, Door, named
from tests.process.server import Answer, Document

SECOND_US = 1_000_000
NOON_MS = NOON_US // 1_000
LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")

STATUS_OF = {
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "validation_failed": 400,
    "conflict": 409,
    "rate_limited": 429,
    "internal": 500,
}
"""Tally's types of errors with their statuses."""


class Tally:
    """A tenant, spoken to as a program that was written for Tally speaks."""

    def __init__(self, door: Door, mode: str = "test", external_id: str | None = None) -> None:
        """Make the tenant; the clock goes back to noon."""
        door.clock.now_us = NOON_US
        made = door.ok("POST", "/v1/tenants", {"name": "Tally Co", "mode": mode, "external_id": external_id})
        self.door = door
        self.tenant_id: str = made["tenant_id"]
        self.key: str = made["api_key"]
        self.root: str = made["root_identity_id"]
        self.phone = Authenticator()
        self.has_passkey = False

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> Answer:
        """Make a call below the base URL."""
        return self.door.call(method, f"/tally{path}", body, token=self.key if token is None else token)

    def ok(self, method: str, path: str, body: object = None, status: int = 200) -> Document:
        """Make a call that must succeed; every answer tells of the limit."""
        answer = self.call(method, path, body)
        assert answer.status == status, answer
        assert set(LIMITS) <= set(answer.headers)
        return answer.document if answer.body else {}

    def agent(self, agent_id: str) -> Document:
        """Look at an agent."""
        found: Document = self.ok("GET", f"/v1/agents/{quote(agent_id, safe='')}")["agent"]
        return found

    def native(self, method: str, path: str, body: object = None) -> Document:
        """Make a call of the native API with the same key."""
        return self.door.ok(method, path, body, token=self.key)

    def identity_id(self, agent_id: str) -> str:
        """The native id of an agent that was registered here."""
        (found,) = self.native("GET", f"/v1/identities?external_id={quote(agent_id, safe='')}")["data"]
        identity_id: str = found["identity_id"]
        return identity_id

    def wallet(self, asset: str = "USDC") -> str:
        """Open a wallet of the root, which owns a passkey from the first one on; returns its id."""
        if not self.has_passkey:
            options = self.native("POST", "/v1/passkeys/options", {"identity_id": self.root})
            credential = msgspec.to_builtins(self.phone.create(options))
            self.native("POST", "/v1/passkeys", {"identity_id": self.root, "credential": credential})
            self.has_passkey = True
        body = {"identity_id": self.root, "asset": asset, "network": "base", "wallet_address": "0x7a11", "name": "Main"}
        account_id: str = self.native("POST", "/v1/accounts", body)["account_id"]
        return account_id

    def offer(self, agent_id: str, wallet: str, **terms: object) -> Document:
        """Make a grant that waits for the owner."""
        body = {"identity_id": self.identity_id(agent_id), "account_id": wallet} | terms
        return self.native("POST", "/v1/grants", body)

    def sign(self, grant: Document) -> None:
        """Approve a grant with the owner's passkey."""
        signed = msgspec.to_builtins(self.phone.get(grant["approval"]))
        self.native("POST", f"/v1/grants/{grant['grant_id']}/approve", {"credential": signed})

    def pays(self, agent_id: str, wallet: str, amount: str = "1") -> bool:
        """Whether a payment from the wallet is permitted now."""
        resource = {"type": "account", "id": "acct_7", "amount": amount, "currency": "USDC"}
        asked = {"identity_id": self.identity_id(agent_id), "action": "payment.create", "resource": resource}
        allowed: bool = self.native("POST", "/v1/authorize", asked | {"context": {"account_id": wallet}})["allowed"]
        return allowed


@pytest.fixture
def tally(door: Door) -> Tally:
    """A test-mode tenant of the application."""
    return Tally(door)


def new(agent_id: str, **changes: object) -> Document:
    """An agent as it is shown right after it was registered."""
    return {
        "id": agent_id,
        "status": "no_permissions",
        "mode": "test",
        "created_at": "2026-03-09T12:00:00Z",
        "active_signers": 0,
        "pending_signers": 0,
    } | changes


def refused(answer: Answer, kind: str, code: str | None = None, status: int | None = None) -> str:
    """Check that an answer is an error in Tally's words; returns its message."""
    assert answer.status == (status or STATUS_OF[kind]), answer
    error = answer.document.pop("error")
    assert answer.headers["content-type"] == "application/json"
    assert set(error) <= {"type", "message", "code", "details"}
    assert (error["type"], error.get("code")) == (kind, code)
    message: str = error["message"]
    assert message.strip()
    assert "\n" not in message
    return message


# --- The page, from top to bottom -------------------------------------------------------------------------------------


def test_the_examples_in_their_order(tally: Tally) -> None:
    created = tally.ok("POST", "/v1/agents", {"id": "research-bot"}, 201)
    assert created == {"agent": new("research-bot")}
    assert list(created["agent"]) == ["id", "status", "mode", "created_at", "active_signers", "pending_signers"]

    tally.door.clock.now_us += 5 * SECOND_US
    assert tally.ok("POST", "/v1/agents", {"id": "research-bot"}, 201) == created, "201 for what is there already"

    tally.ok("POST", "/v1/agents", {"id": "summarizer"}, 201)
    tally.sign(tally.offer("research-bot", tally.wallet()))
    later = new("summarizer", created_at="2026-03-09T12:00:05Z")
    active = new("research-bot", status="active", active_signers=1)
    assert tally.ok("GET", "/v1/agents") == {"agents": [active, later]}
    assert tally.ok("GET", "/v1/agents/research-bot") == {"agent": active}


def test_a_program_registers_what_it_needs_at_each_start(tally: Tally) -> None:
    """The page's loop sends bodies as `fetch` does: declared as plain text."""
    required = ["research-bot", "summarizer", "publisher"]
    for _ in range(2):
        for agent_id in required:
            body = json.dumps({"id": agent_id}).encode()
            headers = (("Content-Type", "text/plain;charset=UTF-8"),)
            answer = tally.door.call("POST", "/tally/v1/agents", body, token=tally.key, headers=headers)
            assert (answer.status, answer.document["agent"]["id"]) == (201, agent_id)
    assert [agent["id"] for agent in tally.ok("GET", "/v1/agents")["agents"]] == required


def test_a_grant_moves_status_and_counters(tally: Tally) -> None:
    """`pending` gives no spending power; `active` is the gate that the page tells programs to look at."""
    tally.ok("POST", "/v1/agents", {"id": "bot"}, 201)

    def seen() -> tuple[object, ...]:
        agent = tally.agent("bot")
        listed = tally.ok("GET", "/v1/agents")["agents"]
        assert listed == [agent] == tally.ok("GET", "/v1/agents?limit=5")["agents"]
        assert tally.ok("POST", "/v1/agents", {"id": "bot"}, 201) == {"agent": agent}
        return agent["status"], agent["active_signers"], agent["pending_signers"]

    wallet, other = tally.wallet(), tally.wallet()
    assert (seen(), tally.pays("bot", wallet)) == (("no_permissions", 0, 0), False)
    grant = tally.offer("bot", wallet)
    assert (seen(), tally.pays("bot", wallet)) == (("no_permissions", 0, 1), False)
    tally.sign(grant)
    assert (seen(), tally.pays("bot", wallet)) == (("active", 1, 0), True)
    tally.offer("bot", other)
    assert (seen(), tally.pays("bot", other)) == (("active", 1, 1), False)
    native = f"/v1/identities/{tally.identity_id('bot')}"
    tally.native("PATCH", native, {"status": "suspended"})
    assert (seen(), tally.pays("bot", wallet)) == (("no_permissions", 1, 1), False), "whatever was granted"
    tally.native("PATCH", native, {"status": "active"})
    tally.native("POST", f"/v1/grants/{grant['grant_id']}/revoke")
    assert (seen(), tally.pays("bot", wallet)) == (("no_permissions", 0, 1), False)


def test_the_mode_is_that_of_the_key_and_each_mode_has_agents_of_its_own(door: Door) -> None:
    """One account at Tally is two tenants that share an external id."""
    test, live = Tally(door, "test", "acct-tally"), Tally(door, "live", "acct-tally")
    assert test.ok("POST", "/v1/agents", {"id": "bot"}, 201)["agent"] == new("bot")
    assert live.ok("GET", "/v1/agents") == {"agents": []}
    refused(live.call("GET", "/v1/agents/bot"), "not_found")
    assert live.ok("POST", "/v1/agents", {"id": "bot"}, 201)["agent"] == new("bot", mode="live")
    test.ok("DELETE", "/v1/agents/bot", status=204)
    assert test.ok("GET", "/v1/agents") == {"agents": []}
    assert live.agent("bot")["mode"] == "live"
    tenants = door.ok("GET", "/v1/tenants?external_id=acct-tally")["data"]
    assert [(each["tenant_id"], each["mode"]) for each in tenants] == [
        (test.tenant_id, "test"),
        (live.tenant_id, "live"),
    ]


def test_the_list_is_whole_without_a_limit(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    """More agents than a page of any list has, and more than are written in one go."""
    monkeypatch.setattr("sidecar.doors.dialects.tally.RENDERED_AT_ONCE", 50)
    ids = [f"bot-{number}" for number in range(230)]
    for number, agent_id in enumerate(ids):
        body = {"parent_id": tally.root, "type": "agent", "name": "n", "external_id": agent_id}
        tally.door.clock.now_us = NOON_US + number * SECOND_US
        tally.native("POST", "/v1/identities", body)
    agents = tally.ok("GET", "/v1/agents")["agents"]
    assert [agent["id"] for agent in agents] == ids
    assert [agent["created_at"] for agent in agents] == sorted(agent["created_at"] for agent in agents)


# --- The roadmap ------------------------------------------------------------------------------------------------------


def test_a_deleted_agent_is_gone_and_its_id_is_free(tally: Tally) -> None:
    tally.ok("POST", "/v1/agents", {"id": "bot"}, 201)
    revoked = tally.identity_id("bot")
    answer = tally.call("DELETE", "/v1/agents/bot")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["x-ratelimit-limit"] == "60"
    for method in ("GET", "DELETE"):
        refused(tally.call(method, "/v1/agents/bot"), "not_found")
    assert tally.native("GET", f"/v1/identities/{revoked}")["status"] == "revoked"
    tally.door.clock.now_us += SECOND_US
    again = tally.ok("POST", "/v1/agents", {"id": "bot"}, 201)["agent"]
    assert again == new("bot", created_at="2026-03-09T12:00:01Z")
    assert tally.identity_id("bot") != revoked
    kinds = [record["type"] for record in tally.native("GET", "/v1/audit?limit=200")["data"]]
    assert kinds[-3:] == ["identity_created", "identity_revoked", "identity_created"]


def test_a_limit_asks_for_pages(tally: Tally) -> None:
    ids = [f"bot-{number}" for number in range(5)]
    for agent_id in ids:
        tally.ok("POST", "/v1/agents", {"id": agent_id}, 201)
    seen, cursor, pages = [], "", 0
    while pages < 4:
        page = tally.ok("GET", f"/v1/agents?limit=2{cursor}")
        assert set(page) == {"agents", "next_cursor"}
        seen += [agent["id"] for agent in page["agents"]]
        pages += 1
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert (seen, pages) == (ids, 3)


def test_permissions_are_the_active_grants_with_their_policies(tally: Tally) -> None:
    tally.ok("POST", "/v1/agents", {"id": "bot"}, 201)
    assert tally.ok("GET", "/v1/agents/bot/permissions") == {"permissions": []}
    terms: Document = {
        "max_per_tx": "10.5",
        "daily_cap": "100",
        "recipients": [{"type": "account", "id": "acct_7"}, {"type": "agent", "id": "shop"}],
        "expires_at": "2026-03-10T12:00:00Z",
    }
    wallet = tally.wallet()
    grant = tally.offer("bot", wallet, **terms)
    assert tally.ok("GET", "/v1/agents/bot/permissions") == {"permissions": []}
    shown: Document = {
        "id": grant["grant_id"],
        "agent_id": "bot",
        "wallet_id": wallet,
        "wallet_address": "0x7a11",
        "wallet_display_name": "Main",
        "status": "pending",
        "policy": {
            "max_per_tx_usdc": "10.5",
            "daily_cap_usdc": "100",
            "recipient_allowlist": ["acct_7", "shop"],
            "expires_at": "2026-03-10T12:00:00Z",
        },
        "created_at": "2026-03-09T12:00:00Z",
        "activated_at": None,
    }
    assert tally.ok("GET", "/v1/agents/bot/permissions?status=pending") == {"permissions": [shown]}
    tally.door.clock.now_us += SECOND_US
    tally.sign(grant)
    shown |= {"status": "active", "activated_at": "2026-03-09T12:00:01Z"}
    assert tally.ok("GET", "/v1/agents/bot/permissions") == {"permissions": [shown]}
    assert tally.ok("GET", "/v1/agents/bot/permissions?status=pending") == {"permissions": []}
    assert [tally.pays("bot", wallet, amount) for amount in ("10.5", "10.500001")] == [True, False]
    tally.door.clock.now_us += 86_400 * SECOND_US
    assert tally.ok("GET", "/v1/agents/bot/permissions") == {"permissions": []}, "it has run out"
    assert tally.agent("bot")["status"] == "no_permissions"


def test_a_wallet_of_another_asset_has_figures_of_that_asset(tally: Tally) -> None:
    """No figure is called USDC that is none, and what nothing limits is null."""
    tally.ok("POST", "/v1/agents", {"id": "bot"}, 201)
    tally.sign(tally.offer("bot", tally.wallet("CAD"), max_per_tx="10.50"))
    (shown,) = tally.ok("GET", "/v1/agents/bot/permissions")["permissions"]
    assert shown["policy"] == {
        "max_per_tx_cad": "10.5",
        "daily_cap_cad": None,
        "recipient_allowlist": [],
        "expires_at": None,
    }


# --- Ids --------------------------------------------------------------------------------------------------------------

ODD_IDS = ["a", "x" * 64, "research bot", "écrivain", "机器人", "a.b:c@d_e-f", "50%", "a?b#c", "..."]


@pytest.mark.parametrize("agent_id", ODD_IDS)
def test_an_id_is_any_name_of_64_characters_and_url_encoded_in_paths(tally: Tally, agent_id: str) -> None:
    tally.ok("POST", "/v1/agents", {"id": agent_id}, 201)
    assert tally.agent(agent_id) == new(agent_id)
    assert tally.ok("GET", f"/v1/agents/{quote(agent_id, safe='')}/permissions") == {"permissions": []}
    tally.ok("DELETE", f"/v1/agents/{quote(agent_id, safe='')}", status=204)


def test_agents_of_other_doors_are_found_by_what_the_list_shows(tally: Tally) -> None:
    """Also under ids that could not be registered here."""
    body = {"parent_id": tally.root, "type": "agent", "name": "n"}
    plain = tally.native("POST", "/v1/identities", body | {"id": "plain"})["identity_id"]
    for external_id in ("customers/17/bot", "x" * 200):
        tally.native("POST", "/v1/identities", body | {"external_id": external_id})
    tally.native("POST", "/v1/identities", body | {"type": "team", "id": "crew"})
    ids = [agent["id"] for agent in tally.ok("GET", "/v1/agents")["agents"]]
    assert ids == [plain, "customers/17/bot", "x" * 200]
    for agent_id in ids:
        assert tally.agent(agent_id)["id"] == agent_id
    refused(tally.call("POST", "/v1/agents", {"id": "crew"}), "conflict")
    refused(tally.call("GET", "/v1/agents/crew"), "not_found")


# --- Refusals ---------------------------------------------------------------------------------------------------------

BAD_BODIES: dict[str, tuple[object, ...]] = {
    "no body": (None, None),
    "no id": ({}, None),
    "an empty id": ({"id": ""}, None),
    "65 characters": ({"id": "x" * 65}, None),
    "null": ({"id": None}, None),
    "a number": ({"id": 7}, None),
    "a line break": ({"id": "a\nb"}, None),
    "a slash": ({"id": "a/b"}, None),
    "a path that is taken away": ({"id": ".."}, None),
    "a space in front": ({"id": " a"}, None),
    "an unknown field": ({"id": "a", "name": "A"}, None),
    "a list": ([b'["a"]'], None),
    "no JSON": (b"{", "invalid_json"),
    "the id twice": (b'{"id":"a","id":"b"}', "invalid_json"),
}


@pytest.mark.parametrize(("body", "code"), named(BAD_BODIES))
def test_a_body_that_is_not_as_documented_is_refused_and_nothing_changes(
    tally: Tally, body: object, code: str | None
) -> None:
    before = tally.native("GET", "/v1/audit/verify")["head"]
    answer = tally.call("POST", "/v1/agents", body)
    refused(answer, "validation_failed", code)
    assert set(LIMITS) <= set(answer.headers)
    assert tally.native("GET", "/v1/audit/verify")["head"] == before


def test_a_mistake_names_its_field(tally: Tally) -> None:
    error = tally.call("POST", "/v1/agents", {"id": "a/b"}).document["error"]
    assert error["details"] == {"field": "id"}
    assert tally.call("GET", "/v1/agents?limit=0").document["error"]["details"] == {"field": "limit"}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=AAAA", "page=2", "limit=2&limit=3", "status=active"]
)
def test_a_query_that_is_none_is_refused(tally: Tally, query: str) -> None:
    refused(tally.call("GET", f"/v1/agents?{query}"), "validation_failed")


def test_a_status_that_cannot_be_listed_is_refused(tally: Tally) -> None:
    tally.ok("POST", "/v1/agents", {"id": "bot"}, 201)
    refused(tally.call("GET", "/v1/agents/bot/permissions?status=revoked"), "validation_failed")
    refused(tally.call("GET", "/v1/agents/nobody/permissions"), "not_found")


CALLS = [("POST", "/v1/agents"), ("GET", "/v1/agents"), ("GET", "/v1/agents/bot"), ("DELETE", "/v1/agents/bot")]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_key_that_is_missing_or_wrong_is_refused(tally: Tally, method: str, path: str) -> None:
    body = {"id": "bot"} if method == "POST" else None
    for token in ("sk_test_AAAAAAAAAA_x_y", "tly_test_x"):
        answer = tally.call(method, path, body, token=token)
        refused(answer, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    refused(tally.door.call(method, f"/tally{path}", body, token=None), "unauthenticated")


def test_the_token_of_an_agent_reads_itself_and_those_below_and_changes_nothing(tally: Tally) -> None:
    for agent_id in ("lead", "other"):
        tally.ok("POST", "/v1/agents", {"id": agent_id}, 201)
    lead = tally.identity_id("lead")
    tally.native("POST", "/v1/identities", {"parent_id": lead, "type": "agent", "name": "n", "external_id": "below"})
    token = tally.native("POST", "/v1/tokens", {"name": "t", "identity_id": lead})["token"]
    for query in ("", "?limit=9"):
        listed = tally.call("GET", f"/v1/agents{query}", token=token).document["agents"]
        assert [agent["id"] for agent in listed] == ["lead", "below"]
    assert tally.call("GET", "/v1/agents/below", token=token).status == 200
    refused(tally.call("GET", "/v1/agents/other", token=token), "not_found")
    refused(tally.call("POST", "/v1/agents", {"id": "new"}, token), "forbidden")
    refused(tally.call("DELETE", "/v1/agents/lead", token=token), "forbidden")


def test_the_operator_names_the_tenant(tally: Tally) -> None:
    tally.ok("POST", "/v1/agents", {"id": "bot"}, 201)
    found = tally.door.call("GET", f"/tally/v1/agents?tenant_id={tally.tenant_id}")
    assert [agent["id"] for agent in found.document["agents"]] == ["bot"]
    refused(tally.door.call("GET", "/tally/v1/agents"), "validation_failed")
    refused(tally.call("GET", "/v1/agents?tenant_id=t_other"), "forbidden")


def test_what_is_not_served_is_refused_in_the_same_shape(tally: Tally) -> None:
    refused(tally.call("GET", "/v1/payments"), "not_found")
    refused(tally.call("GET", "/v1/agents/"), "not_found")
    answer = tally.call("PUT", "/v1/agents", {"id": "bot"})
    refused(answer, "validation_failed", "method_not_allowed", 405)
    assert answer.headers["allow"] == "GET, POST"
    refused(tally.call("POST", "/v1/agents", b" " * 70_000), "validation_failed", "too_large", 413)


# --- The rate limit ---------------------------------------------------------------------------------------------------


def told(answer: Answer) -> tuple[str | None, ...]:
    """Return what the headers say of the limit."""
    return tuple(answer.headers.get(name) for name in (*LIMITS, "retry-after"))


def test_sixty_requests_a_minute_for_each_key(tally: Tally) -> None:
    other = tally.native("POST", "/v1/tokens", {"name": "second key", "kind": "tenant"})["token"]
    for number in range(1, 61):
        answer = tally.call("GET", "/v1/agents")
        assert (answer.status, told(answer)) == (200, ("60", str(60 - number), _reset_ms(number), None))
    refusal = tally.call("POST", "/v1/agents", {"id": "bot"})
    message = refused(refusal, "rate_limited", "rate_limit_exceeded")
    assert message == "over the rate limit `60/minute` of the tally key, retry in 1 s"
    assert told(refusal) == ("60", "0", str(NOON_MS + 1_000), "1")
    assert tally.native("GET", "/v1/identities?external_id=bot")["data"] == [], "and the native API has no such limit"
    assert told(tally.call("GET", "/v1/agents", token=other))[:2] == ("60", "59")
    tally.door.clock.now_us += SECOND_US
    assert tally.call("POST", "/v1/agents", {"id": "bot"}).status == 201
    refused(tally.call("GET", "/v1/agents"), "rate_limited", "rate_limit_exceeded")
    tally.door.clock.now_us += 60 * SECOND_US
    assert told(tally.call("GET", "/v1/agents"))[:2] == ("60", "59")


def _reset_ms(number: int) -> str:
    """When the limit is whole again after so many requests at noon, or admits one more after the last of them."""
    return str(NOON_MS + 1_000 * (number if number < 60 else 1))


def test_errors_count_and_tell_of_the_limit_too(tally: Tally) -> None:
    assert told(tally.call("GET", "/v1/agents/nobody"))[:2] == ("60", "59")
    assert told(tally.call("POST", "/v1/agents", {}))[:2] == ("60", "58")


def test_the_tenants_own_limit_holds_beside_it(tally: Tally) -> None:
    tally.door.ok("PATCH", f"/v1/tenants/{tally.tenant_id}", {"rate_limit": "1/minute"})
    assert told(tally.call("GET", "/v1/agents")) == ("60", "59", str(NOON_MS + 1_000), None)
    refusal = tally.call("GET", "/v1/agents")
    refused(refusal, "rate_limited", "rate_limit_exceeded")
    assert told(refusal) == ("60", "59", str(NOON_MS + 1_000), "60")


# --- Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "code", "status", "retry_after"),
    [
        (Unavailable("no room"), "unavailable", 503, "1"),
        (StoreUnusable("broken"), "unavailable", 503, "1"),
        (RuntimeError("a mistake"), None, 500, None),
    ],
)
def test_a_failure_is_told_in_the_same_shape(
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    code: str | None,
    status: int,
    retry_after: str | None,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(Roster, "get", fail)
    with capture_logs():
        answer = tally.call("GET", "/v1/agents/bot")
    assert "a mistake" not in refused(answer, "internal", code, status)
    assert answer.headers.get("retry-after") == retry_after

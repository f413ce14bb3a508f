"""Webhooks over the native API: every call, what it refuses, and that a secret is shown once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.app.logs import mask_secrets
from sidecar.core.webhooks import ENDPOINTS_MAX
from sidecar.service.announcement import Announcer
from sidecar.state.store import LmdbStore
from tests.doors.door import NOON_US, Door, House, build, check_refusal, named
from tests.process.server import ROOT, Document

URL = "https://hooks.example.com/sidecar"

BAD: dict[str, tuple[Document, str | None]] = {
    "no url": ({"events": ["*"]}, "url"),
    "no events": ({"url": URL}, "events"),
    "an empty list": ({"url": URL, "events": []}, "events"),
    "an unknown type": ({"url": URL, "events": ["budget.exceeded", "budget.full"]}, "events[1]"),
    "a type twice": ({"url": URL, "events": ["card.frozen", "card.frozen"]}, "events"),
    "all and one": ({"url": URL, "events": ["*", "card.frozen"]}, "events"),
    "the test": ({"url": URL, "events": ["webhook.test"]}, "events[0]"),
    "a text for a list": ({"url": URL, "events": "*"}, "events"),
    "http": ({"url": "http://hooks.example.com/", "events": ["*"]}, "url"),
    "loopback": ({"url": "https://127.0.0.1/", "events": ["*"]}, "url"),
    "metadata": ({"url": "https://169.254.169.254/", "events": ["*"]}, "url"),
    "mapped": ({"url": "https://[::ffff:10.0.0.1]/", "events": ["*"]}, "url"),
    "decimal": ({"url": "https://2130706433/", "events": ["*"]}, "url"),
    "localhost": ({"url": "https://localhost/", "events": ["*"]}, "url"),
    "a user": ({"url": "https://user:pass@example.com/", "events": ["*"]}, "url"),
    "a number": ({"url": 5, "events": ["*"]}, "url"),
    "a long description": ({"url": URL, "events": ["*"], "description": "x" * 513}, "description"),
    "a line break": ({"url": URL, "events": ["*"], "description": "a\nb"}, "description"),
    "a type of another format": ({"url": URL, "events": ["card.frozen", "agent.updated"]}, "events[1]"),
    "a native type for a vendor": ({"url": URL, "events": ["token.created"], "format": "ledger"}, "events[0]"),
    "a type of another vendor": ({"url": URL, "events": ["agent.updated"], "format": "tally"}, "events[0]"),
    "an unknown format": ({"url": URL, "events": ["*"], "format": "stripe"}, "format"),
    "no format": ({"url": URL, "events": ["*"], "format": None}, "format"),
    "an own secret": ({"url": URL, "events": ["*"], "secret": "whsec_AAAA"}, "secret"),
}


def hooked(house: House, *events: str) -> Document:
    """Make an endpoint."""
    return house.ok("POST", "/v1/webhooks", {"url": URL, "events": events or ["*"]})


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """A tenant with an application of its own."""
    with Door(tmp_path) as door:
        yield build(door)


def test_an_endpoint_is_made_shown_changed_and_deleted(own: House) -> None:
    made = own.ok("POST", "/v1/webhooks", {"url": URL, "events": ["budget.exceeded"], "description": "ops"})
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert len(secret) == 50
    assert made == {
        "webhook_id": made["webhook_id"],
        "tenant_id": own.tenant_id,
        "url": URL,
        "events": ["budget.exceeded"],
        "format": "standard",
        "description": "ops",
        "status": "active",
        "disabled_reason": None,
        "secret_prefix": secret[:10],
        "created_at": "2026-03-09T12:00:00Z",
        "revision": 1,
    }
    one = f"/v1/webhooks/{made['webhook_id']}"
    assert made["webhook_id"].startswith("wh_")
    assert own.ok("GET", one) == made
    assert own.ok("GET", "/v1/webhooks") == {"data": [made], "next_cursor": None}
    changed = own.ok("PATCH", one, {"events": ["*"], "url": f"{URL}/new", "status": "disabled"})
    expected = {"events": ["*"], "url": f"{URL}/new", "status": "disabled", "disabled_reason": "by_request"}
    assert changed == made | expected | {"revision": 3}
    assert own.ok("PATCH", one, {"status": "active"})["disabled_reason"] is None
    assert own.call("DELETE", one).status == 204
    check_refusal(own.call("GET", one), 404, "webhook_id")
    check_refusal(own.call("DELETE", one), 404, "webhook_id")


def test_an_endpoint_keeps_the_format_it_was_made_with(own: House) -> None:
    """It is shown, told by the audit log, and decides which types can be asked for."""
    events = ["agent.registered", "agent.limit_exceeded"]
    made = own.ok("POST", "/v1/webhooks", {"url": URL, "events": events, "format": "ledger"})
    assert (made["format"], made["events"]) == ("ledger", events)
    one = f"/v1/webhooks/{made['webhook_id']}"
    changed = own.ok("PATCH", one, {"events": ["agent.token.created", "agent.token.revoked"]})
    assert (changed["format"], changed["events"]) == ("ledger", ["agent.token.created", "agent.token.revoked"])
    check_refusal(own.call("PATCH", one, {"events": ["agent.updated", "token.created"]}), 400, "events[1]")
    assert own.ok("GET", one) == changed
    assert own.ok("PATCH", one, {"events": ["*"]})["events"] == ["*"]


def test_a_secret_is_in_the_answer_that_makes_it_and_nowhere_else(own: House) -> None:
    made = hooked(own)
    one = f"/v1/webhooks/{made['webhook_id']}"
    rotated = own.ok("POST", f"{one}/rotate", {"grace_seconds": 60})
    assert rotated["secret"] not in {made["secret"], None}
    own.ok("POST", f"{one}/rotate")
    shown = [own.call("GET", path).body for path in (one, "/v1/webhooks", f"{one}/deliveries", "/v1/audit?limit=200")]
    shown.append(own.call("PATCH", one, {"description": "x"}).body)
    shown.append(own.call("POST", f"{one}/test").body)
    for secret in (made["secret"], rotated["secret"]):
        assert all(secret.removeprefix("whsec_").encode() not in body for body in shown)


@pytest.mark.parametrize(("body", "field"), named(BAD))
def test_a_bad_endpoint_is_refused_naming_the_place(house: House, body: Document, field: str | None) -> None:
    before = house.state()
    check_refusal(house.call("POST", "/v1/webhooks", body), 400, field)
    assert house.state() == before


def test_a_bad_change_is_refused(house: House) -> None:
    one = f"/v1/webhooks/{hooked(house)['webhook_id']}"
    for body, field in (
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"events": []}, "events"),
        ({"events": ["*", "card.frozen"]}, "events"),
        ({"events": ["agent.updated"]}, "events[0]"),
        ({"format": "ledger"}, "format"),
        ({"status": "deleted"}, "status"),
        ({"secret": "x"}, "secret"),
    ):
        check_refusal(house.call("PATCH", one, body), 400, field)
    for seconds in (-1, 604_801):
        check_refusal(house.call("POST", f"{one}/rotate", {"grace_seconds": seconds}), 400, "grace_seconds")
    check_refusal(house.call("GET", f"{one}/deliveries?cursor=x"), 400, "cursor")
    house.call("DELETE", one)


def test_a_test_is_queued_for_an_endpoint_that_is_active(own: House) -> None:
    one = f"/v1/webhooks/{hooked(own, 'card.frozen')['webhook_id']}"
    answer = own.call("POST", f"{one}/test")
    assert answer.status == 200
    assert answer.document == {
        "event_id": answer.document["event_id"],
        "webhook_id": one.rpartition("/")[2],
        "type": "webhook.test",
    }
    assert answer.document["event_id"].startswith("evt_")
    own.ok("PATCH", one, {"status": "disabled"})
    check_refusal(own.call("POST", f"{one}/test"), 409)


def test_a_tenant_has_so_many_endpoints_and_a_list_has_pages(own: House) -> None:
    made = [hooked(own)["webhook_id"] for _ in range(ENDPOINTS_MAX)]
    check_refusal(own.call("POST", "/v1/webhooks", {"url": URL, "events": ["*"]}), 409)
    found = []
    page: Document = {"next_cursor": ""}
    while page["next_cursor"] is not None:
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
        page = own.ok("GET", f"/v1/webhooks?limit=7{cursor}")
        found += [each["webhook_id"] for each in page["data"]]
    assert found == made


def test_webhooks_are_for_tenant_keys_and_the_operator(house: House, neighbour: House) -> None:
    """An agent is refused whatever it names; another tenant's endpoint does not exist."""
    webhook_id = hooked(house)["webhook_id"]
    one = f"/v1/webhooks/{webhook_id}"
    calls: list[tuple[str, str, Document | None]] = [
        ("POST", "/v1/webhooks", {"url": URL, "events": ["*"]}),
        ("GET", "/v1/webhooks", None),
        ("GET", one, None),
        ("PATCH", one, {"description": "mine"}),
        ("POST", f"{one}/test", {}),
        ("POST", f"{one}/rotate", {}),
        ("GET", f"{one}/deliveries", None),
        ("DELETE", one, None),
    ]
    for method, path, body in calls:
        check_refusal(house.call(method, path, body, token=house.agent_token), 403)
        check_refusal(house.door.call(method, path, body, token=None), 401)
        check_refusal(neighbour.call(method, f"{path}?tenant_id={house.tenant_id}", body), 403, "tenant_id")
        if path.startswith(one):
            check_refusal(neighbour.call(method, path, body), 404, "webhook_id")
    assert house.door.ok("GET", f"{one}?tenant_id={house.tenant_id}")["description"] is None
    assert neighbour.ok("GET", "/v1/webhooks")["data"] == []


def test_changed_policy_files_are_told_to_every_tenant_with_an_endpoint(tmp_path: Path) -> None:
    """Once, by the background work behind the start: one with the same files tells nothing."""
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)

    def waiting() -> list[str]:
        with Door(tmp_path, policies) as door:
            store = door._worker.store  # noqa: SLF001 -- no call shows the outbox
            assert not door.run(Announcer(store).announce_some(NOON_US))
            return events(store)

    def events(store: LmdbStore) -> list[str]:
        with store.read() as txn:
            parts = [txn.of(tenant) for tenant in txn.tenants.after(0)]
            lanes = [(part, interest.lane) for part in parts for interest in part.webhooks.interests()]
            return [event.type for part, lane in lanes for event in part.outbox.due(lane, 2**62, 9)]

    with Door(tmp_path, policies) as door:
        hooked(build(door), "policy.changed")
        build(door, "without an endpoint")
    assert waiting() == []
    (policies / "more.cedar").write_text('@id("more") forbid (principal, action, resource) when { false };')
    assert waiting() == ["policy.changed"]
    assert waiting() == ["policy.changed"]


def test_a_secret_that_found_its_way_into_a_log_line_is_cut(own: House) -> None:
    secret = own.ok("POST", "/v1/webhooks", {"url": URL, "events": ["*"]})["secret"]
    assert mask_secrets(None, "info", {"reason": f"signed with {secret}, sent"}) == {
        "reason": "signed with whsec_…, sent"
    }

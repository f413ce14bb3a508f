"""Events in each format: which types there are, which native event is told as what, and the bytes that are sent."""

from typing import get_args

import msgspec
import orjson
import pytest

from sidecar.core.directory import Identity
from sidecar.core.errors import ValidationFailed
from sidecar.core.event_formats import (
    Data,
    Format,
    LedgerType,
    Told,
    body_of,
    check_types,
    name_in,
    told_in,
    trial_in,
)
from sidecar.core.events import EVENT_TYPES, EventType, Subscribable, figure

NOW_US = 1_773_057_600_123_456

ANN = Identity(
    identity_id="ann",
    parent_id="payer",
    type="agent",
    name="Ann",
    external_id="crm-7",
    max_cards=3,
    description="buys things",
    created_at_us=0,
    revision=4,
)
PAYER = Identity(identity_id="payer", parent_id="root", type="user", name="Payer", created_at_us=0, revision=3)
BOB = Identity(identity_id="bob", parent_id="root", type="agent", name="Bob", created_at_us=NOW_US, revision=5)
ROOT = Identity(identity_id="root", parent_id=None, type="org", name="Root", created_at_us=0, revision=2)
EVERYBODY = {each.identity_id: each for each in (ANN, PAYER, BOB, ROOT)}

AGENT = {
    "object": "agent",
    "id": "ann",
    "externalId": "crm-7",
    "userId": "payer",
    "name": "Ann",
    "description": "buys things",
    "status": "active",
    "maxCards": 3,
}
LIMIT = {
    "budget_id": "bud_1",
    "identity_id": "ann",
    "card_id": None,
    "account_id": None,
    "dimension": "amount",
    "period": "monthly",
    "currency": "USD",
    "limit": figure(50_000, "USD"),
}
TOKEN = {"token_id": "tok_1", "prefix": "at_live_abc", "kind": "agent", "name": "staging", "identity_id": "ann"}


def told(event_type: EventType, data: Data, form: Format = "ledger") -> Told | None:
    """Return an event in a format."""
    return told_in(form, event_type, data, EVERYBODY.get, NOW_US)


def data_of(event_type: EventType, data: Data) -> Data:
    """Return what is told to Ledger's receivers of an event, which must be told to them."""
    found = told(event_type, data)
    assert found is not None
    return found.data


# --- Types ------------------------------------------------------------------------------------------------------------


def test_every_type_of_ledgers_tells_of_some_native_event() -> None:
    names = {name_in("ledger", event_type) for event_type in EVENT_TYPES}
    assert names - {None} == set(get_args(LedgerType))


@pytest.mark.parametrize("form", ["standard", "tally"])
def test_the_other_formats_have_the_native_types(form: Format) -> None:
    assert [name_in(form, event_type) for event_type in EVENT_TYPES] == list(EVENT_TYPES)
    check_types(get_args(Subscribable), form)
    check_types(("*",), form)


def test_a_type_of_another_format_is_refused_by_its_place() -> None:
    check_types(get_args(LedgerType), "ledger")
    check_types((), "ledger")
    cases: list[tuple[tuple[str, ...], Format]] = [
        (("agent.updated", "card.frozen"), "ledger"),
        (("card.frozen", "agent.updated"), "tally"),
    ]
    for wanted, form in cases:
        with pytest.raises(ValidationFailed, match="is no type of event of the format") as caught:
            check_types(wanted, form)
        assert caught.value.field == "events[1]"


# --- What is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["standard", "tally"])
def test_the_other_formats_tell_the_native_data(form: Format) -> None:
    assert told("card.frozen", {"card_id": "card_1"}, form) == ("card.frozen", {"card_id": "card_1"})


@pytest.mark.parametrize(
    ("native", "name"),
    [
        ("identity.created", "agent.registered"),
        ("identity.updated", "agent.updated"),
        ("identity.suspended", "agent.updated"),
        ("identity.revoked", "agent.deregistered"),
    ],
)
def test_an_agents_life_is_told_as_the_agent_is(native: EventType, name: str) -> None:
    assert told(native, {"identity_id": "ann"}) == (name, AGENT)


@pytest.mark.parametrize(
    ("native", "data"),
    [
        ("identity.created", {"identity_id": "payer"}),
        ("token.created", TOKEN | {"identity_id": "payer"}),
        ("token.revoked", TOKEN | {"kind": "tenant", "identity_id": None}),
        ("budget.exceeded", LIMIT | {"identity_id": "payer"}),
        ("card.created", {"card_id": "card_1", "identity_id": "ann"}),
        ("decision.denied", {"decision_id": "dec_1", "identity_id": "ann"}),
        ("policy.changed", {"policy_id": "pol_1"}),
    ],
)
def test_what_is_not_about_an_agent_is_not_told_to_ledger(native: EventType, data: dict[str, object]) -> None:
    assert told(native, data) is None


def test_a_token_is_told_without_its_secret_and_inactive_once_revoked() -> None:
    token = {"object": "agent_token", "id": "tok_1", "agentId": "ann", "tokenPrefix": "at_live_abc", "name": "staging"}
    assert told("token.created", TOKEN) == ("agent.token.created", token | {"isActive": True})
    assert told("token.revoked", TOKEN) == ("agent.token.revoked", token | {"isActive": False})


def test_a_limit_that_is_approached_is_told_in_cents() -> None:
    assert told("budget.approaching", LIMIT | {"used": figure(40_001, "USD")}) == (
        "agent.limit_approaching",
        AGENT
        | {"spendingLimit": 50_000, "spendingLimitFrequency": "perMonth", "currency": "USD"}
        | {"currentSpend": 40_001, "remaining": 9_999},
    )


@pytest.mark.parametrize(("allowed", "spent", "remaining"), [(False, 49_900, 100), (True, 50_150, 0)])
def test_of_a_limit_that_is_exceeded_a_refused_request_is_not_spent(
    allowed: bool,  # noqa: FBT001
    spent: int,
    remaining: int,
) -> None:
    figures = {"settled": 49_000, "reserved": 900, "requested": 250}
    minor = {name: figure(value, "USD") for name, value in figures.items()}
    data = data_of("budget.exceeded", LIMIT | minor | {"allowed": allowed})
    assert (data["currentSpend"], data["remaining"], data["amount"]) == (spent, remaining, 250)


@pytest.mark.parametrize("change", ["created", "updated"])
def test_a_limit_that_is_set_is_an_agent_that_is_updated(change: str) -> None:
    limit = {"spendingLimit": 50_000, "spendingLimitFrequency": "perMonth", "currency": "USD"}
    assert told("budget.changed", LIMIT | {"change": change}) == ("agent.updated", AGENT | limit)


def test_a_limit_that_is_taken_away_is_none_any_more() -> None:
    limit = {"spendingLimit": None, "spendingLimitFrequency": None, "currency": None}
    assert told("budget.changed", LIMIT | {"change": "deleted"}) == ("agent.updated", AGENT | limit)


def test_a_limit_that_is_made_with_its_agent_is_part_of_the_registration() -> None:
    of_bob = LIMIT | {"identity_id": "bob"}
    assert told("budget.changed", of_bob | {"change": "created"}) is None
    assert told("budget.changed", of_bob | {"change": "updated"}) is not None


def test_without_a_user_the_root_pays_and_whoever_blocks_an_agent_decides_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert data_of("identity.updated", {"identity_id": "bob"})["userId"] == "root"
    for status, expected in (("suspended", "suspended"), ("revoked", "deregistered")):
        monkeypatch.setitem(EVERYBODY, "payer", msgspec.structs.replace(PAYER, status=status))
        assert data_of("identity.updated", {"identity_id": "ann"})["status"] == expected


@pytest.mark.parametrize(
    ("period", "frequency"),
    [
        ("per_transaction", "perTransaction"),
        ("rolling_24h", "per24HourPeriod"),
        ("weekly", "perWeek"),
        ("monthly", "perMonth"),
        ("yearly", "perYear"),
        ("total", "allTime"),
        ("hourly", None),
        ("daily", None),
    ],
)
def test_a_period_is_told_by_the_vendors_word_if_there_is_one(period: str, frequency: str | None) -> None:
    assert (
        data_of("budget.changed", LIMIT | {"change": "updated", "period": period})["spendingLimitFrequency"]
        == frequency
    )


@pytest.mark.parametrize(
    "other", [{"card_id": "card_1"}, {"account_id": "acct_1"}, {"dimension": "count", "currency": None, "limit": 5}]
)
def test_a_limit_that_is_not_the_agents_own_money_is_not_told_to_ledger(other: dict[str, object]) -> None:
    assert told("budget.changed", LIMIT | {"change": "updated"} | other) is None


# --- Bytes ------------------------------------------------------------------------------------------------------------


def test_ledgers_body_has_id_type_milliseconds_and_data() -> None:
    body = body_of("ledger", Told("agent.updated", {"object": "agent"}), "evt_1", NOW_US)
    assert body == b'{"id":"evt_1","type":"agent.updated","createdAt":1773057600123,"data":{"object":"agent"}}'


@pytest.mark.parametrize("form", ["standard", "tally"])
def test_the_body_of_the_other_formats_is_that_of_standard_webhooks(form: Format) -> None:
    body = body_of(form, Told("budget.changed", LIMIT), "evt_1", 1_773_057_600_000_000)
    event = orjson.loads(body)
    assert (list(event), event["timestamp"]) == (["type", "timestamp", "data"], "2026-03-09T12:00:00Z")
    assert event["data"]["limit"] == 500


@pytest.mark.parametrize(
    ("form", "data"),
    [("ledger", {"object": "webhook", "id": "wh_1"}), ("tally", {"webhook_id": "wh_1", "by": "operator"})],
)
def test_a_test_is_told_in_every_format(form: Format, data: dict[str, object]) -> None:
    assert trial_in(form, {"webhook_id": "wh_1", "by": "operator"}) == ("webhook.test", data)

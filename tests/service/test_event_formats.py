"""Vendors' webhook formats: each of Ledger's seven events from what causes it, and who is not told."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from sidecar.core.budget import OnExceeded
from sidecar.core.errors import ValidationFailed
from sidecar.core.event_formats import LedgerType
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.webhooks import Webhook
from sidecar.service.budget_changes import BudgetPatch
from sidecar.service.enrolment import OF_THE_NEW, EnrolmentDraft, Registrar
from sidecar.service.identities import IdentityDraft, IdentityPatch
from sidecar.service.policies import PolicyDraft
from sidecar.service.webhooks import WebhookPatch
from tests.service.builders import DAY, OPERATOR, World, limit, payment, tool_call
from tests.service.mailroom import TAKEN, Mailroom, opened


@pytest.fixture
def mail(world: World) -> Iterator[Mailroom]:
    """The webhooks of a tenant with a user."""
    for mail in opened(world):
        world.identity("payer", type_name="user")
        yield mail


@pytest.fixture
def hook(mail: Mailroom) -> Webhook:
    """An endpoint that is told everything that Ledger tells."""
    return mail.hook(form="ledger")


def agent(**changes: object) -> dict[str, object]:
    """What is told of the agent `ann`, which the user `payer` pays for."""
    told = {"object": "agent", "id": "ann", "externalId": "crm-7", "userId": "payer", "name": "Ann"}
    return told | {"description": None, "status": "active", "maxCards": None} | changes


def ann(world: World) -> None:
    """Make the agent."""
    world.identity("ann", "payer", external_id="crm-7")


def change(world: World, identity_id: str, patch: IdentityPatch) -> None:
    """Change an identity."""
    world.run(world.registry.change(OPERATOR, "t_one", identity_id, patch, world.now_us))


def test_an_agents_life_is_told_from_registration_to_deregistration(
    world: World, mail: Mailroom, hook: Webhook
) -> None:
    ann(world)
    for patch in (
        IdentityPatch(name="Anna", description="buys"),
        IdentityPatch(status="suspended"),
        IdentityPatch(status="active"),
        IdentityPatch(status="active"),
    ):
        change(world, "ann", patch)
    world.revoke("ann")
    world.revoke("ann")
    named = agent(name="Anna", description="buys")
    assert mail.told(hook) == [
        ("agent.registered", agent()),
        ("agent.updated", named),
        ("agent.updated", named | {"status": "suspended"}),
        ("agent.updated", named),
        ("agent.deregistered", named | {"status": "deregistered"}),
    ]


def test_an_enrolment_is_one_registration_and_one_token_and_a_repeated_one_nothing(
    world: World, mail: Mailroom, hook: Webhook
) -> None:
    registrar = Registrar(world.store, world.registry, world.treasurer, world.legislator, world.desk, world.ids)
    draft = EnrolmentDraft(
        identity=IdentityDraft("payer", "agent", "Ann", "ann", "crm-7"),
        limits=(limit(500, OF_THE_NEW, period="monthly", currency="USD"),),
        policy=PolicyDraft("cards", OF_THE_NEW, Rules(actions=("card.authorize",)), "{}", None),
        token_name="first",
    )
    enrolled = world.run(registrar.enrol(OPERATOR, "t_one", draft, None, world.now_us)).value
    assert enrolled.token is not None
    token = enrolled.token.token
    told = [
        ("agent.registered", agent()),
        (
            "agent.token.created",
            {
                "object": "agent_token",
                "id": token.token_id,
                "agentId": "ann",
                "tokenPrefix": token.prefix,
                "name": "first",
                "isActive": True,
            },
        ),
    ]
    assert mail.told(hook) == told
    again = world.run(registrar.enrol(OPERATOR, "t_one", draft, None, world.now_us)).value
    assert not again.is_new
    assert mail.told(hook) == told
    assert all(enrolled.token.text.encode() not in waiting.body for waiting in mail.waiting(hook))


def test_tokens_of_agents_are_told_and_others_are_not(world: World, mail: Mailroom, hook: Webhook) -> None:
    ann(world)
    for identity_id in (None, "payer", "ann"):
        token_id = world.minted(identity_id).token.token_id
        world.run(world.desk.revoke(OPERATOR, "t_one", token_id, world.now_us))
    assert mail.types(hook) == ["agent.registered", "agent.token.created", "agent.token.revoked"]
    assert [data["isActive"] for _, data in mail.told(hook)[1:]] == [True, False]


@pytest.mark.parametrize(
    ("on_exceeded", "expected"),
    [
        ("deny", ["agent.limit_exceeded"]),
        ("suspend", ["agent.limit_exceeded", "agent.updated"]),
        ("notify", ["agent.limit_exceeded", "agent.limit_approaching"]),
        ("track", []),
    ],
)
def test_a_limit_that_is_hit_is_told(
    world: World, mail: Mailroom, on_exceeded: OnExceeded, expected: list[LedgerType]
) -> None:
    ann(world)
    world.budget(limit(10, "ann", period="monthly", on_exceeded=on_exceeded))
    hook = mail.hook(form="ledger")
    world.decide(payment("7.00", "ann"))
    decision = world.decide(payment("5.50", "ann"))
    assert mail.types(hook) == expected
    if expected:
        spent = 1_250 if decision.allowed else 700
        assert mail.told(hook)[0][1] == agent(
            spendingLimit=1_000,
            spendingLimitFrequency="perMonth",
            currency="CAD",
            currentSpend=spent,
            remaining=max(0, 1_000 - spent),
            amount=550,
        )


def test_an_agent_that_a_limit_suspends_is_told_as_suspended(world: World, mail: Mailroom) -> None:
    ann(world)
    world.budget(limit(10, "ann", on_exceeded="suspend"))
    hook = mail.hook("agent.updated", form="ledger")
    world.decide(payment("10.01", "ann"))
    assert mail.told(hook) == [("agent.updated", agent(status="suspended"))]


def test_four_fifths_of_a_limit_are_told_once_a_window(world: World, mail: Mailroom) -> None:
    ann(world)
    world.budget(limit(100, "ann", period="monthly"))
    hook = mail.hook(form="ledger")
    for _ in range(2):
        for amount in ("79.99", "0.01", "1.00"):
            world.decide(payment(amount, "ann"))
        world.now_us += 31 * DAY
    told = agent(spendingLimit=10_000, spendingLimitFrequency="perMonth", currency="CAD")
    told |= {"currentSpend": 8_000, "remaining": 2_000}
    assert mail.told(hook) == [("agent.limit_approaching", told)] * 2


def test_an_approach_that_a_format_does_not_tell_is_told_to_who_comes_later(world: World, mail: Mailroom) -> None:
    """A user's limit is nothing to Ledger's receivers; it is noted as told only once somebody was."""
    world.budget(limit(100, "payer"))
    ledger = mail.hook(form="ledger")
    world.decide(payment("90.00", "payer"))
    late = mail.hook("budget.approaching")
    world.decide(payment("1.00", "payer"))
    assert mail.told(ledger) == []
    assert mail.types(late) == ["budget.approaching"]


def test_a_limit_that_is_set_changed_and_taken_away_is_an_agent_that_is_updated(
    world: World, mail: Mailroom, hook: Webhook
) -> None:
    ann(world)
    world.now_us += DAY
    budget_id = world.budget(limit(100, "ann", period="monthly")).budget.budget_id
    patch = BudgetPatch(Major("60"), None, None, None)
    world.run(world.treasurer.change(OPERATOR, "t_one", budget_id, patch, world.now_us))
    world.run(world.treasurer.delete(OPERATOR, "t_one", budget_id, world.now_us))
    monthly = agent(spendingLimitFrequency="perMonth", currency="CAD")
    assert mail.told(hook)[1:] == [
        ("agent.updated", monthly | {"spendingLimit": 10_000}),
        ("agent.updated", monthly | {"spendingLimit": 6_000}),
        ("agent.updated", agent(spendingLimit=None, spendingLimitFrequency=None, currency=None)),
    ]


def test_what_does_not_concern_an_agent_is_not_told(world: World, mail: Mailroom, hook: Webhook) -> None:
    """Neither users nor their limits, nor limits in anything but money."""
    ann(world)
    change(world, "payer", IdentityPatch(name="Paula"))
    world.budget(limit(10, "payer"))
    world.budget(limit(1, "ann", dimension="count", actions=("tool.call",)))
    world.decide(payment("10.01", "ann"))
    for _ in range(2):
        world.decide(tool_call("ann"))
    world.grant()
    change(world, "payer", IdentityPatch(status="suspended"))
    assert mail.types(hook) == ["agent.registered"]


def test_an_endpoint_gets_rows_for_the_types_that_it_asked_for(world: World, mail: Mailroom) -> None:
    """Under the same id in each format; an endpoint of the native format is told as if no other existed."""
    ledger, tally, native, other = (
        mail.hook("agent.registered", form="ledger"),
        mail.hook("identity.created", form="tally"),
        mail.hook("identity.created"),
        mail.hook("agent.deregistered", form="ledger"),
    )
    ann(world)
    world.revoke("ann")
    (event,), (same,), (first,) = mail.waiting(ledger), mail.waiting(tally), mail.waiting(native)
    assert mail.types(other) == ["agent.deregistered"]
    assert same == first
    assert event.event_id == first.event_id
    body: dict[str, Any] = orjson.loads(event.body)
    assert body == {
        "id": event.event_id,
        "type": "agent.registered",
        "createdAt": world.now_us // 1000,
        "data": agent(),
    }
    assert mail.told(native)[0][1]["external_id"] == "crm-7"


def test_the_log_of_deliveries_has_the_types_of_the_format(world: World, mail: Mailroom, hook: Webhook) -> None:
    ann(world)
    mail.test(hook)
    assert [parcel.format for parcel in mail.due()] == ["ledger"] * 2
    assert mail.answer(TAKEN) == 2
    assert [entry.type for entry in mail.log(hook)] == ["agent.registered", "webhook.test"]


def test_a_test_is_in_the_format_of_its_endpoint(mail: Mailroom) -> None:
    hook = mail.hook("agent.updated", form="ledger")
    event_id = mail.test(hook)
    (waiting,) = mail.waiting(hook)
    event = orjson.loads(waiting.body)
    assert (event["id"], event["type"], event["data"]) == (
        event_id,
        "webhook.test",
        {"object": "webhook", "id": hook.webhook_id},
    )


def test_an_endpoint_asks_for_types_of_its_format_only(world: World, mail: Mailroom, hook: Webhook) -> None:
    """When it is made and when it is changed; a refused change leaves it as it was."""
    before = world.bodies()
    with pytest.raises(ValidationFailed, match="no type of event of the format `ledger`"):
        mail.hook("token.created", form="ledger")
    with pytest.raises(ValidationFailed) as caught:
        mail.change(hook, WebhookPatch(events=("agent.updated", "card.frozen")))
    assert caught.value.field == "events[1]"
    assert mail.shown(hook) == hook
    assert world.bodies() == before
    changed = mail.change(hook, WebhookPatch(events=("agent.updated",)))
    assert (changed.events, changed.format) == (("agent.updated",), "ledger")
    assert [(body["format"], body["events"]) for body in world.bodies()[-2:]] == [
        ("ledger", ["*"]),
        ("ledger", ["agent.updated"]),
    ]

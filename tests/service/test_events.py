"""What is told of what happens: each event in the transaction of its cause, to those who asked, and nothing else."""

from collections.abc import Iterator
from typing import get_args

import pytest

from sidecar.core.budget import OnExceeded
from sidecar.core.cards import ExternalRef
from sidecar.core.errors import Conflict
from sidecar.core.events import Subscribable
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.webhooks import Webhook
from sidecar.service.announcement import Announcer
from sidecar.service.budget_changes import BudgetPatch
from sidecar.service.card_drafts import CardDraft
from sidecar.service.identities import IdentityPatch
from sidecar.service.kill_switch import KillSwitch
from sidecar.service.policy_store import PoliciesLoaded
from sidecar.service.post import announce
from sidecar.service.store import TenantTransaction, Transaction
from sidecar.service.treasury import CardDesk
from tests.service.builders import DAY, HOUR, OPERATOR, SECOND, World, key_for, limit, payment, shipped_files, tool_call
from tests.service.mailroom import Mailroom, opened
from tests.state.builders import rows


@pytest.fixture
def mail(world: World) -> Iterator[Mailroom]:
    """The webhooks of a tenant."""
    yield from opened(world)


@pytest.fixture
def hook(mail: Mailroom) -> Webhook:
    """An endpoint that is told everything but changes of budgets, with which most stories begin."""
    return mail.hook(*(name for name in get_args(Subscribable) if name != "budget.changed"))


def part_of(txn: Transaction) -> TenantTransaction:
    """Return the tenant's part of a transaction."""
    tenant = txn.tenants.find("t_one")
    assert tenant is not None
    return txn.of(tenant)


# --- Announcing -------------------------------------------------------------------------------------------------------


def test_an_event_waits_once_for_each_endpoint_that_asked(world: World, mail: Mailroom) -> None:
    """The same event has the same id and the same bytes everywhere."""
    everything, some, other = mail.hook(), mail.hook("token.created", "card.frozen"), mail.hook("card.closed")
    world.write(lambda txn: announce(part_of(txn), world.now_us, "card.frozen", {"card_id": "card_1"}))
    assert mail.told(everything) == [("card.frozen", {"tenant_id": "t_one", "card_id": "card_1"})]
    assert mail.waiting(some) == mail.waiting(everything)
    assert mail.waiting(other) == []


def test_a_tenant_hears_nothing_of_another(world: World, mail: Mailroom, hook: Webhook) -> None:
    world.tenant("t_two")
    own = mail.hook(tenant_id="t_two")
    world.identity("ann", tenant_id="t_two")
    assert mail.told(hook) == []
    with world.look("t_two") as part:
        assert len(part.outbox.due(own.lane, world.now_us, 9)) == 1


def test_what_is_undone_is_not_told(world: World, mail: Mailroom, hook: Webhook) -> None:
    """An event is part of the transaction of what it tells."""

    def fail(txn: Transaction) -> None:
        announce(part_of(txn), world.now_us, "card.created", {})
        raise Conflict("no")

    with pytest.raises(Conflict):
        world.write(fail)
    assert mail.told(hook) == []


def test_ids_of_events_ascend_in_the_order_in_which_they_happened(world: World, mail: Mailroom, hook: Webhook) -> None:
    for name in ("ann", "bob", "cid"):
        world.identity(name)
        world.now_us -= SECOND
    rows = sorted(mail.waiting(hook), key=lambda waiting: waiting.event_id)
    assert [b'"ann"' in rows[0].body, b'"bob"' in rows[1].body, b'"cid"' in rows[2].body] == [True] * 3


def test_an_endpoint_for_which_too_much_waits_is_disabled(
    world: World, mail: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are told; one that is then too full as well is disabled with it."""
    monkeypatch.setattr("sidecar.service.post.WAITING_MAX", 2)
    full, also_full, other = (
        mail.hook("identity.created", "webhook.disabled"),
        mail.hook(),
        mail.hook("webhook.disabled"),
    )
    world.identity("ann")
    world.identity("bob")
    world.identity("cid")
    for each in (full, also_full):
        assert (mail.shown(each).status, mail.shown(each).disabled_reason) == ("disabled", "too_many_waiting")
        assert mail.waiting(each) == []
    assert [data["webhook_id"] for _, data in mail.told(other)] == [full.webhook_id, also_full.webhook_id]
    assert world.kinds().count("webhook_disabled") == 2
    assert mail.shown(other).status == "active"


# --- Identities, tokens, policies -------------------------------------------------------------------------------------


def test_identities_are_told_from_creation_to_revocation(world: World, mail: Mailroom, hook: Webhook) -> None:
    world.identity("ann", external_id="crm-7")
    for patch in (IdentityPatch(name="Anna"), IdentityPatch(status="suspended"), IdentityPatch(status="active")):
        world.run(world.registry.change(OPERATOR, "t_one", "ann", patch, world.now_us))
    world.run(world.registry.change(OPERATOR, "t_one", "ann", IdentityPatch(), world.now_us))
    world.revoke("ann")
    world.revoke("ann")
    told = mail.told(hook)
    assert [name for name, _ in told] == [
        "identity.created",
        "identity.updated",
        "identity.suspended",
        "identity.updated",
        "identity.revoked",
    ]
    assert [data["status"] for _, data in told] == ["active", "active", "suspended", "active", "revoked"]
    assert told[1][1] == {
        "tenant_id": "t_one",
        "identity_id": "ann",
        "parent_id": "root",
        "external_id": "crm-7",
        "type": "agent",
        "name": "Anna",
        "status": "active",
        "revision": told[1][1]["revision"],
        "by": "operator",
    }


def test_tokens_are_told_without_their_secret(world: World, mail: Mailroom, hook: Webhook) -> None:
    minted = world.minted("root")
    world.run(world.desk.revoke(OPERATOR, "t_one", minted.token.token_id, world.now_us))
    assert mail.types(hook) == ["token.created", "token.revoked"]
    assert mail.told(hook)[0][1]["token_id"] == minted.token.token_id
    assert all(minted.text.encode() not in waiting.body for waiting in mail.waiting(hook))


def test_cards_are_told_when_they_are_made_frozen_and_closed(world: World, mail: Mailroom, hook: Webhook) -> None:
    """Unfreezing tells nothing, and a repeated call is no event."""
    desk = CardDesk(world.store, world.treasurer, world.ids)
    draft = CardDraft(identity_id="root", currency="CAD", external_ref=ExternalRef("visa", "v1"), last4="4242")
    card_id = world.run(desk.create(OPERATOR, "t_one", draft, None, world.now_us)).value.card.card_id
    for turn in (desk.freeze, desk.freeze, desk.unfreeze, desk.close, desk.close):
        world.run(turn(OPERATOR, "t_one", card_id, None, world.now_us))
    told = mail.told(hook)
    assert [event_type for event_type, _ in told] == ["card.created", "card.frozen", "card.closed"]
    assert told[0][1] == {
        "tenant_id": "t_one",
        "card_id": card_id,
        "identity_id": "root",
        "with_descendants": False,
        "currency": "CAD",
        "last4": "4242",
        "external_ref": {"network": "visa", "id": "v1"},
        "by": "operator",
    }


def test_the_kill_switch_is_one_event_however_many_cards_there_are(world: World, mail: Mailroom, hook: Webhook) -> None:
    world.run(KillSwitch(world.store).kill(OPERATOR, "t_one", "root", None, world.now_us))
    ((event_type, data),) = mail.told(hook)
    assert event_type == "card.frozen"
    assert (data["card_id"], data["identity_id"], data["with_descendants"]) == (None, "root", True)


def test_policies_are_told_by_api_and_by_file(world: World, mail: Mailroom, hook: Webhook) -> None:
    policy_id = world.grant(rules=Rules(actions=("tool.call",)))
    world.run(world.legislator.delete(OPERATOR, "t_one", policy_id, world.now_us))
    digest = shipped_files().digest()
    world.write(lambda txn: txn.keep_policies_loaded(PoliciesLoaded(digest, 1, "watch", world.now_us)))
    assert not world.run(Announcer(world.store).announce_some(world.now_us))
    told = mail.told(hook)
    assert [name for name, _ in told] == ["policy.changed"] * 3
    assert [(data["policy_id"], data["change"]) for _, data in told] == [
        (policy_id, "created"),
        (policy_id, "deleted"),
        (None, "files"),
    ]
    assert told[2][1]["digest"] == digest.hex()


# --- Decisions --------------------------------------------------------------------------------------------------------


def test_a_denial_is_told_with_its_codes(world: World, mail: Mailroom, hook: Webhook) -> None:
    world.identity("ann")
    world.revoke("ann")
    decision = world.decide(payment("10.50", "ann"))
    assert mail.told(hook)[-1] == (
        "decision.denied",
        {
            "tenant_id": "t_one",
            "decision_id": decision.decision_id,
            "identity_id": "ann",
            "action": "card.authorize",
            "resource": {"type": "merchant", "id": "AWS"},
            "amount": 10.5,
            "currency": "CAD",
            "codes": ["identity_revoked"],
        },
    )


def test_a_permit_that_comes_close_to_nothing_is_not_told(world: World, mail: Mailroom, hook: Webhook) -> None:
    world.budget(limit(100))
    world.decide(payment(10))
    world.decide(tool_call())
    assert mail.told(hook) == []


def test_each_budget_that_refuses_is_told(world: World, mail: Mailroom, hook: Webhook) -> None:
    ids = [world.budget(limit(10, period=period)).budget.budget_id for period in ("daily", "per_transaction")]
    wide = world.budget(limit(1_000, period="total")).budget.budget_id
    decision = world.decide(payment("10.01"))
    told = mail.told(hook)
    assert [name for name, _ in told] == ["decision.denied", "budget.exceeded", "budget.exceeded"]
    assert [data["budget_id"] for _, data in told[1:]] == ids
    assert wide not in ids
    assert told[1][1] == {
        "tenant_id": "t_one",
        "budget_id": ids[0],
        "identity_id": "root",
        "card_id": None,
        "account_id": None,
        "name": "daily amount",
        "dimension": "amount",
        "period": "daily",
        "currency": "CAD",
        "limit": 10,
        "settled": 0,
        "reserved": 0,
        "requested": 10.01,
        "allowed": False,
        "decision_id": decision.decision_id,
    }


@pytest.mark.parametrize(
    ("on_exceeded", "expected"),
    [
        ("deny", ["decision.denied", "budget.exceeded"]),
        ("suspend", ["decision.denied", "budget.exceeded", "identity.suspended", "card.frozen"]),
        ("notify", ["budget.exceeded", "budget.approaching"]),
        ("track", []),
    ],
)
def test_what_a_budget_does_when_it_is_exceeded_decides_what_is_told(
    world: World, mail: Mailroom, hook: Webhook, on_exceeded: OnExceeded, expected: list[str]
) -> None:
    world.budget(limit(10, on_exceeded=on_exceeded))
    world.decide(payment(2_000))
    assert mail.types(hook) == expected


def test_an_approach_is_told_once_a_window(world: World, mail: Mailroom, hook: Webhook) -> None:
    """At the share of the limit that the budget names, settled and held together."""
    budget = world.budget(limit(100)).budget
    assert budget.notify_at_bp == 8_000
    world.decide(payment("79.99"))
    assert mail.told(hook) == []
    decision = world.decide(payment("0.01"))
    assert mail.told(hook) == [
        (
            "budget.approaching",
            {
                "tenant_id": "t_one",
                "budget_id": budget.budget_id,
                "identity_id": "root",
                "card_id": None,
                "account_id": None,
                "name": "daily amount",
                "dimension": "amount",
                "period": "daily",
                "currency": "CAD",
                "limit": 100,
                "used": 80,
                "decision_id": decision.decision_id,
            },
        )
    ]
    world.decide(payment(1))
    assert len(mail.told(hook)) == 1
    world.now_us += DAY
    world.decide(payment("90.00"))
    world.decide(payment(1))
    assert mail.types(hook) == ["budget.approaching"] * 2


def test_budgets_are_told_when_they_are_made_changed_and_deleted(world: World, mail: Mailroom) -> None:
    """A change that is none tells nothing."""
    hook = mail.hook()
    budget_id = world.budget(limit(100)).budget.budget_id
    for patch in (BudgetPatch(Major("50.5"), None, "notify", None), BudgetPatch(None, "daily amount", None, None)):
        world.run(world.treasurer.change(OPERATOR, "t_one", budget_id, patch, world.now_us))
    world.run(world.treasurer.delete(OPERATOR, "t_one", budget_id, world.now_us))
    data = {
        "tenant_id": "t_one",
        "budget_id": budget_id,
        "identity_id": "root",
        "card_id": None,
        "account_id": None,
        "name": "daily amount",
        "dimension": "amount",
        "period": "daily",
        "currency": "CAD",
        "limit": 50.5,
        "by": "operator",
    }
    assert mail.told(hook) == [
        ("budget.changed", data | {"limit": 100, "change": "created"}),
        ("budget.changed", data | {"change": "updated"}),
        ("budget.changed", data | {"change": "deleted"}),
    ]


def test_a_deleted_budget_leaves_no_mark_of_its_approach(world: World, mail: Mailroom, hook: Webhook) -> None:
    budget_id = world.budget(limit(100)).budget.budget_id
    world.decide(payment("90.00"))
    assert mail.types(hook) == ["budget.approaching"]
    assert len(rows(world.environment, "budget_marks")) == 1
    world.run(world.treasurer.delete(OPERATOR, "t_one", budget_id, world.now_us))
    assert rows(world.environment, "budget_marks") == []


def test_a_denial_tells_of_no_approach(world: World, mail: Mailroom, hook: Webhook) -> None:
    """What was refused is not used."""
    world.budget(limit(100))
    world.budget(limit(10, period="per_transaction"))
    world.decide(payment("90.00"))
    assert mail.types(hook) == ["decision.denied", "budget.exceeded"]


def test_the_approach_in_a_rolling_window_is_told_once_in_24_hours(world: World, mail: Mailroom, hook: Webhook) -> None:
    world.budget(limit(10, period="rolling_24h", dimension="count"))
    for _ in range(9):
        world.decide(tool_call())
        world.now_us += HOUR
    assert mail.types(hook) == ["budget.approaching"]
    world.now_us += 24 * HOUR
    for _ in range(8):
        world.decide(tool_call())
    assert mail.types(hook) == ["budget.approaching"] * 2


def test_an_approach_that_nobody_asked_for_is_told_to_who_comes_later(world: World, mail: Mailroom) -> None:
    """It is noted as told only once it was."""
    mail.hook("decision.denied")
    world.budget(limit(100))
    world.decide(payment("90.00"))
    late = mail.hook("budget.approaching")
    world.decide(payment("1.00"))
    world.decide(payment("1.00"))
    assert mail.types(late) == ["budget.approaching"]


def test_a_dry_run_and_a_replayed_answer_tell_nothing(world: World, mail: Mailroom, hook: Webhook) -> None:
    world.budget(limit(10))
    request = payment("10.01")
    world.authorizer.rehearse(OPERATOR, "t_one", request, world.now_us)
    assert mail.told(hook) == []
    key = key_for(request)
    world.authorize(request, key)
    told = mail.types(hook)
    assert told == ["decision.denied", "budget.exceeded"]
    assert world.authorize(request, key).replayed
    assert mail.types(hook) == told


# --- Endings ----------------------------------------------------------------------------------------------------------


def test_an_expired_hold_is_told_once(world: World, mail: Mailroom, hook: Webhook) -> None:
    decision = world.decide(payment(10, ttl_seconds=60))
    world.now_us += 61 * SECOND
    assert world.expire() == 1
    assert world.expire() == 0
    data = {"tenant_id": "t_one", "decision_id": decision.decision_id, "identity_id": "root", "currency": "CAD"}
    assert mail.told(hook) == [("reservation.expired", data)]


def test_what_is_overdrawn_is_told(world: World, mail: Mailroom, hook: Webhook) -> None:
    """Settled late, when the limit was spent by others."""
    budget_id = world.budget(limit(10)).budget.budget_id
    late = world.decide(payment("10.00", ttl_seconds=60)).decision_id or ""
    world.now_us += 61 * SECOND
    world.expire()
    world.decide(payment("10.00"))
    world.settle(late)
    assert mail.types(hook) == ["budget.approaching", "reservation.expired", "budget.overdrawn"]
    data = {"tenant_id": "t_one", "decision_id": late, "identity_id": "root", "budget_id": budget_id, "late": True}
    assert mail.told(hook)[-1][1] == data


def test_settling_what_was_held_is_not_told(world: World, mail: Mailroom, hook: Webhook) -> None:
    world.budget(limit(100))
    world.settle(world.decide(payment("10.00")).decision_id or "")
    assert mail.told(hook) == []

"""Changes and ends of enrolments: identity, limit and tokens in one transaction, each change a native one."""

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, Forbidden, IdempotencyConflict, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.idempotency import idempotency_key
from sidecar.core.rules import Rules
from sidecar.service.budgets import BudgetFilter
from sidecar.service.enrolment_changes import EnrolmentPatch, Enrolments, LimitPatch
from sidecar.service.idempotency import Done
from sidecar.service.identities import IdentityPatch
from sidecar.service.paging import PageRequest
from sidecar.service.spenders import Roles, Spender
from tests.service.builders import OPERATOR, World, limit, payment
from tests.service.wallets import Wallets

UNCHANGED = EnrolmentPatch(
    identity=IdentityPatch(),
    spending=LimitPatch(field="limit"),
    cards=LimitPatch(field="card limit"),
    limit_name="Spending limit",
    limit_period="total",
)


class Desk:
    """Tenant `t_one` with root → bot, an agent, and root → ann, a user."""

    def __init__(self, world: World) -> None:
        """Make the tenant."""
        self.world = world
        self.enrolments = Enrolments(world.store, world.treasurer, Roles("agent", "user"))
        world.tenant()
        world.identity("bot")
        world.identity("ann", type_name="user")

    def change(self, spending: LimitPatch | None = None, caller: Caller = OPERATOR, /, **changes: object) -> Spender:
        """Change the agent."""
        patch = msgspec.structs.replace(UNCHANGED, identity=msgspec.structs.replace(IdentityPatch(), **changes))
        if spending is not None:
            patch = msgspec.structs.replace(patch, spending=spending)
        return self.apply(patch, caller=caller)

    def apply(self, patch: EnrolmentPatch, identity_id: str = "bot", caller: Caller = OPERATOR) -> Spender:
        """Apply a patch."""
        tenant_id = None if caller.token is not None else "t_one"
        return self.world.run(self.enrolments.change(caller, tenant_id, identity_id, patch, self.world.now_us))

    def cards(self, cards: LimitPatch) -> Spender:
        """Change the limit that cards get."""
        return self.apply(msgspec.structs.replace(UNCHANGED, cards=cards))

    def end(self, identity_id: str = "bot", content: str | None = None, caller: Caller = OPERATOR) -> Done[Spender]:
        """End an enrolment."""
        key = None if content is None else idempotency_key("operator", "end", "k", content.encode())
        tenant_id = None if caller.token is not None else "t_one"
        return self.world.run(self.enrolments.end(caller, tenant_id, identity_id, key, self.world.now_us))

    def budgets(self) -> list[tuple[str, int, str | None, str, str]]:
        """Return the budgets of the agent."""
        page = self.world.treasurer.listed(OPERATOR, "t_one", BudgetFilter("bot"), PageRequest(), self.world.now_us)
        found = [each.budget for each in page.values]
        return [(each.period, each.limit, each.currency, each.on_exceeded, each.name) for each in found]


@pytest.fixture
def desk(world: World) -> Desk:
    """A tenant with an agent."""
    return Desk(world)


def spend(minor: int | msgspec.UnsetType | None = msgspec.UNSET, **more: object) -> LimitPatch:
    """Return a change of the spending limit."""
    return msgspec.structs.replace(LimitPatch(field="limit", minor=minor), **more)


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_a_limit_is_made_changed_and_taken_away(desk: Desk) -> None:
    made = desk.change(spend(5_000))
    assert made.limit is not None
    assert desk.budgets() == [("total", 5_000, "USD", "deny", "Spending limit")]
    changed = desk.change(spend(700, on_exceeded="track"))
    assert changed.limit is not None
    assert changed.limit.budget.budget_id == made.limit.budget.budget_id
    assert desk.budgets() == [("total", 700, "USD", "track", "Spending limit")]
    assert desk.change(spend(on_exceeded="deny")).limit is not None
    assert desk.budgets() == [("total", 700, "USD", "deny", "Spending limit")]
    assert desk.change(spend(None)).limit is None
    assert desk.budgets() == []
    before = desk.world.kinds()
    desk.change(spend(None))
    assert desk.world.kinds() == before


def test_a_new_limit_has_the_period_and_currency_that_are_asked_for(desk: Desk) -> None:
    desk.change(spend(5, period="weekly", currency="JPY", on_exceeded="suspend"))
    assert desk.budgets() == [("weekly", 5, "JPY", "suspend", "Spending limit")]


@pytest.mark.parametrize(("change", "shown"), [({"period": "weekly"}, 1_000), ({"currency": "EUR", "minor": 9}, 9)])
def test_another_period_or_currency_is_another_budget_that_begins_anew(
    desk: Desk, change: dict[str, object], shown: int
) -> None:
    """It keeps what else the native one had, and both steps are in one transaction."""
    native = msgspec.structs.replace(
        limit(10, "bot", period="monthly", on_exceeded="suspend", actions=("card.authorize",), on_expiry="settle"),
        notify_at_bp=5_000,
    )
    old = desk.world.budget(native).budget
    desk.world.decide(payment("3.00", "bot"))
    head = len(desk.world.kinds())
    found = desk.change(msgspec.structs.replace(spend(), **change)).limit
    assert found is not None
    new = found.budget
    assert new.budget_id != old.budget_id
    kept = msgspec.structs.replace(
        old, budget_id=new.budget_id, revision=new.revision, period=new.period, currency=new.currency, limit=shown
    )
    assert (new, found.usage.total) == (kept, 0)
    assert (new.period, new.currency) == (change.get("period", "monthly"), change.get("currency", "CAD"))
    assert desk.world.kinds()[head:] == ["budget_deleted", "budget_created"]
    desk.change(spend(period="yearly", on_exceeded="notify"))
    assert [(each[0], each[3]) for each in desk.budgets()] == [("yearly", "notify")]


def test_the_same_limit_again_changes_nothing(desk: Desk) -> None:
    desk.change(spend(5_000, period="weekly"))
    before = desk.world.kinds()
    desk.change(spend(5_000, period="weekly", currency="USD", on_exceeded="deny"))
    desk.change()
    assert desk.world.kinds() == before


@pytest.mark.parametrize("change", [{"period": "weekly"}, {"on_exceeded": "track"}])
def test_there_must_be_a_limit_to_change(desk: Desk, change: dict[str, object]) -> None:
    with pytest.raises(ValidationFailed, match="there is no `limit` to change") as refusal:
        desk.change(msgspec.structs.replace(spend(), **change))
    assert refusal.value.field == "limit"


def test_one_part_that_cannot_be_changed_leaves_all_as_it_was(desk: Desk) -> None:
    before = desk.world.kinds()
    with pytest.raises(ValidationFailed):
        desk.change(spend(5, currency="XXZ"), name="New", status="suspended")
    assert desk.world.kinds() == before


def test_identity_and_limit_are_changed_together(desk: Desk) -> None:
    head = len(desk.world.kinds())
    changed = desk.change(spend(5), name="New", status="suspended", max_cards=3, description="Buys")
    identity = changed.described.identity
    assert (identity.name, identity.max_cards, identity.description) == ("New", 3, "Buys")
    assert changed.status == "suspended"
    assert desk.world.kinds()[head:] == ["identity_suspended", "budget_created"]


def test_the_limit_of_cards_is_changed_in_part(desk: Desk) -> None:
    def defaults(patch: LimitPatch) -> tuple[int, str, str] | None:
        found = desk.cards(patch).described.identity.card_defaults
        return None if found is None else (found.limit, found.currency, found.period)

    with pytest.raises(ValidationFailed, match="there is no `limit` to change"):
        defaults(spend(period="weekly"))
    assert defaults(spend(700)) == (700, "USD", "total")
    assert defaults(spend(period="weekly")) == (700, "USD", "weekly")
    assert defaults(spend(9, currency="JPY")) == (9, "JPY", "weekly")
    assert defaults(spend()) == (9, "JPY", "weekly")
    assert defaults(spend(None)) is None


# --- Who, and whom ----------------------------------------------------------------------------------------------------


def test_only_an_administrator_changes_and_ends(desk: Desk) -> None:
    agent = desk.world.token("bot")
    with pytest.raises(Forbidden):
        desk.change(spend(5), agent)
    with pytest.raises(Forbidden):
        desk.end(caller=agent)


@pytest.mark.parametrize("identity_id", ["ann", "nobody", "root"])
def test_who_is_of_another_type_is_unknown(desk: Desk, identity_id: str) -> None:
    with pytest.raises(NotFound, match=identity_id):
        desk.apply(UNCHANGED, identity_id)
    with pytest.raises(NotFound, match=identity_id):
        desk.end(identity_id)


def test_who_has_ended_is_not_changed(desk: Desk) -> None:
    desk.end()
    with pytest.raises(Conflict, match="`bot` is revoked"):
        desk.change(spend(5))


# --- The end ----------------------------------------------------------------------------------------------------------


def test_the_end_revokes_the_identity_and_all_of_its_tokens_at_once(desk: Desk) -> None:
    desk.world.identity("sub", "bot")
    tokens = [desk.world.minted("bot"), desk.world.minted("bot")]
    below = desk.world.minted("sub")
    head = len(desk.world.kinds())
    ended = desk.end().value
    assert (ended.status, ended.described.identity.revoked_at_us) == ("revoked", desk.world.now_us)
    assert desk.world.kinds()[head:] == ["identity_revoked", "token_revoked", "token_revoked"]
    for minted in tokens:
        with pytest.raises(Unauthenticated):
            desk.world.desk.authenticate(minted.text, desk.world.now_us)
    assert desk.world.desk.authenticate(below.text, desk.world.now_us).top == "sub"


def test_the_end_takes_what_permits_with_it(desk: Desk) -> None:
    """Nobody acts by it any more, and a tenant can have only so many policies; what hangs elsewhere stays."""
    world = desk.world
    world.grant(identity_id="ann")
    with world.look() as part:
        elsewhere = [listed.value for listed in part.policies.all()]
    for _ in range(2):
        world.grant(rules=Rules(actions=("card.authorize",)), identity_id="bot")
    head = len(world.kinds())
    desk.end()
    assert world.kinds()[head:] == ["identity_revoked", "policy_deleted", "policy_deleted"]
    with world.look() as part:
        assert [listed.value for listed in part.policies.all()] == elsewhere
    assert world.faults() == []


def test_the_end_takes_what_was_granted_with_it(world: World) -> None:
    """A grant is ended with its policy and budgets, one that waits for its approval as well."""
    world.found()
    wallets = Wallets(world)
    active, pending, revoked = wallets.active(), wallets.make(), wallets.revoke(wallets.make())
    head = len(world.kinds())
    enrolments = Enrolments(world.store, world.treasurer, Roles("agent", "user"))
    world.run(enrolments.end(OPERATOR, "t_one", active.grant.identity_id, None, world.now_us))
    assert [wallets.get(each).status for each in (active, pending, revoked)] == ["revoked"] * 3
    budgets = ["budget_deleted"] * len(active.grant.budget_ids)
    assert world.kinds()[head:] == [
        "identity_revoked",
        "policy_deleted",
        *budgets,
        "grant_revoked",
        "grant_revoked",
    ]
    assert world.faults() == []


def test_a_second_end_changes_nothing(desk: Desk) -> None:
    first = desk.end().value
    before = desk.world.kinds()
    desk.world.now_us += 9
    assert desk.end().value == first
    assert desk.world.kinds() == before


def test_a_repeated_key_is_answered_with_the_end_as_it_was(desk: Desk) -> None:
    first, again = desk.end(content="a"), desk.end(content="a")
    assert (first.replayed, again.replayed, again.value) == (False, True, first.value)
    with pytest.raises(IdempotencyConflict):
        desk.end(content="b")

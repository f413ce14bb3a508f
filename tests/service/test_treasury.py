"""Cards and the kill switch: what is made, who may, what a decision sees, and that it is one mark for any number."""

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.audit import encode_hash, fact_hash
from sidecar.core.cards import CARDS_LISTED_MAX, ExternalRef
from sidecar.core.errors import Conflict, Forbidden, IdempotencyConflict, NotFound, ValidationFailed
from sidecar.core.facts import card_fact
from sidecar.core.idempotency import idempotency_key
from sidecar.core.money import Major
from sidecar.core.nearest import Nearest
from sidecar.service import descent, paging
from sidecar.service.authorize import Answered
from sidecar.service.budgets import BudgetFilter
from sidecar.service.card_drafts import CardDraft, CardLimit
from sidecar.service.explain import explain
from sidecar.service.identities import CardDefaultsDraft, IdentityDraft, IdentityPatch
from sidecar.service.kill_switch import Killed, KillSwitch
from sidecar.service.paging import PageRequest
from sidecar.service.treasury import CardDesk, CardFilter, Shown
from tests.service.builders import DAY, OPERATOR, World, codes, key_for, limit, payment, replaced

REFERENCE = ExternalRef("stripe_issuing", "ic_1")


class Bank:
    """The cards of tenant `t_one`: root → team → ann, and root → bob."""

    def __init__(self, world: World) -> None:
        """Make the tenant."""
        self.world = world
        self.desk = CardDesk(world.store, world.treasurer, world.ids)
        self.switch = KillSwitch(world.store)
        world.tenant()
        world.identity("team", type_name="team")
        world.identity("ann", "team")
        world.identity("bob")

    def make(self, identity_id: str = "ann", /, **changes: object) -> Shown:
        """Make a card."""
        key = changes.pop("key", None)
        draft = msgspec.structs.replace(CardDraft(identity_id=identity_id, currency="CAD"), **changes)
        stored = None if key is None else idempotency_key("operator", "cards", str(key), repr(draft).encode())
        return self.world.run(self.desk.create(OPERATOR, "t_one", draft, stored, self.world.now_us)).value

    def card(self, identity_id: str = "ann", /, **changes: object) -> str:
        """Make a card; returns its id."""
        return self.make(identity_id, **changes).card.card_id

    def turn(self, kind: str, card_id: str, caller: Caller = OPERATOR) -> Shown:
        """Freeze, unfreeze or close."""
        call = {"freeze": self.desk.freeze, "unfreeze": self.desk.unfreeze, "close": self.desk.close}[kind]
        tenant_id = None if caller.token is not None else "t_one"
        return self.world.run(call(caller, tenant_id, card_id, None, self.world.now_us)).value

    def kill(self, identity_id: str) -> Killed:
        """Use the kill switch."""
        return self.world.run(self.switch.kill(OPERATOR, "t_one", identity_id, None, self.world.now_us)).value

    def status(self, card_id: str) -> str:
        """Return what holds for a card."""
        return self.desk.get(OPERATOR, "t_one", card_id).state.status

    def pay(self, card_id: str, amount: str = "1.00", identity_id: str = "ann", **changes: object) -> list[str]:
        """Pay by a card; returns the codes."""
        return codes(self.world.decide(replaced(payment(amount, identity_id), card_id=card_id, **changes)))


@pytest.fixture
def bank(world: World) -> Bank:
    """A tenant with cards."""
    return Bank(world)


# --- Making and showing -----------------------------------------------------------------------------------------------


def test_a_card_is_made_with_its_limits_records_and_facts(bank: Bank) -> None:
    made = bank.make(spend_limit_daily=Major("200"), spend_limit_monthly=Major("2000"), external_ref=REFERENCE)
    assert (made.state.status, made.card.currency, made.card.external_ref) == ("active", "CAD", REFERENCE)
    assert [(each.period, each.limit, each.card_id, each.identity_id) for each in made.budgets] == [
        ("daily", 20_000, made.card.card_id, None),
        ("monthly", 200_000, made.card.card_id, None),
    ]
    assert bank.world.kinds()[-3:] == ["card_created", "budget_created", "budget_created"]
    assert bank.desk.get(OPERATOR, "t_one", made.card.card_id) == made
    found = bank.world.treasurer.listed(OPERATOR, "t_one", BudgetFilter(None, made.card.card_id), PageRequest(), 0)
    assert [each.budget for each in found.values] == list(made.budgets)
    assert bank.world.faults() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": "XXZ"}, "currency"),
        ({"spend_limit_daily": Major("1.005")}, "spend_limit_daily"),
        ({"spend_limit_monthly": Major("-1")}, "spend_limit_monthly"),
    ],
)
def test_a_card_that_breaks_a_rule_is_not_made(bank: Bank, changes: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        bank.make(**changes)
    assert refusal.value.field == field
    assert bank.desk.listed(OPERATOR, "t_one", CardFilter(), PageRequest()).values == ()


def test_a_card_needs_an_identity_that_is_not_revoked(bank: Bank) -> None:
    with pytest.raises(NotFound):
        bank.make("nobody")
    bank.world.revoke("team")
    with pytest.raises(Conflict, match="`team` is revoked"):
        bank.make("ann")


def test_a_suspended_identity_gets_a_card_that_pays_once_it_is_resumed(bank: Bank) -> None:
    registry, now_us = bank.world.registry, bank.world.now_us
    bank.world.run(registry.change(OPERATOR, "t_one", "ann", IdentityPatch(status="suspended"), now_us))
    card_id = bank.card()
    assert bank.pay(card_id) == ["identity_suspended"]
    bank.world.run(registry.change(OPERATOR, "t_one", "ann", IdentityPatch(status="active"), now_us))
    assert bank.pay(card_id) == ["permitted"]


@pytest.fixture
def limited(bank: Bank) -> Bank:
    """The same tenant with `low`, whose cards get 50 USD a month, and with `wide`, whose cards get nothing."""
    usual = CardDefaultsDraft(Major("50"), "USD", "monthly")
    for identity_id, defaults in (("low", usual), ("wide", None)):
        draft = IdentityDraft("team", "agent", "x", identity_id, card_defaults=defaults)
        bank.world.run(bank.world.registry.create(OPERATOR, "t_one", draft, bank.world.now_us))
    return bank


def limits(shown: Shown) -> list[tuple[str, int, str | None]]:
    """Return what limits a card."""
    return [(each.period, each.limit, each.currency) for each in shown.budgets]


def test_a_card_without_a_limit_has_that_of_its_identitys_defaults(limited: Bank) -> None:
    made = limited.make("low", currency=None)
    assert (made.card.currency, limits(made)) == ("USD", [("monthly", 5_000, "USD")])
    assert limited.pay(made.card.card_id, "50.01", "low", currency="USD") == ["budget_exceeded"]
    own = limited.make("low", currency="USD", spend_limit_daily=Major("7"))
    assert limits(own) == [("daily", 700, "USD")]
    free = limited.make("wide", currency=None)
    assert (free.card.currency, limits(free)) == ("USD", [])


def test_the_defaults_of_an_identity_hold_for_its_own_cards_only(limited: Bank) -> None:
    limited.world.identity("below", "low")
    assert limits(limited.make("below", currency="USD")) == []


def test_a_card_in_another_currency_than_its_default_limit_needs_a_limit_of_its_own(limited: Bank) -> None:
    """It could pay nothing with the other one."""
    with pytest.raises(ValidationFailed, match="have a limit in `USD`, got `CAD`") as refusal:
        limited.make("low", currency="CAD")
    assert refusal.value.field == "currency"
    own = CardLimit("weekly", Major("7"), "spendingLimit")
    assert limits(limited.make("low", currency="CAD", further_limits=(own,))) == [("weekly", 700, "CAD")]


def issue(bank: Bank, caller: Caller, identity_id: str, **changes: object) -> Shown:
    """Make a card as whoever reaches the identity may."""
    draft = msgspec.structs.replace(CardDraft(identity_id=identity_id), **changes)
    tenant_id = None if caller.token is not None else "t_one"
    return bank.world.run(bank.desk.issue(caller, tenant_id, draft, None, bank.world.now_us)).value


def test_an_agents_card_has_the_default_limit_beside_its_own(limited: Bank) -> None:
    agent = limited.world.token("low")
    own = CardLimit("weekly", Major("9999"), "spendingLimit")
    made = issue(limited, agent, "low", further_limits=(own,))
    assert limits(made) == [("monthly", 5_000, "USD"), ("weekly", 999_900, "USD")]
    assert limits(issue(limited, OPERATOR, "low", further_limits=(own,))) == [("weekly", 999_900, "USD")]
    with pytest.raises(ValidationFailed):
        issue(limited, agent, "low", currency="CAD", further_limits=(own,))


def test_an_agent_makes_cards_in_its_own_subtree_only(limited: Bank) -> None:
    agent = limited.world.token("team")
    assert issue(limited, agent, "ann").card.identity_id == "ann"
    for foreign in ("bob", "root", "nobody"):
        with pytest.raises(NotFound):
            issue(limited, agent, foreign)
    with pytest.raises(Forbidden):
        limited.world.run(limited.desk.create(agent, None, CardDraft(identity_id="ann"), None, limited.world.now_us))


def test_whoever_is_suspended_itself_or_above_is_issued_no_card(limited: Bank) -> None:
    change = limited.world.registry.change
    limited.world.run(change(OPERATOR, "t_one", "team", IdentityPatch(status="suspended"), limited.world.now_us))
    with pytest.raises(Conflict, match="`team` is suspended, it gets no card"):
        issue(limited, OPERATOR, "low")


def test_an_external_reference_finds_one_card_for_good(bank: Bank) -> None:
    card_id = bank.card(external_ref=REFERENCE)
    bank.turn("close", card_id)
    with pytest.raises(Conflict, match="external reference is in use"):
        bank.make("bob", external_ref=REFERENCE)
    with bank.world.look() as part:
        found = part.cards.by_external_id(REFERENCE.key)
    assert found is not None
    assert found.card_id == card_id


def test_an_identity_has_at_most_as_many_open_cards_as_it_may(bank: Bank) -> None:
    draft = IdentityDraft("root", "agent", "Few", "few", max_cards=1)
    bank.world.run(bank.world.registry.create(OPERATOR, "t_one", draft, bank.world.now_us))
    first = bank.card("few")
    with pytest.raises(Conflict, match="as it may: 1"):
        bank.make("few")
    bank.turn("close", first)
    bank.card("few")


def test_cards_are_listed_by_identity_and_status_and_within_reach(bank: Bank) -> None:
    ann, team, bob = bank.card("ann"), bank.card("team"), bank.card("bob")
    bank.turn("freeze", team)

    def ids(wanted: CardFilter, caller: Caller = OPERATOR) -> list[str]:
        tenant_id = None if caller.token is not None else "t_one"
        page = bank.desk.listed(caller, tenant_id, wanted, PageRequest())
        return [shown.card.card_id for shown in page.values]

    assert ids(CardFilter()) == [ann, team, bob]
    assert ids(CardFilter("ann")) == [ann]
    assert ids(CardFilter(status="frozen")) == [team]
    agent = bank.world.token("team")
    assert ids(CardFilter(), agent) == [team, ann]
    with pytest.raises(NotFound):
        ids(CardFilter("bob"), agent)
    with pytest.raises(NotFound):
        bank.desk.get(agent, None, bob)
    assert bank.desk.get(agent, None, ann).card.card_id == ann


def test_an_agent_is_shown_its_cards_whatever_the_tenant_has_besides(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list looks at its own subtree only, and a page that was cut goes on where it ended."""
    monkeypatch.setattr(paging, "SCANNED_MAX", 3)
    for _ in range(8):
        bank.card("bob")
    own = [bank.card("team"), *(bank.card("ann") for _ in range(4))]
    agent, found, after = bank.world.token("team"), [], 0
    while True:
        page = bank.desk.listed(agent, None, CardFilter(), PageRequest(after, 2))
        assert len(page.values) <= 2
        found += [shown.card.card_id for shown in page.values]
        if page.next_after is None:
            break
        after = page.next_after
    assert found == own


def test_an_agent_reads_its_cards_and_their_budgets_and_changes_none(bank: Bank) -> None:
    made = bank.make(spend_limit_daily=Major("5"))
    agent, now_us = bank.world.token("ann"), bank.world.now_us
    listed = bank.world.treasurer.listed(agent, None, BudgetFilter(None, made.card.card_id), PageRequest(), now_us)
    assert [each.budget.budget_id for each in listed.values] == [made.budgets[0].budget_id]
    with pytest.raises(Forbidden):
        bank.turn("freeze", made.card.card_id, agent)
    with pytest.raises(Forbidden):
        bank.world.run(bank.desk.create(agent, None, CardDraft(identity_id="ann", currency="CAD"), None, now_us))
    with pytest.raises(Forbidden):
        bank.world.run(bank.switch.kill(agent, None, "ann", None, now_us))


def test_the_budgets_of_a_card_are_out_of_reach_where_the_card_is(bank: Bank) -> None:
    made = bank.make("bob", spend_limit_daily=Major("5"))
    agent = bank.world.token("ann")
    treasurer = bank.world.treasurer
    with pytest.raises(NotFound, match="unknown card"):
        treasurer.listed(agent, None, BudgetFilter(None, made.card.card_id), PageRequest(), 0)
    with pytest.raises(NotFound, match="unknown budget"):
        treasurer.get(agent, None, made.budgets[0].budget_id, 0)
    with pytest.raises(NotFound, match="unknown card"):
        treasurer.listed(OPERATOR, "t_one", BudgetFilter(None, "card_x"), PageRequest(), 0)
    with pytest.raises(ValidationFailed, match="another identity"):
        treasurer.listed(OPERATOR, "t_one", BudgetFilter("ann", made.card.card_id), PageRequest(), 0)
    assert treasurer.listed(OPERATOR, "t_one", BudgetFilter("bob", made.card.card_id), PageRequest(), 0).values


# --- Deciding ---------------------------------------------------------------------------------------------------------


def test_a_card_pays_for_its_identity_and_everybody_below_and_is_unknown_to_others(bank: Bank) -> None:
    card_id = bank.card("team")
    assert bank.pay(card_id, identity_id="ann") == ["permitted"]
    assert bank.pay(card_id, identity_id="team") == ["permitted"]
    for identity_id in ("bob", "root"):
        with pytest.raises(NotFound, match="unknown card"):
            bank.pay(card_id, identity_id=identity_id)
    with pytest.raises(NotFound, match="unknown card"):
        bank.pay("card_x")


def test_a_record_names_the_version_of_the_card_and_its_fact_is_kept(bank: Bank) -> None:
    made = bank.make()
    bank.pay(made.card.card_id)
    body = bank.world.bodies()[-1]
    assert body["card"] == made.card.card_id
    ((card_id, revision, _),) = msgspec.convert(body["cards"], list[tuple[str, int, str]])
    assert (card_id, revision) == (made.card.card_id, made.card.revision)
    assert bank.world.auditor.verify(OPERATOR, "t_one", 0, None).report.facts_missing == 0


def test_a_changed_card_is_another_version(bank: Bank) -> None:
    card_id = bank.card()
    for kind in ("freeze", "unfreeze", "freeze", "close"):
        bank.turn(kind, card_id)
        bank.pay(card_id)
    report = bank.world.auditor.verify(OPERATOR, "t_one", 0, None).report
    assert (report.valid, report.facts_missing) == (True, 0)


def test_a_claim_on_the_card_is_made_with_those_of_the_chain_or_not_at_all(bank: Bank) -> None:
    made = bank.make(spend_limit_daily=Major("10"))
    team = bank.world.budget(limit(5, "team")).budget.budget_id
    card = made.budgets[0].budget_id
    assert bank.pay(made.card.card_id, "6.00") == ["budget_exceeded"]
    assert (bank.world.used(card), bank.world.used(team)) == ((0, 0), (0, 0))
    assert bank.pay(made.card.card_id, "4.00") == ["permitted"]
    assert (bank.world.used(card), bank.world.used(team)) == ((0, 400), (0, 400))
    assert bank.world.faults() == []


def test_any_budget_can_hang_on_a_card(bank: Bank) -> None:
    card_id = bank.card()
    draft = limit(1, period="hourly", dimension="count")
    bank.world.budget(msgspec.structs.replace(draft, identity_id=None, card_id=card_id))
    assert bank.pay(card_id) == ["permitted"]
    assert bank.pay(card_id) == ["budget_exceeded"]
    assert codes(bank.world.decide(payment("1.00", "ann"))) == ["permitted"]
    bank.turn("close", card_id)
    with pytest.raises(NotFound, match="unknown card"):
        bank.world.budget(msgspec.structs.replace(draft, identity_id=None, card_id="card_x"))
    with pytest.raises(Conflict, match="closed"):
        bank.world.budget(msgspec.structs.replace(draft, identity_id=None, card_id=card_id))


def test_an_identity_whose_id_is_that_of_a_card_has_none_of_its_budgets(bank: Bank) -> None:
    made = bank.make(spend_limit_daily=Major("1"))
    bank.world.identity(made.card.card_id)
    assert codes(bank.world.decide(payment("50.00", made.card.card_id))) == ["permitted"]


def test_merchant_categories_of_the_card_and_the_policies_are_told_together(bank: Bank) -> None:
    bank.world.cedar(
        '@id("no")\nforbid(principal, action == Action::"card.authorize", resource) when { context.amount > 100 };'
    )
    card_id = bank.card(allowed_mccs=("7372",))
    decision = bank.world.decide(replaced(payment("5.00", "ann"), card_id=card_id, merchant_category="5814"))
    assert [(each.code, each.matched_rule) for each in decision.reasons] == [
        ("forbidden", "allowed_mccs"),
        ("forbidden", None),
    ]
    assert bank.pay(card_id, "1.00", merchant_category="7372") == ["permitted"]


def test_merchant_categories_hold_for_an_action_that_the_schema_does_not_know(bank: Bank) -> None:
    card_id = bank.card(allowed_mccs=("7372",))
    assert bank.pay(card_id, action="fly") == ["forbidden", "not_permitted"]


def test_a_budget_that_suspends_freezes_the_cards_of_the_identity_too(bank: Bank) -> None:
    own, above = bank.card("ann"), bank.card("team")
    bank.world.budget(limit(5, "ann", on_exceeded="suspend"))
    assert bank.pay(own, "6.00") == ["budget_exceeded"]
    assert (bank.status(own), bank.status(above)) == ("frozen", "active")
    assert bank.pay(own, "1.00") == ["identity_suspended"]


def test_active_again_it_has_the_cards_that_nobody_froze(bank: Bank) -> None:
    """The suspension froze the others; what somebody froze, one by one or by the kill switch, stays frozen."""
    bank.kill("ann")
    killed, frozen, own = bank.card("ann"), bank.card("ann"), bank.card("ann")
    bank.turn("freeze", frozen)
    bank.kill("team")
    bank.turn("unfreeze", own)
    bank.world.budget(limit(5, "ann", on_exceeded="suspend"))
    assert bank.pay(own, "6.00") == ["budget_exceeded"]
    bank.world.run(
        bank.world.registry.change(OPERATOR, "t_one", "ann", IdentityPatch(status="active"), bank.world.now_us)
    )
    assert [bank.status(card_id) for card_id in (killed, frozen, own)] == ["frozen", "frozen", "active"]
    assert bank.pay(own, "1.00") == ["permitted"]
    assert bank.pay(killed, "1.00") == ["card_frozen"]
    assert bank.world.faults() == []


def test_the_replay_of_a_permit_whose_card_was_frozen_is_a_new_denial(bank: Bank) -> None:
    card_id = bank.card()
    request = replaced(payment("1.00", "ann"), card_id=card_id)
    first = bank.world.authorize(request, key_for(request)).decision
    assert bank.world.authorize(request, key_for(request)).decision == first
    bank.kill("team")
    again = bank.world.authorize(request, key_for(request))
    assert (codes(again.decision), again.replayed) == (["card_frozen"], False)
    assert bank.world.bodies()[-1]["replay_of"] == first.decision_id
    bank.turn("unfreeze", card_id)
    assert bank.world.authorize(request, key_for(request)).replayed


def test_a_card_frozen_between_ruling_and_commit_is_seen_by_the_commit(bank: Bank) -> None:
    card_id = bank.card()
    request = replaced(payment("1.00", "ann"), card_id=card_id)
    now_us = bank.world.now_us
    _, answered = bank.world.together(
        bank.desk.freeze(OPERATOR, "t_one", card_id, None, now_us),
        bank.world.authorizer.authorize(OPERATOR, "t_one", request, None, now_us),
    )
    assert isinstance(answered, Answered)
    assert codes(answered.decision) == ["card_frozen"]


# --- Freezing and closing ---------------------------------------------------------------------------------------------


def test_freezing_and_unfreezing_twice_changes_nothing_the_second_time(bank: Bank) -> None:
    card_id = bank.card()
    for kind in ("freeze", "unfreeze", "close"):
        first = bank.turn(kind, card_id)
        length = len(bank.world.bodies())
        assert bank.turn(kind, card_id) == first
        assert len(bank.world.bodies()) == length


def test_a_closed_card_cannot_be_frozen_or_unfrozen(bank: Bank) -> None:
    card_id = bank.card()
    bank.turn("close", card_id)
    for kind in ("freeze", "unfreeze"):
        with pytest.raises(Conflict, match="closed"):
            bank.turn(kind, card_id)
    assert bank.pay(card_id) == ["card_closed"]


def test_a_card_is_known_by_its_own_id_only(bank: Bank) -> None:
    for kind in ("freeze", "unfreeze", "close"):
        with pytest.raises(NotFound, match="unknown card"):
            bank.turn(kind, "card_x")


def test_views_are_not_kept_for_cards_that_do_not_exist(bank: Bank) -> None:
    """Whoever makes up cards must not push out what is kept for others."""
    before = bank.world.snapshots.kept
    for number in range(20):
        with pytest.raises(NotFound):
            bank.pay(f"card_{number}")
    assert bank.world.snapshots.kept == before


def test_a_repeated_key_answers_with_the_first_card_and_makes_no_second(bank: Bank) -> None:
    first = bank.make(key="k1", spend_limit_daily=Major("5"), external_ref=REFERENCE)
    assert bank.make(key="k1", spend_limit_daily=Major("5"), external_ref=REFERENCE) == first
    assert len(bank.desk.listed(OPERATOR, "t_one", CardFilter(), PageRequest()).values) == 1
    with pytest.raises(IdempotencyConflict):
        bank.make(key="k1", spend_limit_daily=Major("6"))


# --- The kill switch --------------------------------------------------------------------------------------------------


def test_the_kill_switch_freezes_the_active_cards_at_and_below_and_counts_them(bank: Bank) -> None:
    ann, team, bob, frozen, closed = (bank.card(each) for each in ("ann", "team", "bob", "ann", "ann"))
    bank.turn("freeze", frozen)
    bank.turn("close", closed)
    killed = bank.kill("team")
    assert (killed.frozen, set(killed.card_ids)) == (2, {ann, team})
    assert [bank.status(each) for each in (ann, team, bob, frozen, closed)] == [
        "frozen",
        "frozen",
        "active",
        "frozen",
        "closed",
    ]
    by = bank.desk.get(OPERATOR, "t_one", ann).state.identity
    assert by is not None
    assert by.identity_id == "team"
    assert bank.world.kinds()[-1] == "kill_switch"
    assert bank.kill("team").frozen == 0


def test_cards_made_or_unfrozen_after_the_kill_switch_are_active(bank: Bank) -> None:
    old = bank.card()
    bank.kill("root")
    new = bank.card()
    assert bank.pay(new) == ["permitted"]
    bank.turn("unfreeze", old)
    assert bank.pay(old) == ["permitted"]
    bank.kill("ann")
    assert (bank.pay(new), bank.pay(old)) == (["card_frozen"], ["card_frozen"])


def test_a_second_mark_above_counts_only_what_the_first_left(bank: Bank) -> None:
    bank.card("ann")
    bob = bank.card("bob")
    assert bank.kill("team").frozen == 1
    killed = bank.kill("root")
    assert killed.card_ids == (bob,)


def test_the_kill_switch_needs_an_identity_that_exists(bank: Bank) -> None:
    with pytest.raises(NotFound):
        bank.kill("nobody")


def test_a_repeated_kill_switch_answers_as_the_first_and_marks_once(bank: Bank) -> None:
    bank.card()
    key = idempotency_key("operator", "kill", "k1", b"ann")

    def again() -> Killed:
        return bank.world.run(bank.switch.kill(OPERATOR, "t_one", "ann", key, bank.world.now_us)).value

    first = again()
    card_id = bank.card()
    assert again() == first
    assert first.frozen == 1
    assert bank.status(card_id) == "active"
    assert bank.world.kinds().count("kill_switch") == 1


def test_a_kill_switch_that_was_not_counted_before_a_crash_is_counted_by_its_repetition(bank: Bank) -> None:
    bank.card()
    key = idempotency_key("operator", "kill", "k1", b"ann")

    async def cut_off() -> None:
        with pytest.raises(RuntimeError):
            await Crashing(bank.world.store).kill(OPERATOR, "t_one", "ann", key, bank.world.now_us)

    bank.world.run(cut_off())
    done = bank.world.run(bank.switch.kill(OPERATOR, "t_one", "ann", key, bank.world.now_us))
    assert (done.replayed, done.value.frozen) == (True, 1)
    assert bank.world.kinds().count("kill_switch") == 1


class Crashing(KillSwitch):
    """A kill switch whose process dies once the mark is on disk."""

    async def _count(self, caller: Caller, killed: Killed) -> Killed:
        raise RuntimeError(caller.name, killed.tenant_id)


def test_one_mark_freezes_ten_thousand_cards(bank: Bank) -> None:
    """What is written does not grow with the cards: one record, one fact, one changed identity."""
    cards = [bank.card("ann")]

    def multiply(txn: object) -> None:
        tenant = txn.tenants.find("t_one")  # type: ignore[attr-defined]  # any transaction has it
        part = txn.of(tenant)  # type: ignore[attr-defined]
        first = part.cards.get(cards[0])
        for number in range(1, 10_000):
            revision = txn.tenants.advance(tenant.number)  # type: ignore[attr-defined]
            owner = ("ann", "team", "bob")[number % 3]
            copy = msgspec.structs.replace(
                first, card_id=f"card_{number}", identity_id=owner, thawed_revision=revision, revision=revision
            )
            part.cards.add(copy.card_id, copy, revision, owner=owner)
            version = [copy.card_id, revision, encode_hash(fact_hash(card_fact(copy)))]
            part.audit.append("card_created", bank.world.now_us, {"cards": [version]})

    bank.world.write(multiply)
    with bank.world.look() as part:
        records = part.audit.head().next_index
    killed = bank.kill("team")
    with bank.world.look() as part:
        assert part.audit.head().next_index == records + 1
    assert killed.frozen == sum(1 for number in range(10_000) if number % 3 != 2)
    assert len(killed.card_ids) == CARDS_LISTED_MAX
    assert bank.pay("card_9999") == ["card_frozen"]
    assert bank.pay("card_9998", identity_id="bob") == ["permitted"]


def test_a_subtree_longer_than_a_page_is_read_to_its_end(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "PAGE", 2)
    for number in range(5):
        bank.world.identity(f"sub{number}", "team")
        bank.card(f"sub{number}")
    cards = [bank.card("ann") for _ in range(4)]
    assert bank.kill("team").frozen == 9
    assert {bank.status(card_id) for card_id in cards} == {"frozen"}
    revoked = bank.world.run(bank.world.registry.revoke(OPERATOR, "t_one", "team", bank.world.now_us + DAY))
    assert revoked.value.affected == 7


# --- Explaining -------------------------------------------------------------------------------------------------------


def explained(bank: Bank, card_id: str, **changes: object) -> tuple[list[str], Nearest | None]:
    """Return the codes of a decision by card and the nearest that would be permitted."""
    request = replaced(payment("6.00", "ann"), card_id=card_id, **changes)
    answered = bank.world.authorizer.rehearse(OPERATOR, "t_one", request, bank.world.now_us, explain=True)
    assert answered.grounds is not None
    return codes(answered.decision), explain(OPERATOR, answered.grounds, answered.decision).nearest


def test_the_nearest_payment_is_one_that_the_card_would_take(bank: Bank) -> None:
    limited = bank.make(spend_limit_daily=Major("5"), allowed_mccs=("7372",)).card.card_id
    refused, nearest = explained(bank, limited, merchant_category="7372")
    assert refused == ["budget_exceeded"]
    assert nearest is not None
    assert nearest.amount_minor == 500
    plain = bank.card(allowed_mccs=("5814", "7372"))
    refused, nearest = explained(bank, plain, merchant_category="5732")
    assert refused == ["forbidden"]
    assert nearest is not None
    assert nearest.merchant_categories == ("5814", "7372")
    refused, nearest = explained(bank, bank.card(), currency="USD")
    assert refused == ["currency_not_budgeted"]
    assert nearest is not None
    assert nearest.currencies == ("CAD",)


def test_a_currency_that_the_card_lacks_is_told_once(bank: Bank) -> None:
    made = bank.make(spend_limit_daily=Major("5"))
    assert bank.pay(made.card.card_id, currency="USD") == ["currency_not_budgeted"]


def test_a_frozen_card_has_no_nearest(bank: Bank) -> None:
    card_id = bank.card()
    bank.turn("freeze", card_id)
    assert explained(bank, card_id) == (["card_frozen"], None)


def test_there_is_no_nearest_once_the_denial_has_suspended_the_identity(bank: Bank) -> None:
    """A dry run suspends nobody, so there it is told."""
    bank.world.budget(limit(5, "ann", on_exceeded="suspend"))
    card_id = bank.card()
    refused, nearest = explained(bank, card_id)
    assert refused == ["budget_exceeded"]
    assert nearest is not None
    request = replaced(payment("6.00", "ann"), card_id=card_id)
    call = bank.world.authorizer.authorize(OPERATOR, "t_one", request, None, bank.world.now_us, explain=True)
    answered = bank.world.run(call)
    assert answered.grounds is not None
    assert explain(OPERATOR, answered.grounds, answered.decision).nearest is None

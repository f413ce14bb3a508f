"""A tenant as it was at each record of its log: folded from record 0, with nothing assumed that no fact says."""

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import msgspec

from sidecar.core.budget import Budget, card_owner
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.core.errors import ValidationFailed
from sidecar.core.history import RAISING, BudgetDeleted, Changed, Decided, Event, Named, Opened
from sidecar.service.chronicle import FactMissing, Facts
from sidecar.service.scene import Scene, Shelf
from sidecar.service.statutes import Statutes
from sidecar.service.store import Listed

T = TypeVar("T")

_identity: Final = msgspec.json.Decoder(Identity)
_card: Final = msgspec.json.Decoder(Card)
_budget: Final = msgspec.json.Decoder(Budget)


class ErasableShelf(Shelf[T]):
    """Values of one kind, of which some are known to have been and not what they were."""

    def __init__(self) -> None:
        """Miss nothing."""
        super().__init__()
        self._missing: dict[str, str] = {}
        self._owners: dict[str, dict[str, str]] = {}

    def get(self, key: str) -> T | None:
        """Return the value with this id. Raises FactMissing where its version was erased."""
        if key in self._missing:
            raise FactMissing(self._missing[key])
        return super().get(key)

    def owned(self, owner: str) -> Iterator[Listed[T]]:
        """Yield the values that belong to ``owner``. Raises FactMissing where one was erased."""
        for what in self._owners.get(owner, {}).values():
            raise FactMissing(what)
        return super().owned(owner)

    def put(self, key: str, value: T, owner: str | None = None) -> None:
        """Hold a value. What its owner's counters missed stays missing, so one that has an owner is not found again."""
        if owner is None:
            self._missing.pop(key, None)
        super().put(key, value, owner)

    def lose(self, key: str, what: str, owner: str | None = None) -> None:
        """Know no more what this value is."""
        self._missing[key] = what
        if owner is not None:
            self._owners.setdefault(owner, {})[key] = what

    def drop(self, key: str, owner: str) -> None:
        """Let a value go, a missing one as well."""
        self._owners.get(owner, {}).pop(key, None)
        super().drop(key, owner)


class PastScene(Scene):
    """A scene some of whose facts may have been erased."""

    def __init__(self, tenant: Tenant) -> None:
        """Begin with nobody in it."""
        super().__init__(tenant)
        self.lost_identities: ErasableShelf[Identity] = ErasableShelf()
        self.lost_cards: ErasableShelf[Card] = ErasableShelf()
        self.lost_budgets: ErasableShelf[Budget] = ErasableShelf()
        self.identities = self.lost_identities
        self.cards = self.lost_cards
        self.budgets = self.lost_budgets
        self._owners: dict[str, str] = {}

    def lose_identity(self, identity_id: str, what: str) -> None:
        """Know no more what an identity is."""
        self.revision += 1
        self.lost_identities.lose(identity_id, what)

    def lose_card(self, card_id: str, what: str) -> None:
        """Know no more what a card is."""
        self.revision += 1
        self.lost_cards.lose(card_id, what)

    def lose_budget(self, budget_id: str, owner: str, what: str) -> None:
        """Know no more what a budget is, nor, from then on, what it has used."""
        self.revision += 1
        self._owners[budget_id] = owner
        self.lost_budgets.lose(budget_id, what, owner)

    def drop_budget(self, budget_id: str) -> None:
        """Let a budget go."""
        owner = self._owners.pop(budget_id, None)
        if owner is None:
            super().drop_budget(budget_id)
        else:
            self.revision += 1
            self.lost_budgets.drop(budget_id, owner)


class Past:
    """One tenant up to the record that was taken last."""

    def __init__(self, opened: Opened, facts: Facts) -> None:
        """Begin with what record 0 tells; the tenant's number and name matter to no decision."""
        tenant = Tenant(
            tenant_id=opened.tenant_id,
            number=0,
            name=opened.tenant_id,
            mode=opened.mode,
            time_zone=opened.time_zone,
            root_identity_id=opened.root,
            log_id="",
            created_at_us=0,
        )
        self.scene = PastScene(tenant)
        self.facts = facts
        self.statutes = Statutes(opened.tenant_id, facts)
        self.lost: list[tuple[int, str]] = []
        self.revision = 0
        self.rebound: tuple[str, int] | None = None
        self._enacted: dict[str, str | None] = {}
        self._agreeing: tuple[str, int] | None = None

    def take(self, event: Event) -> None:
        """Change the scene as a record says; what a decision did to it stands in the records behind it.

        A version whose fact was erased is noted in ``lost``; ``rebound`` is the rolling budget whose bound this record
        changed, with the time: what has left its window by then counts for no earlier request either. Raises
        ValidationFailed for a fact that was changed, and for one that is not what the record says of it.
        """
        if isinstance(event, Changed | BudgetDeleted) and event.kind in RAISING:
            self.revision += 1
        self.rebound = None
        if isinstance(event, Changed):
            self._enact(event)
            self._change(event)
        elif isinstance(event, BudgetDeleted):
            self.scene.drop_budget(event.budget)

    def require_enacted(self, decided: Decided) -> None:
        """Raise ValidationFailed for a decision by other policies than those that the API had made by then.

        Raises FactMissing where nobody knows any more by which.
        """
        at = (decided.policies, self.revision)
        if at == self._agreeing:
            return
        named = {each.policy_id: each.text for each in self.statutes.manifest(decided).api}
        if named != self._enacted:
            policy_id = min(each for each, _ in {*named.items()} ^ {*self._enacted.items()})
            raise ValidationFailed(f"the records before tell otherwise of policy `{policy_id}` than its policies do")
        self._agreeing = at

    def _enact(self, event: Changed) -> None:
        if event.policy is not None and event.kind == "policy_created":
            self._enacted[event.policy] = event.text
        elif event.policy is not None:
            self._enacted.pop(event.policy, None)

    def _change(self, event: Changed) -> None:
        _require_named(event, self.revision)
        scene = self.scene
        owner = card_owner(event.card) if event.card is not None else event.identity or ""
        for named in event.chain:
            self._put(event, named, "identity", self._put_identity, scene.lose_identity)
        for named in event.cards:
            self._put(event, named, "card", self._put_card, scene.lose_card)
        for named in event.budgets:
            self._put(event, named, "budget", self._put_budget, lambda key, what: scene.lose_budget(key, owner, what))

    def _put(
        self,
        event: Changed,
        named: Named,
        noun: str,
        put: Callable[[Changed, Named, str], None],
        lose: Callable[[str, str], None],
    ) -> None:
        """Put a version into the scene, or note that nobody knows it any more."""
        what = f"{noun} `{named[0]}` at revision {named[1]}"
        try:
            put(event, named, what)
        except FactMissing:
            lose(named[0], what)
            self.lost.append((event.seq, what))

    def _put_identity(self, event: Changed, named: Named, what: str) -> None:
        key, revision, address = named
        identity = self.facts.value(_identity, address, event.seq, what)
        _require_same(
            (event.identity, key, revision, event.status),
            (identity.identity_id, identity.identity_id, identity.revision, identity.status),
            what,
        )
        self.scene.put(identity)

    def _put_card(self, event: Changed, named: Named, what: str) -> None:
        key, revision, address = named
        card = self.facts.value(_card, address, event.seq, what)
        _require_same(
            (event.identity, key, revision, event.status),
            (card.identity_id, card.card_id, card.revision, card.status),
            what,
        )
        self.scene.put(card)

    def _put_budget(self, event: Changed, named: Named, what: str) -> None:
        key, revision, address = named
        budget = self.facts.value(_budget, address, event.seq, what)
        _require_same((key, revision), (budget.budget_id, budget.revision), what)
        _require_same((event.identity, event.card), (budget.identity_id, budget.card_id), what)
        if budget.period == "rolling_24h" and event.kind == "budget_updated":
            old = self.scene.budgets.get(key)
            if old is not None and (old.limit, old.on_exceeded) != (budget.limit, budget.on_exceeded):
                self.rebound = key, event.ts_us if event.now_us is None else event.now_us
        self.scene.put(budget)


def _require_named(event: Changed, revision: int) -> None:
    """Raise ValidationFailed where a record does not name the one version that a change of its kind makes.

    That of a budget, a card or an identity has the revision that the tenant came to with it.
    """
    of = "identity" if event.kind == "kill_switch" else event.kind.partition("_")[0]
    versions: dict[str, tuple[Named, ...]] = {"identity": event.chain, "budget": event.budgets, "card": event.cards}
    for name, found in versions.items():
        if len(found) != (name == of):
            raise ValidationFailed(f"a record of type `{event.kind}` names {len(found)} versions of kind `{name}`")
        for key, at, _ in found:
            _require_same((at, event.revision), (revision, revision), f"the revision of `{key}`")


def _require_same(recorded: tuple[object, ...], found: tuple[object, ...], what: str) -> None:
    if recorded != found:
        raise ValidationFailed(f"{what} is recorded as `{recorded}`, and its fact says `{found}`")

"""A scene of which some things are known to have been, and not what they were."""

from collections.abc import Iterator
from typing import TypeVar

from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.service.chronicle import FactMissing
from sidecar.service.scene import Scene, Shelf
from sidecar.service.store import Listed

T = TypeVar("T")


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

    def put(self, key: str, value: T, owner: str | None = None, place: int | None = None) -> None:
        """Hold a value. What its owner's counters missed stays missing, so one that has an owner is not found again."""
        if owner is None:
            self._missing.pop(key, None)
        super().put(key, value, owner, place)

    def lose(self, key: str, what: str, owner: str | None = None) -> None:
        """Know no more what this value is."""
        self._missing[key] = what
        if owner is not None:
            self._owners.setdefault(owner, {})[key] = what

    def drop(self, key: str, owner: str) -> None:
        """Let a value go, a missing one as well; then nothing is missing of one that has no owner."""
        if not owner:
            self._missing.pop(key, None)
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

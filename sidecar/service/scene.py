"""One tenant held in memory, as policies and budgets see it: what a policy test describes, or a history comes to.

A ``Trial`` decides requests on a scene by one set of policies, in the very steps of a real decision up to its commit;
nothing is recorded. Who changes the scene says so, by ``put`` and ``drop``; counters are changed by whoever books.
"""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.counters import Counters
from sidecar.core.delegation import HOME, Referral, Seat
from sidecar.core.directory import Identity, Tenant
from sidecar.core.history import Decided
from sidecar.core.model import AuthorizeRequest
from sidecar.core.recent import Recent
from sidecar.core.slicing import RULINGS_MAX, Rulings
from sidecar.core.snapshot import TenantPolicies
from sidecar.core.staleness import Freshly
from sidecar.service.judgement import Judgement, judge
from sidecar.service.premises import Usages
from sidecar.service.ruling import rule
from sidecar.service.snapshots import View, read_view
from sidecar.service.store import Listed, Revisions

T = TypeVar("T")

VIEWED_MAX: Final = 20_000
"""Identities on the chains of all views that one trial keeps."""


class Shelf(Generic[T]):
    """Values of one kind by id and by owner, each with its place in order of arrival."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._values: dict[str, T] = {}
        self._owned: dict[str, dict[str, int]] = {}
        self._place = 0

    def get(self, key: str) -> T | None:
        """Return the value with this id."""
        return self._values.get(key)

    def owned(self, owner: str) -> Iterator[Listed[T]]:
        """Yield the values that belong to ``owner`` in order of arrival."""
        for key, place in self._owned.get(owner, {}).items():
            yield Listed(place, self._values[key])

    def put(self, key: str, value: T, owner: str | None = None, place: int | None = None) -> None:
        """Hold a value; one that was there keeps its place and its owner. ``place`` None puts it behind all others."""
        if key not in self._values and owner is not None:
            owned = self._owned.setdefault(owner, {})
            owned[key] = self._place + 1 if place is None else place
            if owned[key] <= self._place:
                self._owned[owner] = dict(sorted(owned.items(), key=lambda each: each[1]))
            self._place = max(self._place, owned[key])
        self._values[key] = value

    def drop(self, key: str, owner: str) -> None:
        """Let a value go; nothing happens where none is held."""
        self._values.pop(key, None)
        self._owned.get(owner, {}).pop(key, None)


class Scene:
    """One tenant; ``revision`` rises with every change of what a view shows."""

    def __init__(self, tenant: Tenant) -> None:
        """Begin with nobody in it."""
        self.tenant = tenant
        self.revision = 0
        self.identities: Shelf[Identity] = Shelf()
        self.cards: Shelf[Card] = Shelf()
        self.budgets: Shelf[Budget] = Shelf()

    def put(self, value: Identity | Card | Budget, place: int | None = None) -> None:
        """Hold a new or changed identity, card or budget; ``place`` is a new budget's among those of its owner."""
        self.revision += 1
        match value:
            case Identity():
                self.identities.put(value.identity_id, value)
            case Card():
                self.cards.put(value.card_id, value)
            case _:
                self.budgets.put(value.budget_id, value, value.owner, place)

    def drop_identity(self, identity_id: str) -> None:
        """Let an identity go."""
        self.revision += 1
        self.identities.drop(identity_id, "")

    def drop_card(self, card_id: str) -> None:
        """Let a card go."""
        self.revision += 1
        self.cards.drop(card_id, "")

    def drop_budget(self, budget_id: str) -> None:
        """Let a budget go."""
        budget = self.budgets.get(budget_id)
        if budget is not None:
            self.revision += 1
            self.budgets.drop(budget_id, budget.owner)


class Trial:
    """One set of policies tried on a scene, with counters of its own, which are ``sidecar.service.premises.Premises``.

    ``ledger`` is what its budgets have used: whoever tries books there what became of each decision.
    """

    def __init__(self, scene: Scene, policies: TenantPolicies, ledger: Usages | None = None) -> None:
        """Try ``policies`` on ``scene``."""
        self._scene = scene
        self._policies = policies
        self._views: Recent[tuple[str, str | None], View] = Recent(VIEWED_MAX, lambda view: len(view.chain))
        self._rulings: Rulings = Recent(RULINGS_MAX)
        self.ledger: Usages = Counters() if ledger is None else ledger

    @property
    def tenant(self) -> Tenant:
        """The tenant."""
        return self._scene.tenant

    @property
    def identities(self) -> Shelf[Identity]:
        """Its identities."""
        return self._scene.identities

    @property
    def cards(self) -> Shelf[Card]:
        """Its cards."""
        return self._scene.cards

    @property
    def budgets(self) -> Shelf[Budget]:
        """Its budgets."""
        return self._scene.budgets

    def turn_to(self, policies: TenantPolicies) -> None:
        """Decide by other policies from now on."""
        self._policies = policies

    def view(self, identity_id: str, card_id: str | None = None) -> View:
        """Return an identity with a card as they are now. Raises NotFound for an identity that is not there."""
        key = (identity_id, card_id)
        revisions = (Revisions(self._scene.revision, 0), Revisions(0, 0))
        old = self._views.get(key)
        if old is not None and old.revisions == revisions and old.policies is self._policies:
            return old
        view = read_view(self, key, revisions, self._policies, self._rulings, old)
        self._views.keep(key, view)
        return view

    def again(self, request: AuthorizeRequest, decided: Decided) -> Judgement:
        """Return what would be decided where, when and on what a record says that it was. Raises as ``decide``."""
        now_us, freshly = decided.now_us, decided.freshly
        return self.decide(request, now_us, freshly, seat=decided.seat, referral=decided.referral)

    def decide(
        self,
        request: AuthorizeRequest,
        now_us: int,
        freshly: Freshly | None = None,
        *,
        seat: Seat = HOME,
        referral: Referral | None = None,
    ) -> Judgement:
        """Return what would be decided at ``seat``, on data that is as old as ``freshly`` says.

        ``referral`` is what a control plane said of it.

        Raises NotFound, ValidationFailed and Conflict as a real decision does.
        """
        proposal = rule(self, self.view(request.identity_id, request.card_id), request, now_us)
        return judge(self, proposal, request, now_us, freshly, seat=seat, referral=referral)

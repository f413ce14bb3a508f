"""A tenant as it was at each record of its log: folded from record 0, with nothing assumed that no fact says."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from sidecar.core.budget import Budget, card_owner
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.core.errors import ValidationFailed
from sidecar.core.followed import FollowedRecord, read_followed
from sidecar.core.history import (
    BudgetDeleted,
    Changed,
    Enacted,
    Event,
    Followed,
    Named,
    Opened,
)
from sidecar.core.record_kinds import RAISING
from sidecar.service.chronicle import FactMissing, Facts
from sidecar.service.past_scene import PastScene
from sidecar.service.statutes import Statutes

_identity: Final = msgspec.json.Decoder(Identity)
_card: Final = msgspec.json.Decoder(Card)
_budget: Final = msgspec.json.Decoder(Budget)
_VALUES: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {"identity": _identity, "card": _card, "budget": _budget}


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
        self.rebounds: tuple[tuple[str, int], ...] = ()
        self._lost_list: str | None = None
        self._enacted: dict[str, str | None] = {}
        self._agreeing: tuple[str, int] | None = None

    def take(self, event: Event) -> None:
        """Change the scene as a record says; what a decision did to it stands in the records behind it.

        A version whose fact was erased is noted in ``lost``; ``rebounds`` are the rolling budgets whose bounds this
        record changed, with the time: what has left their windows by then counts for no earlier request either. Raises
        ValidationFailed for a fact that was changed, and for one that is not what the record says of it.
        """
        if isinstance(event, Changed | BudgetDeleted) and event.kind in RAISING:
            self.revision += 1
        self.rebounds = ()
        if isinstance(event, Changed):
            self._enact(event)
            self._change(event)
        elif isinstance(event, Followed):
            self._follow(event)
        elif isinstance(event, BudgetDeleted):
            self.scene.drop_budget(event.budget)

    def require_enacted(self, decided: Enacted) -> None:
        """Raise ValidationFailed for a record that names other policies than those that the API had made by then.

        Raises FactMissing where nobody knows any more by which.
        """
        self.require_known()
        at = (decided.policies, self.revision)
        if at == self._agreeing:
            return
        named = {each.policy_id: each.text for each in self.statutes.manifest(decided).api}
        if named != self._enacted:
            policy_id = min(each for each, _ in {*named.items()} ^ {*self._enacted.items()})
            raise ValidationFailed(f"the records before tell otherwise of policy `{policy_id}` than its policies do")
        self._agreeing = at

    def require_known(self) -> None:
        """Raise FactMissing once a list of what was followed is lost: nobody knows what held from then on."""
        if self._lost_list is not None:
            raise FactMissing(self._lost_list)

    def _follow(self, event: Followed) -> None:
        """Bring the scene to the revision that a control plane had."""
        self.revision = event.to_revision
        what = f"the list of what was followed up to revision {event.to_revision}"
        try:
            records = read_followed(self.facts.content(event.changes, event.seq, what))
        except FactMissing:
            self._lost_list = what
            self.lost.append((event.seq, what))
            return
        _require_same((event.count,), (len(records),), what)
        for record in records:
            self._take_over(event, record)

    def _take_over(self, event: Followed, record: FollowedRecord) -> None:
        if record.kind == "policy":
            if record.fact is None:
                self._enacted.pop(record.id, None)
            else:
                self._enacted[record.id] = record.fact
        elif record.kind != "token" and record.fact is None:
            drops = {"identity": self.scene.drop_identity, "card": self.scene.drop_card}
            drops.get(record.kind, self.scene.drop_budget)(record.id)
        elif record.kind != "token":
            self._put_followed(event, record)

    def _put_followed(self, event: Followed, record: FollowedRecord) -> None:
        """Put a version that was followed into the scene, or note that nobody knows it any more."""
        what = f"{record.kind} `{record.id}` at revision {record.revision}"
        scene = self.scene
        try:
            value: Identity | Card | Budget = self.facts.value(_VALUES[record.kind], record.fact or "", event.seq, what)
        except FactMissing:
            self.lost.append((event.seq, what))
            if record.kind == "budget":
                scene.lose_budget(record.id, record.owner or "", what)
            else:
                (scene.lose_identity if record.kind == "identity" else scene.lose_card)(record.id, what)
            return
        _require_same((record.id, record.revision, record.owner), _named(value), what)
        if isinstance(value, Budget):
            self._note_rebound(value, event.now_us)
        scene.put(value, record.place)

    def _note_rebound(self, budget: Budget, now_us: int) -> None:
        """Note that the bound of a rolling budget changes with its new version."""
        old = self.scene.budgets.get(budget.budget_id) if budget.period == "rolling_24h" else None
        if old is not None and (old.limit, old.on_exceeded) != (budget.limit, budget.on_exceeded):
            self.rebounds = (*self.rebounds, (budget.budget_id, now_us))

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
        if event.kind == "budget_updated":
            self._note_rebound(budget, event.ts_us if event.now_us is None else event.now_us)
        self.scene.put(budget)


def _named(value: Identity | Card | Budget) -> tuple[str, int, str | None]:
    """Return id, revision and owner of a value."""
    match value:
        case Identity():
            return value.identity_id, value.revision, value.parent_id
        case Card():
            return value.card_id, value.revision, value.identity_id
        case _:
            return value.budget_id, value.revision, value.owner


def _require_named(event: Changed, revision: int) -> None:
    """Raise ValidationFailed where a record does not name the one version that a change of its kind makes.

    That of a budget, a card or an identity has the revision that the tenant came to with it.
    """
    changed = event.kind.partition("_")[0] if event.kind in RAISING else ""
    of = "identity" if event.kind == "kill_switch" else changed
    versions: dict[str, tuple[Named, ...]] = {"identity": event.chain, "budget": event.budgets, "card": event.cards}
    for name, found in versions.items():
        if len(found) != (name == of):
            raise ValidationFailed(f"a record of type `{event.kind}` names {len(found)} versions of kind `{name}`")
        for key, at, _ in found:
            _require_same((at, event.revision), (revision, revision), f"the revision of `{key}`")


def _require_same(recorded: tuple[object, ...], found: tuple[object, ...], what: str) -> None:
    if recorded != found:
        raise ValidationFailed(f"{what} is recorded as `{recorded}`, and its fact says `{found}`")

"""Budgets: limits on what an identity or a card may use in a window, and what one request claims of them.

A hard budget refuses what does not fit; a soft one (``notify``, ``track``) only counts. Invariant kept together with
``sidecar.core.reservation`` and the ledger: ``settled + held ≤ limit`` for each window of a hard budget at the moment
of every grant (I1). Figures are minor units for the dimension ``amount`` and plain integers otherwise.
"""

from collections.abc import Iterable
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from sidecar.core.model import AuthorizeRequest, BudgetCheck
from sidecar.core.windows import Period, Window, window_at

OnExceeded = Literal["deny", "suspend", "notify", "track"]
OnExpiry = Literal["release", "settle"]

AMOUNT: Final = "amount"
COUNT: Final = "count"
HARD: Final = frozenset({"deny", "suspend"})

_CARD: Final = "card\n"
"""In front of a card's id; no identity's id has such a character."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A limit on an identity or a card.

    ``currency`` is set for the dimension ``amount`` only; ``actions`` empty means every action. With an ``account_id``
    it governs only what is paid from that account, which a request names in its context.

    ``notify_at_bp`` is the share of the limit, in hundredths of a percent, at which its approach is announced.
    ``updated_at_us`` is None while it is as it was made. ``follower_id`` is the token of the follower that alone
    decides on it, for good; None where the control plane does.
    """

    budget_id: str
    identity_id: str | None
    card_id: str | None = None
    name: str
    dimension: str
    period: Period
    limit: int
    currency: str | None
    actions: tuple[str, ...] = ()
    on_exceeded: OnExceeded = "deny"
    on_expiry: OnExpiry = "release"
    notify_at_bp: int = 8_000
    created_at_us: int
    revision: int
    account_id: str | None = None
    updated_at_us: int | None = None
    follower_id: str | None = None

    @property
    def owner(self) -> str:
        """What it is stored under; no identity's id can be that of a card, since it has a character no id has."""
        return card_owner(self.card_id) if self.card_id is not None else self.identity_id or ""

    @property
    def is_hard(self) -> bool:
        """Whether what exceeds the limit is refused."""
        return self.on_exceeded in HARD

    def governs(self, action_names: frozenset[str], account_id: str | None = None) -> bool:
        """Whether a request counts here, given its action with the groups that this is in, and the account it names."""
        if self.account_id is not None and self.account_id != account_id:
            return False
        return not self.actions or not action_names.isdisjoint(self.actions)


def card_owner(card_id: str) -> str:
    """Return what the budgets of a card are stored under."""
    return f"{_CARD}{card_id}"


def owning_card(owner: str) -> str | None:
    """Return the id of the card that ``owner`` stands for, None where it stands for an identity."""
    return owner.removeprefix(_CARD) if owner.startswith(_CARD) else None


class Usage(msgspec.Struct, frozen=True):
    """What one window of one budget has used. ``held`` is reserved and not yet settled."""

    settled: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        """What counts against the limit."""
        return self.settled + self.held


class Claim(msgspec.Struct, frozen=True):
    """What one request wants from one budget; ``window`` is None for a limit per transaction."""

    budget: Budget
    window: Window | None
    asked: int


class Terms(msgspec.Struct, frozen=True):
    """The budgets that govern one action for one identity and card, sorted out once for many requests.

    ``limits`` has, per owner with hard amount budgets, one of them and the currencies of all. ``is_assigned`` says that
    a follower alone decides on some of the budgets.
    """

    budgets: tuple[Budget, ...]
    limits: tuple[tuple[Budget, frozenset[str | None]], ...]
    is_assigned: bool = False


def account_of(request: AuthorizeRequest) -> str | None:
    """Return the account that a request names in its context as the one that is paid from, None for none."""
    account_id = request.context.get("account_id")
    return account_id if isinstance(account_id, str) else None


def terms_of(budgets: Iterable[Budget], action_names: frozenset[str], account_id: str | None = None) -> Terms:
    """Return which of ``budgets`` govern a request of an action, given the action with its groups, and an account."""
    governing = tuple(budget for budget in budgets if budget.governs(action_names, account_id))
    by_owner: dict[str, list[Budget]] = {}
    for budget in governing:
        if budget.dimension == AMOUNT and budget.is_hard:
            by_owner.setdefault(budget.owner, []).append(budget)
    limits = tuple((own[0], frozenset(budget.currency for budget in own)) for own in by_owner.values())
    return Terms(governing, limits, any(budget.follower_id is not None for budget in governing))


def claims(request: AuthorizeRequest, terms: Terms, now_us: int, zone: ZoneInfo) -> tuple[Claim, ...]:
    """Return what ``request`` claims, one claim per budget that has a figure for it, in the order of the terms."""
    found = []
    for budget in terms.budgets:
        asked = asked_of(budget, request)
        if asked is not None:
            found.append(Claim(budget, window_at(budget.period, now_us, zone), asked))
    return tuple(found)


def asked_of(budget: Budget, request: AuthorizeRequest) -> int | None:
    """Return what ``request`` asks in the budget's dimension, None when it has nothing of that kind."""
    if budget.dimension == COUNT:
        return 1
    if budget.dimension == AMOUNT:
        return request.amount_minor if request.currency == budget.currency else None
    return request.quantities.get(budget.dimension)


def unbudgeted(request: AuthorizeRequest, terms: Terms) -> tuple[Budget, ...]:
    """Return, per identity or card, one hard amount budget that governs the request where none has its currency.

    Such an owner limits its spending, so a currency that it never budgeted is refused, not unlimited (DESIGN rule 7).
    Empty for a request without an amount.
    """
    if request.amount_minor is None:
        return ()
    return tuple(budget for budget, currencies in terms.limits if request.currency not in currencies)


def assess(claim: Claim, usage: Usage) -> BudgetCheck:
    """Return whether ``claim`` fits beside ``usage``; a soft budget always allows."""
    budget = claim.budget
    remaining = max(0, budget.limit - usage.total)
    fits = usage.total + claim.asked <= budget.limit
    return BudgetCheck(
        budget_id=budget.budget_id,
        identity_id=budget.identity_id,
        card_id=budget.card_id,
        name=budget.name,
        dimension=budget.dimension,
        period=budget.period,
        currency=budget.currency,
        limit=budget.limit,
        settled=usage.settled,
        reserved=usage.held,
        requested=claim.asked,
        remaining=remaining,
        allowed=fits or not budget.is_hard,
        resets_at_us=None if claim.window is None else claim.window.end_us,
    )


def overdraws(claim: Claim, usage: Usage) -> bool:
    """Whether a claim that nothing can refuse takes the window of a hard budget beyond its limit."""
    budget = claim.budget
    return budget.is_hard and claim.window is not None and usage.total + claim.asked > budget.limit

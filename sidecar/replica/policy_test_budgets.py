"""The budgets of a test file's tenant, and what they have used before the first request."""

from typing import Final, get_args

from sidecar.core.budget import AMOUNT, Budget, OnExceeded, OnExpiry
from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.money import Major
from sidecar.core.schema import SchemaModel
from sidecar.core.windows import PERIODS
from sidecar.replica.policy_test_fields import Fields, at
from sidecar.replica.yaml_tree import Node
from sidecar.service.budget_changes import BudgetDraft, checked_limit, drafted
from sidecar.service.policy_tests import Used

ROOT: Final = "root"
"""The identity that is there without being written, and owns what nobody else does."""

_ON_EXCEEDED: Final[tuple[OnExceeded, ...]] = get_args(OnExceeded)
_ON_EXPIRY: Final[tuple[OnExpiry, ...]] = get_args(OnExpiry)

_BUDGET: Final = frozenset(
    {
        *("id", "of", "card", "account", "dimension", "period", "limit", "currency"),
        *("actions", "on_exceeded", "on_expiry", "used"),
    }
)
_USED: Final = frozenset({"settled", "reserved", "at"})


def read_budget(
    node: Node, identities: frozenset[str], cards: frozenset[str], schema: SchemaModel
) -> tuple[Budget, Used | None]:
    """Return a budget of one of the identities or cards, and what it has used, None for nothing."""
    fields = Fields(node, "a budget", _BUDGET)
    card_id = fields.known("card", cards, "card")
    owner = fields.known("of", identities, "identity")
    if card_id is not None and owner is not None:
        fields.place_of("of").refuse("a budget hangs on an identity or on a card, one of them")
    fields.need("limit")
    draft = BudgetDraft(
        identity_id=None if card_id is not None else owner or ROOT,
        card_id=card_id,
        name=fields.own_id(),
        dimension=fields.text("dimension") or AMOUNT,
        period=fields.choice("period", PERIODS, "daily"),
        limit=fields.amount("limit") or Major("0"),
        currency=fields.text("currency"),
        actions=_actions(fields, schema),
        on_exceeded=fields.choice("on_exceeded", _ON_EXCEEDED, "deny"),
        on_expiry=fields.choice("on_expiry", _ON_EXPIRY, "release"),
        account_id=fields.id("account"),
    )
    try:
        limit = checked_limit(draft)
    except ValidationFailed as error:
        fields.place_of(error.field or "").refuse(error.message)
    budget = drafted(draft, draft.name, limit, 0, 1)
    used = fields.node("used")
    return budget, None if used is None else _used(Fields(used, "`used`", _USED), budget)


def _actions(fields: Fields, schema: SchemaModel) -> tuple[str, ...]:
    actions = fields.texts("actions")
    for action, node in zip(actions, fields.items("actions"), strict=True):
        if action not in schema.actions:
            node.place.refuse(f"the schema knows no action `{action}`")
    return actions


def _used(fields: Fields, budget: Budget) -> Used:
    if budget.period == "per_transaction":
        fields.place.refuse("a limit per transaction has used nothing")
    return Used(
        budget.budget_id,
        _figure(fields, "settled", budget),
        _figure(fields, "reserved", budget),
        fields.instant("at"),
    )


def _figure(fields: Fields, key: str, budget: Budget) -> int:
    amount = fields.amount(key)
    if amount is None:
        return 0
    with at(fields.place_of(key)):
        return amount.integer(key) if budget.currency is None else amount.minor(budget.currency, key)


def currency(fields: Fields) -> str | None:
    """Return a currency that is known."""
    text = fields.text("currency")
    with at(fields.place_of("currency")):
        if text is not None:
            places(text, "currency")
    return text

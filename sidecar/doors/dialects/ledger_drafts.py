"""From bodies and queries of the Ledger dialect to the drafts of the services: each text passes its grammar here."""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from sidecar.core.budget import AMOUNT
from sidecar.core.cards import MCCS_MAX
from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.event_formats import AGENT, USER, LedgerFrequency
from sidecar.core.ids import check_description, check_name
from sidecar.core.metadata import check_metadata
from sidecar.core.money import Major, major_text
from sidecar.core.rules import read_rules
from sidecar.core.windows import Period
from sidecar.doors.dialects import ledger_shapes as shapes
from sidecar.doors.native.drafts import merchant_category
from sidecar.doors.wire.query import one_of
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.card_drafts import CURRENCY_DEFAULT, CardDraft, CardLimit
from sidecar.service.enrolment import OF_THE_NEW, EnrolmentDraft
from sidecar.service.enrolment_changes import EnrolmentPatch, LimitPatch
from sidecar.service.identities import CardDefaultsDraft, IdentityDraft, IdentityPatch
from sidecar.service.policies import PolicyDraft
from sidecar.service.spenders import Roles, Spender, SpenderFilter

T = TypeVar("T")

ROLES: Final = Roles(spender=AGENT, funder=USER)
"""What the dialect calls agents and users are the identities of these types."""

LIMIT_NAME: Final = "Spending limit"
TOKEN_NAME: Final = "agent token"  # noqa: S105 -- a name, no secret
POLICY_NAME: Final = "Ledger agent"
RULES: Final = '{"actions":["card.authorize"]}'
"""What an agent of this vendor may do at all, within its limits: pay by card."""

_QUERY: Final[Mapping[str, str]] = {"externalId": "external_id", "userId": "user_id"}
FILTERS: Final = frozenset({"external_id", "user_id", "status", *_QUERY})
"""The query fields of the list of agents, in both of their spellings."""


def enrolment(body: shapes.AgentBody, *, token_name: str | None) -> EnrolmentDraft:
    """Return the draft of an agent with its limit, its policy and, if one is named, its token."""
    _require_limit(body.spending_limit, "spendingLimit", body.spending_limit_frequency, body.on_limit_exceeded)
    _require_limit(body.default_card_limit, "defaultCardLimit", body.default_card_limit_frequency)
    _require_use_of_currency(body.currency, body.spending_limit, body.default_card_limit)
    currency = _currency(body.currency)
    return EnrolmentDraft(
        identity=IdentityDraft(
            parent_id=body.user_id,
            type=ROLES.spender,
            name=check_name(body.name, "name"),
            external_id=check_name(body.external_id, "externalId") if isinstance(body, shapes.RegisterBody) else None,
            metadata=check_metadata(body.metadata or {}),
            max_cards=body.max_cards,
            description=None if body.description is None else check_description(body.description, "description"),
            card_defaults=_card_defaults(body, currency),
        ),
        parent_type=ROLES.funder,
        limits=() if body.spending_limit is None else (_limit(body, body.spending_limit, currency),),
        policy=PolicyDraft(POLICY_NAME, OF_THE_NEW, read_rules(RULES), RULES, None),
        policy_id=body.default_policy_id,
        token_name=token_name,
    )


def _limit(body: shapes.AgentBody, cents: int, currency: str) -> BudgetDraft:
    return BudgetDraft(
        identity_id=OF_THE_NEW,
        name=LIMIT_NAME,
        dimension=AMOUNT,
        period=_period(body.spending_limit_frequency),
        limit=Major(major_text(cents, currency)),
        limit_field="spendingLimit",
        currency=currency,
        on_exceeded="deny" if body.on_limit_exceeded is None else shapes.ON_EXCEEDED[body.on_limit_exceeded],
    )


def _card_defaults(body: shapes.AgentBody, currency: str) -> CardDefaultsDraft | None:
    cents = body.default_card_limit
    if cents is None:
        return None
    period = _period(body.default_card_limit_frequency)
    return CardDefaultsDraft(Major(major_text(cents, currency)), currency, period, "defaultCardLimit")


def agent_patch(body: shapes.AgentPatchBody) -> EnrolmentPatch:
    """Return what to change of an agent."""
    _require_use_of_currency(_or_none(body.currency), body.spending_limit, body.default_card_limit)
    if body.spending_limit is None:
        frequency, on_exceeded = _or_none(body.spending_limit_frequency), _or_none(body.on_limit_exceeded)
        _require_limit(None, "spendingLimit", frequency, on_exceeded)
    if body.default_card_limit is None:
        _require_limit(None, "defaultCardLimit", _or_none(body.default_card_limit_frequency))
    on_limit = body.on_limit_exceeded
    description, metadata = body.description, body.metadata
    return EnrolmentPatch(
        identity=IdentityPatch(
            name=None if isinstance(body.name, shapes.Unset) else check_name(body.name, "name"),
            metadata=None if isinstance(metadata, shapes.Unset) else check_metadata(metadata or {}),
            status=_or_none(body.status),
            max_cards=body.max_cards,
            description=check_description(description, "description") if isinstance(description, str) else description,
        ),
        spending=LimitPatch(
            field="spendingLimit",
            minor=body.spending_limit,
            period=_period_change(body.spending_limit_frequency),
            currency=_currency_change(body, body.spending_limit),
            on_exceeded=msgspec.UNSET
            if isinstance(on_limit, shapes.Unset)
            else "deny"
            if on_limit is None
            else shapes.ON_EXCEEDED[on_limit],
        ),
        cards=LimitPatch(
            field="defaultCardLimit",
            minor=body.default_card_limit,
            period=_period_change(body.default_card_limit_frequency),
            currency=_currency_change(body, body.default_card_limit),
        ),
        limit_name=LIMIT_NAME,
        limit_period=shapes.PERIOD_DEFAULT,
    )


def token_name(body: shapes.TokenBody) -> str:
    """Return the name of a token to be made."""
    return check_name(body.name, "name")


def card(body: shapes.CardBody, owner: Spender) -> CardDraft:
    """Return the draft of a card of ``owner``, in the currency that it pays in unless the body names one."""
    _require_limit(body.spending_limit, "spendingLimit", body.spending_limit_frequency)
    mccs = body.allowed_mccs
    if mccs is not None and not 1 <= len(mccs) <= MCCS_MAX:
        raise ValidationFailed(f"1 to {MCCS_MAX} merchant categories, or none of the field", field="allowedMccs")
    identity, limit = owner.described.identity, owner.limit
    currency = None if body.currency is None else _currency(body.currency)
    if currency is None and identity.card_defaults is None and limit is not None:
        currency = limit.budget.currency
    limits: tuple[CardLimit, ...] = ()
    if body.spending_limit is not None:
        defaults = identity.card_defaults
        currency = currency or (CURRENCY_DEFAULT if defaults is None else defaults.currency)
        cents = Major(major_text(body.spending_limit, currency))
        limits = (CardLimit(_period(body.spending_limit_frequency), cents, "spendingLimit"),)
    return CardDraft(
        identity_id=identity.identity_id,
        currency=currency,
        further_limits=limits,
        allowed_mccs=tuple(
            dict.fromkeys(merchant_category(mcc, f"allowedMccs[{index}]") for index, mcc in enumerate(mccs or ()))
        ),
        last4=body.last4,
    )


def query_fields(query: Mapping[str, str]) -> dict[str, str]:
    """Return a query with one spelling of each field. Raises ValidationFailed for one that is given in both."""
    found = {_QUERY.get(name, name): value for name, value in query.items()}
    if len(found) != len(query):
        raise ValidationFailed("a query field is given twice")
    return found


def agent_filter(query: Mapping[str, str]) -> SpenderFilter:
    """Return which agents are asked for, of a query as ``query_fields`` returns it."""
    status = one_of(query, "status", tuple(shapes.STATUSES))
    external_id = query.get("external_id")
    return SpenderFilter(
        funder_id=query.get("user_id"),
        external_id=None if external_id is None else check_name(external_id, "externalId"),
        status=None if status is None else shapes.STATUSES[status],
    )


def _require_limit(cents: int | None, field: str, frequency: object, on_exceeded: object = None) -> None:
    """Raise ValidationFailed where something is said of a limit that is not there."""
    if cents is not None:
        return
    if frequency is not None:
        raise ValidationFailed(f"a frequency needs a `{field}`", field=f"{field}Frequency")
    if on_exceeded is not None:
        raise ValidationFailed(f"there is nothing to exceed without a `{field}`", field="onLimitExceeded")


def _require_use_of_currency(currency: str | None, *cents: int | shapes.Unset | None) -> None:
    if currency is not None and not any(isinstance(each, int) for each in cents):
        raise ValidationFailed("a currency needs an amount", field="currency")


def _currency(code: str | None) -> str:
    currency = CURRENCY_DEFAULT if code is None else code
    places(currency, "currency")
    return currency


def _currency_change(body: shapes.AgentPatchBody, cents: int | shapes.Unset | None) -> str | None:
    return _or_none(body.currency) if isinstance(cents, int) else None


def _period(frequency: LedgerFrequency | None) -> Period:
    return shapes.PERIOD_DEFAULT if frequency is None else shapes.PERIODS[frequency]


def _period_change(frequency: LedgerFrequency | shapes.Unset | None) -> Period | shapes.Unset:
    return frequency if isinstance(frequency, shapes.Unset) else _period(frequency)


def _or_none(value: T | shapes.Unset) -> T | None:
    return None if isinstance(value, shapes.Unset) else value

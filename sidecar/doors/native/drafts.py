"""From request bodies to drafts: every text passes its grammar here, every amount becomes minor units."""

from collections.abc import Mapping
from typing import Final, get_args

import msgspec

from sidecar.core.authzen import Authzen, check_names
from sidecar.core.cards import MCCS_MAX, ExternalRef, refuse_number
from sidecar.core.currencies import places
from sidecar.core.directory import Status
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_action, check_caller_id, check_description, check_name, check_type
from sidecar.core.instants import parse_utc
from sidecar.core.limits import METADATA_BYTES_MAX, QUANTITIES_MAX
from sidecar.core.metadata import check_metadata
from sidecar.core.model import AuthorizeRequest, Json, ResourceRef, check_key, check_plain
from sidecar.core.money import Major
from sidecar.core.rates import RateLimit, parse_rate_limit
from sidecar.doors.native import shapes
from sidecar.doors.native.authzen_shapes import AuthzenBody
from sidecar.doors.wire import strict_json
from sidecar.doors.wire.query import one_of
from sidecar.service.budget_changes import NOTIFY_AT_DEFAULT_BP, BudgetDraft, BudgetPatch
from sidecar.service.card_drafts import CardDraft
from sidecar.service.identities import CardDefaultsDraft, IdentityDraft, IdentityPatch
from sidecar.service.policies import PolicyDraft
from sidecar.service.settlement import Wanted
from sidecar.service.subtrees import IdentityFilter
from sidecar.service.tenants import TenantDraft, TenantPatch
from sidecar.service.tokens import TokenDraft, TokenPatch

MERCHANT_CATEGORY_LENGTH: Final = 4
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
_BASIS_PLACES: Final = 4


def tenant(body: shapes.TenantBody) -> TenantDraft:
    """Return the draft of a tenant; a root without a name is named after it."""
    return TenantDraft(
        name=check_name(body.name, "name"),
        tenant_id=_chosen(body.id, "id"),
        time_zone=body.time_zone,
        mode=body.mode,
        root_id=_chosen(body.root.id, "root.id"),
        root_name=check_name(body.name if body.root.name is None else body.root.name, "root.name"),
        root_type=check_type(body.root.type, "root.type"),
        rate_limit=_rate_limit(body.rate_limit),
        external_id=None if body.external_id is None else check_name(body.external_id, "external_id"),
    )


def tenant_patch(body: shapes.TenantPatchBody) -> TenantPatch:
    """Return what to change of a tenant."""
    name = None if body.name is None else check_name(body.name, "name")
    return TenantPatch(name, _rate_limit_change(body.rate_limit), _authzen(body.authzen))


def _authzen(body: AuthzenBody | msgspec.UnsetType | None) -> Authzen | None:
    """Return the settings that are to hold, None where they stay."""
    if isinstance(body, msgspec.UnsetType):
        return None
    if body is None:
        return Authzen()
    return Authzen(
        subject_properties=check_names(body.subject_properties, "authzen.subject_properties"),
        resource_properties=check_names(body.resource_properties, "authzen.resource_properties"),
        item_context=body.item_context,
    )


def identity(body: shapes.IdentityBody) -> IdentityDraft:
    """Return the draft of an identity."""
    return IdentityDraft(
        parent_id=body.parent_id,
        type=check_type(body.type, "type"),
        name=check_name(body.name, "name"),
        identity_id=_chosen(body.id, "id"),
        external_id=None if body.external_id is None else check_name(body.external_id, "external_id"),
        metadata=check_metadata(body.metadata),
        max_cards=body.max_cards,
        description=None if body.description is None else check_description(body.description, "description"),
        card_defaults=None if body.card_defaults is None else _card_defaults(body.card_defaults),
    )


def identity_patch(body: shapes.IdentityPatchBody) -> IdentityPatch:
    """Return what to change of an identity."""
    return IdentityPatch(
        name=None if body.name is None else check_name(body.name, "name"),
        metadata=None if body.metadata is None else check_metadata(body.metadata),
        status=body.status,
        max_cards=body.max_cards,
        description=check_description(body.description, "description")
        if isinstance(body.description, str)
        else body.description,
        card_defaults=_card_defaults(body.card_defaults)
        if isinstance(body.card_defaults, shapes.CardDefaultsBody)
        else body.card_defaults,
    )


def _card_defaults(body: shapes.CardDefaultsBody) -> CardDefaultsDraft:
    return CardDefaultsDraft(body.limit, body.currency, body.period)


def identity_filter(query: Mapping[str, str]) -> IdentityFilter:
    """Return which identities are asked for; what no identity can have is refused, not answered with none."""
    return IdentityFilter(
        parent_id=query.get("parent_id"),
        type=check_type(query["type"], "type") if "type" in query else None,
        external_id=check_name(query["external_id"], "external_id") if "external_id" in query else None,
        status=one_of(query, "status", STATUSES),
    )


def policy(body: shapes.PolicyBody, document: object) -> PolicyDraft:
    """Return the draft of a policy; ``document`` is the decoded body, for keeping the rules as they were written."""
    if (body.rules is None) == (body.cedar is None):
        raise ValidationFailed("a policy has either `rules` or `cedar`", field="rules" if body.cedar else "cedar")
    rules = document.get("rules") if isinstance(document, dict) else None
    return PolicyDraft(
        name=check_name(body.name, "name"),
        identity_id=body.identity_id,
        rules=body.rules,
        document=None if body.rules is None else strict_json.text_of(rules),
        cedar=body.cedar,
    )


def budget(body: shapes.BudgetBody) -> BudgetDraft:
    """Return the draft of a budget."""
    if (body.identity_id is None) == (body.card_id is None):
        field = "identity_id" if body.card_id is None else "card_id"
        raise ValidationFailed("a budget hangs on an identity or on a card, one of them", field=field)
    return BudgetDraft(
        identity_id=body.identity_id,
        card_id=body.card_id,
        name=check_name(body.name, "name"),
        dimension=body.dimension,
        period=body.period,
        limit=body.limit,
        currency=body.currency,
        actions=tuple(check_action(action, f"actions[{index}]") for index, action in enumerate(body.actions)),
        on_exceeded=body.on_exceeded,
        on_expiry=body.on_expiry,
        notify_at_bp=NOTIFY_AT_DEFAULT_BP if body.notify_at is None else _share(body.notify_at),
        account_id=body.account_id,
        follower_id=body.follower_id,
    )


def budget_patch(body: shapes.BudgetPatchBody) -> BudgetPatch:
    """Return what to change of a budget."""
    return BudgetPatch(
        limit=body.limit,
        name=None if body.name is None else check_name(body.name, "name"),
        on_exceeded=body.on_exceeded,
        notify_at_bp=None if body.notify_at is None else _share(body.notify_at),
    )


def _share(value: Major) -> int:
    """Return a share of 0 to 1 in hundredths of a percent."""
    whole, _, fraction = value.text.partition(".")
    figure = int(whole + fraction.ljust(_BASIS_PLACES, "0"))
    if len(fraction) > _BASIS_PLACES or not 0 <= figure <= 10**_BASIS_PLACES:
        raise ValidationFailed(f"a share is 0 to 1 with at most {_BASIS_PLACES} places", field="notify_at")
    return figure


def authorize(body: shapes.AuthorizeBody) -> AuthorizeRequest:
    """Return the request to decide. Raises ValidationFailed naming the place of what does not pass its grammar."""
    resource = body.resource
    if (resource.amount is None) != (resource.currency is None):
        missing = "currency" if resource.currency is None else "amount"
        raise ValidationFailed("an amount and its currency are given together", field=f"resource.{missing}")
    amount_minor = None
    if resource.amount is not None and resource.currency is not None:
        places(resource.currency, "resource.currency")  # names its own field; `minor` would name the amount's
        amount_minor = resource.amount.minor(resource.currency, "resource.amount")
    return AuthorizeRequest(
        identity_id=body.identity_id,
        action=check_action(body.action, "action"),
        resource=ResourceRef(check_type(resource.type, "resource.type"), check_name(resource.id, "resource.id")),
        amount_minor=amount_minor,
        currency=resource.currency,
        merchant_category=None
        if resource.merchant_category is None
        else merchant_category(resource.merchant_category, "resource.merchant_category"),
        quantities=_quantities(resource.quantities) if resource.quantities else {},
        attributes=plain(resource.attributes, "resource.attributes") if resource.attributes else {},
        context=plain(body.context, "context") if body.context else {},
        card_id=body.card_id,
        ttl_seconds=body.reservation_ttl_seconds,
    )


def merchant_category(value: str, field: str) -> str:
    """Return ``value`` when it can be a merchant category; raise ValidationFailed, naming ``field``, otherwise."""
    if not (len(value) == MERCHANT_CATEGORY_LENGTH and value.isascii() and value.isdigit()):
        raise ValidationFailed("a merchant category has four digits (ISO 18245)", field=field)
    return value


def _quantities(quantities: dict[str, Major]) -> dict[str, int]:
    if len(quantities) > QUANTITIES_MAX:
        raise ValidationFailed(f"at most {QUANTITIES_MAX} quantities", field="resource.quantities")
    for name in quantities:
        check_type(name, "resource.quantities")
        if name in {"amount", "count"}:
            raise ValidationFailed(f"`{name}` is no quantity", field=f"resource.quantities.{name}")
    return {name: value.integer(f"resource.quantities.{name}") for name, value in quantities.items()}


def plain(values: dict[str, object], field: str) -> dict[str, Json]:
    """Return what a caller claims as plain data. Raises ValidationFailed naming the place of what is none."""
    return {check_key(key, field): check_plain(value, f"{field}.{key}") for key, value in values.items()}


def metadata(values: dict[str, object]) -> dict[str, Json]:
    """Return metadata of a payment as plain data, without fractions. Raises ValidationFailed for too much of it."""
    data = plain(values, "metadata")
    if len(msgspec.json.encode(data)) > METADATA_BYTES_MAX:
        raise ValidationFailed(f"metadata has at most {METADATA_BYTES_MAX} bytes as JSON", field="metadata")
    return data


def card(body: shapes.CardBody) -> CardDraft:
    """Return the draft of a card. Raises ValidationFailed for anything that could be a card number."""
    mccs = body.allowed_mccs
    if mccs is not None and not 1 <= len(mccs) <= MCCS_MAX:
        raise ValidationFailed(f"1 to {MCCS_MAX} merchant categories, or none of the field", field="allowed_mccs")
    return CardDraft(
        identity_id=body.identity_id,
        currency=body.currency,
        spend_limit_daily=body.spend_limit_daily,
        spend_limit_monthly=body.spend_limit_monthly,
        allowed_mccs=tuple(
            dict.fromkeys(merchant_category(mcc, f"allowed_mccs[{index}]") for index, mcc in enumerate(mccs or ()))
        ),
        external_ref=None if body.external_ref is None else _external_ref(body.external_ref),
        last4=body.last4,
    )


def _external_ref(body: shapes.ExternalRefBody) -> ExternalRef:
    refuse_number(body.id, "external_ref.id")
    return ExternalRef(check_type(body.network, "external_ref.network"), check_caller_id(body.id, "external_ref.id"))


def settlement(body: shapes.SettleBody) -> Wanted:
    """Return what a settlement names."""
    return Wanted(body.amount, body.quantities, body.final)


def token(body: shapes.TokenBody) -> TokenDraft:
    """Return the draft of a token."""
    return TokenDraft(
        name=check_name(body.name, "name"),
        kind=body.kind or ("tenant" if body.identity_id is None else "agent"),
        identity_id=body.identity_id,
        may_release=body.may_release,
        expires_at_us=None if body.expires_at is None else parse_utc(body.expires_at, "expires_at"),
        rate_limit=_rate_limit(body.rate_limit),
    )


def token_patch(body: shapes.TokenPatchBody) -> TokenPatch:
    """Return what to change of a token."""
    name = None if body.name is None else check_name(body.name, "name")
    return TokenPatch(name, _rate_limit_change(body.rate_limit))


def _rate_limit(text: str | None) -> RateLimit | None:
    return None if text is None else parse_rate_limit(text, "rate_limit")


def _rate_limit_change(text: str | msgspec.UnsetType | None) -> RateLimit | msgspec.UnsetType | None:
    return msgspec.UNSET if isinstance(text, msgspec.UnsetType) else _rate_limit(text)


def _chosen(value: str | None, field: str) -> str | None:
    return None if value is None else check_caller_id(value, field)

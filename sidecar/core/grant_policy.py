"""The Cedar policy of a permission grant, as text.

One ``permit`` for payments from the wallet, and one ``forbid … unless`` for each limit of the grant. A ``forbid`` wins
over every ``permit``, so within the wallet no other policy widens what its owner signed. All of them are templates on
the identity that was granted something, so they hold for it and everybody below. The text is made of checked values,
each put in by ``literals``; nothing of it comes from a caller as text.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from sidecar.core.directory import IdentityChain
from sidecar.core.errors import ValidationFailed
from sidecar.core.grants import Grant
from sidecar.core.ids import pascal_case
from sidecar.core.instants import utc_text
from sidecar.core.literals import entity, quote
from sidecar.core.money import major_text
from sidecar.core.question import utc_milliseconds
from sidecar.core.schema import LONG, STRING, CedarType, Extension, Field, SchemaModel

ACTION: Final = "payment.create"
"""The action that grants are about."""

_NEEDED: Final[dict[str, CedarType]] = {
    "amount": LONG,
    "currency": STRING,
    "now": Extension("datetime"),
}
"""What a grant's policy reads of every context, beside the account, which it asks for first."""

_NAMED_MAX: Final = 5
"""Recipients that a sentence names."""


def require_action(schema: SchemaModel) -> None:
    """Raise ValidationFailed where the schema has no payments, or payments that do not say what a grant looks at."""
    action = schema.actions.get(ACTION)
    if action is None or not action.can_be_asked:
        raise ValidationFailed(f"the schema knows no action `{ACTION}`, which grants are about")
    fields = action.context.fields
    fitting = {
        name: name in fields and fields[name] == Field(wanted, required=True) for name, wanted in _NEEDED.items()
    }
    fitting["account_id"] = "account_id" in fields and fields["account_id"].type == STRING
    for name, fits in fitting.items():
        if not fits:
            message = f"the schema's `{ACTION}` does not declare `{name}` in its context as grants need it"
            raise ValidationFailed(message)


def require_recipient(schema: SchemaModel, type_name: str, recipient_id: str, field: str) -> None:
    """Raise ValidationFailed, naming ``field``, for a recipient of a type that payments do not go to."""
    name = pascal_case(type_name)
    if name not in schema.actions[ACTION].resources:
        raise ValidationFailed(f"the schema's `{ACTION}` pays no `{type_name}`", field=f"{field}.type")
    choices = schema.entity_types[name].choices
    if choices is not None and recipient_id not in choices:
        raise ValidationFailed(f"the schema declares no such `{type_name}`", field=f"{field}.id")


def policy_text(grant: Grant, policy_id: str, owners: IdentityChain) -> str:
    """Return the text of policy ``policy_id`` for a grant whose schema passed ``require_action``.

    ``owners`` are the wallet's owner and those above it, as far as they are not above the agent as well, which is
    denied with its own chain: nothing is paid from the wallet while one of them is suspended or revoked.
    The statements are called after the policy as those of compiled rules are: ``pol_…`` and ``pol_…/max_per_tx``.
    """
    return "\n\n".join((_permit(grant, policy_id), *_restrictions(grant, policy_id, owners))) + "\n"


def _permit(grant: Grant, policy_id: str) -> str:
    return _policy(
        policy_id,
        f"grant {grant.grant_id} lets this identity pay from wallet {grant.account_id}",
        None,
        "permit",
        [f"when {{ {_from_wallet(grant)} }}"],
    )


def _restrictions(grant: Grant, policy_id: str, owners: IdentityChain) -> Iterator[str]:
    asset, wallet = grant.asset, f"grant {grant.grant_id} of wallet {grant.account_id}"
    yield _forbid(
        grant,
        f"{policy_id}/asset",
        f"{wallet} is for {asset} only",
        f"pay in {asset}",
        f"context.currency == {quote(asset)}",
    )
    if owners:
        yield _forbid(
            grant,
            f"{policy_id}/owner",
            f"the owner of wallet {grant.account_id} is not active",
            "nothing is paid from this wallet until its owner is active again",
            " && ".join(f'{entity(pascal_case(each.type), each.identity_id)}.status == "active"' for each in owners),
        )
    if grant.max_per_tx is not None:
        most = f"{major_text(grant.max_per_tx, asset)} {asset}"
        yield _forbid(
            grant,
            f"{policy_id}/max_per_tx",
            f"{wallet} allows at most {most} per payment",
            f"pay at most {most}, or ask the wallet's owner for another grant",
            f"context.amount <= {grant.max_per_tx}",
        )
    if grant.recipients:
        allowed = _words([f"{each.type} {each.id}" for each in grant.recipients])
        yield _forbid(
            grant,
            f"{policy_id}/recipients",
            f"{wallet} allows payments to {allowed} only",
            f"pay {allowed}, or ask the wallet's owner for another grant",
            " || ".join(_among(grant)),
        )
    if grant.expires_at_us is not None:
        end = utc_text(grant.expires_at_us)
        yield _forbid(
            grant,
            f"{policy_id}/expires_at",
            f"{wallet} ended at {end}",
            "ask the wallet's owner for another grant",
            f"context.now < datetime({quote(utc_milliseconds(grant.expires_at_us))})",
        )


def _among(grant: Grant) -> Iterator[str]:
    by_type: dict[str, list[str]] = {}
    for each in grant.recipients:
        by_type.setdefault(pascal_case(each.type), []).append(each.id)
    # Asking for the type first lets resources of several types stand in one policy under strict validation.
    for name, ids in by_type.items():
        yield f"(resource is {name} && [{', '.join(entity(name, each) for each in ids)}].contains(resource))"


def _words(names: list[str]) -> str:
    more = len(names) - _NAMED_MAX
    return " or ".join([*names[:_NAMED_MAX], *([f"{more} more"] if more > 0 else [])])


def _forbid(grant: Grant, name: str, description: str, advice: str, unless: str) -> str:
    conditions = [f"when {{ {_from_wallet(grant)} }}", f"unless {{ {unless} }}"]
    return _policy(name, description, advice, "forbid", conditions)


def _from_wallet(grant: Grant) -> str:
    return f"context has account_id && context.account_id == {quote(grant.account_id)}"


def _policy(name: str, description: str, advice: str | None, effect: str, conditions: Iterable[str]) -> str:
    lines = [
        f"@id({quote(name)})",
        f"@description({quote(description)})",
        *([] if advice is None else [f"@advice({quote(advice)})"]),
        f"{effect} (principal in ?principal, action == {entity('Action', ACTION)}, resource)",
        *conditions,
    ]
    return "\n".join(lines) + ";"

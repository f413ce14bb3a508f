"""What a permission grant may be made of, and what must still be so when it is approved."""

import msgspec

from sidecar.core.directory import block_on, walk
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.grant_policy import require_action, require_recipient
from sidecar.core.grants import RECIPIENTS_MAX, Grant
from sidecar.core.ids import check_name, check_type
from sidecar.core.model import ResourceRef
from sidecar.core.money import Major
from sidecar.core.schema import SchemaModel
from sidecar.service.grants_in_force import grant_in_force
from sidecar.service.store import TenantTransaction

_MILLISECOND_US = 1_000


class GrantDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A grant to be made; ``identity_id`` is the agent's, ``account_id`` the wallet, amounts are in major units."""

    identity_id: str
    account_id: str
    max_per_tx: Major | None = None
    daily_cap: Major | None = None
    recipients: tuple[ResourceRef, ...] = ()
    expires_at_us: int | None = None


def drafted(
    part: TenantTransaction, draft: GrantDraft, schema: SchemaModel, grant_id: str, nonce: bytes, now_us: int
) -> Grant:
    """Return the pending grant that a draft describes, of no revision yet.

    Raises NotFound for an unknown identity or account, Conflict where these are not active, ValidationFailed for what
    cannot be.
    """
    require_action(schema)
    account = part.accounts.get(draft.account_id)
    if account is None:
        raise NotFound(f"unknown account `{draft.account_id}`", field="account_id")
    _check_recipients(draft.recipients, schema)
    _check_end(draft.expires_at_us, now_us)
    asset = account.asset
    grant = Grant(
        grant_id=grant_id,
        identity_id=draft.identity_id,
        account_id=account.account_id,
        owner_id=account.identity_id,
        asset=asset,
        max_per_tx=None if draft.max_per_tx is None else draft.max_per_tx.minor(asset, "max_per_tx"),
        daily_cap=None if draft.daily_cap is None else draft.daily_cap.minor(asset, "daily_cap"),
        recipients=draft.recipients,
        expires_at_us=draft.expires_at_us,
        nonce=nonce,
        created_at_us=now_us,
        revision=0,
    )
    _require_alive(part, grant)
    return grant


def require_standing(part: TenantTransaction, grant: Grant, now_us: int) -> None:
    """Raise Conflict for a grant that cannot be approved any more, and for one that another one is in the way of."""
    if grant.status == "revoked":
        raise Conflict(f"grant `{grant.grant_id}` is revoked")
    if grant.has_run_out(now_us):
        raise Conflict(f"grant `{grant.grant_id}` has run out")
    _require_alive(part, grant)
    other = grant_in_force(part, grant.identity_id, grant.account_id, now_us)
    if other is not None and other.grant_id != grant.grant_id:
        # Both policies would hold, so that the agent could do only what either allows: nobody signed that.
        message = f"grant `{other.grant_id}` is in force for this identity and account, revoke it first"
        raise Conflict(message)


def _require_alive(part: TenantTransaction, grant: Grant) -> None:
    account = part.accounts.get(grant.account_id)
    if account is None or account.status == "closed":
        raise Conflict(f"account `{grant.account_id}` is closed")
    for identity_id in (grant.identity_id, grant.owner_id):
        block = block_on(walk(identity_id, part.identities.get))
        if block is not None and block.status == "revoked":
            raise Conflict(f"identity `{block.identity.identity_id}` is revoked")


def _check_recipients(recipients: tuple[ResourceRef, ...], schema: SchemaModel) -> None:
    if len(recipients) > RECIPIENTS_MAX:
        raise ValidationFailed(f"at most {RECIPIENTS_MAX} recipients are expected", field="recipients")
    if len(set(recipients)) != len(recipients):
        raise ValidationFailed("a recipient is given twice", field="recipients")
    for index, each in enumerate(recipients):
        field = f"recipients[{index}]"
        check_name(each.id, f"{field}.id")
        require_recipient(schema, check_type(each.type, f"{field}.type"), each.id, field)


def _check_end(expires_at_us: int | None, now_us: int) -> None:
    if expires_at_us is None:
        return
    if expires_at_us <= now_us:
        raise ValidationFailed("the grant would have run out already", field="expires_at")
    if expires_at_us % _MILLISECOND_US:
        # A policy's times are no finer, and what is signed is what holds.
        raise ValidationFailed("expected at most 3 decimals of a second", field="expires_at")

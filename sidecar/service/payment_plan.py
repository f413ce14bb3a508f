"""What a payment is asked to be: its accounts found, its question put. It reads one state and changes nothing."""

from collections.abc import Iterator
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.accounts import BUILT_IN, Account
from sidecar.core.directory import IdentityChain, block_on, walk
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.forms import Forms
from sidecar.core.limits import RESERVATION_TTL_SECONDS_DEFAULT
from sidecar.core.model import AuthorizeRequest, Json, ResourceRef
from sidecar.core.money import Major
from sidecar.core.payments import fingerprint_of
from sidecar.service.grants_in_force import grant_in_force
from sidecar.service.payment_store import ListOf
from sidecar.service.store import TenantTransaction

ACTION: Final = "payment.create"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a payment, one of both: an account, or an identity, which means its oldest account that fits."""

    account_id: str | None = None
    identity_id: str | None = None


class PaymentDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A payment to be made.

    ``identity_id`` is who pays, the owner of the account paid from unless named. ``network`` may be left out where a
    side names an account. The caller's ``request_id`` names the payment for good: asked for again, it is the same one.
    """

    identity_id: str | None = None
    source: Side
    target: Side
    amount: Major
    currency: str
    network: str | None = None
    request_id: str | None = None
    debug_mode: bool = False
    context: dict[str, Json] = {}
    metadata: dict[str, Json] = {}

    @property
    def fingerprint(self) -> bytes:
        """What stands for exactly this payment, whatever its ``request_id``. Raises ValidationFailed for no amount."""
        minor = self.amount.minor(self.currency, "amount")
        return fingerprint_of(
            [
                *(self.identity_id, self.source, self.target, minor, self.currency, self.network),
                *(self.debug_mode, self.context, self.metadata),
            ]
        )


class Plan(msgspec.Struct, frozen=True):
    """A payment that can be decided. ``payer`` is the chain of who pays, ``sender`` of who owns the source."""

    payer: IdentityChain
    sender: IdentityChain
    receiver: IdentityChain
    source: Account
    target: Account
    request: AuthorizeRequest

    @property
    def lists(self) -> Iterator[tuple[ListOf, str]]:
        """What the payment is listed under."""
        everybody = {identity.identity_id for identity in (*self.payer, *self.sender, *self.receiver)}
        yield from (("within", identity_id) for identity_id in sorted(everybody))
        yield "actor", self.payer[0].identity_id
        yield "sender", self.source.identity_id
        yield "receiver", self.target.identity_id
        yield "account", self.source.account_id
        yield "account", self.target.account_id


def plan(part: TenantTransaction, caller: Caller, draft: PaymentDraft, forms: Forms, now_us: int) -> Plan:
    """Return what ``draft`` asks for.

    Raises ValidationFailed (nothing to pay, to the same account, another asset or network), NotFound (an identity or
    account that is unknown, out of reach, or not to be paid from), Conflict for a closed account.
    """
    minor = draft.amount.minor(draft.currency, "amount")
    if minor == 0:
        raise ValidationFailed("a payment is more than zero", field="amount")
    _require_one(draft.source, "from_account_id", "identity_id")
    _require_one(draft.target, "to_account_id", "receiver_id")
    payer, source = _paid_from(part, caller, draft, now_us)
    target = _paid_to(part, draft, source)
    _require_fit(draft, source, target)
    sender, receiver = (walk(account.identity_id, part.identities.get) for account in (source, target))
    request = AuthorizeRequest(
        identity_id=payer[0].identity_id,
        action=ACTION,
        resource=ResourceRef(receiver[0].type, receiver[0].identity_id),
        amount_minor=minor,
        currency=draft.currency,
        context=_context(draft, source, receiver, forms),
        ttl_seconds=RESERVATION_TTL_SECONDS_DEFAULT,
    )
    return Plan(payer, sender, receiver, source, target, request)


def payer_of(part: TenantTransaction, draft: PaymentDraft) -> str | None:
    """Return who pays: whom the draft names, else the owner of the account paid from; None where there is none."""
    named = draft.identity_id or draft.source.identity_id
    if named is not None:
        return named
    account = part.accounts.get(draft.source.account_id or "")
    return None if account is None else account.identity_id


def _require_one(side: Side, account_field: str, identity_field: str) -> None:
    if (side.account_id is None) == (side.identity_id is None):
        message = f"a payment names `{account_field}` or `{identity_field}`, one of them"
        raise ValidationFailed(message, field=account_field)


def _paid_from(
    part: TenantTransaction, caller: Caller, draft: PaymentDraft, now_us: int
) -> tuple[IdentityChain, Account]:
    """Return the chain of who pays and the account that is paid from, which it must be allowed to pay from."""
    side = draft.source
    named = None if side.account_id is None else part.accounts.get(side.account_id)
    unknown = NotFound(f"unknown account `{side.account_id}`", field="from_account_id")
    if side.account_id is not None and named is None:
        raise unknown
    owner_id = side.identity_id if named is None else named.identity_id
    payer = walk(draft.identity_id or owner_id or "", part.identities.get)
    if named is not None and draft.identity_id is None and not caller.reaches(payer):
        raise unknown
    caller.require_reach(payer)
    network = draft.network or _network_of(part, draft.target)
    account = named or _oldest(part, owner_id or "", draft.currency, network, "identity_id")
    if account.identity_id not in {each.identity_id for each in payer} and not _is_granted(
        part, payer, account.account_id, now_us
    ):
        raise unknown if named is not None else _none(owner_id or "", draft.currency, network, "identity_id")
    return payer, account


def _is_granted(part: TenantTransaction, payer: IdentityChain, account_id: str, now_us: int) -> bool:
    """Whether somebody of the chain of who pays was granted to pay from an account, now."""
    grants = (grant_in_force(part, identity.identity_id, account_id, now_us) for identity in payer)
    # Its policy can be deleted natively, and with it what the wallet's owner signed: it grants nothing then.
    return any(grant is not None and part.policies.get(grant.policy_id or "") is not None for grant in grants)


def _network_of(part: TenantTransaction, side: Side) -> str:
    account = None if side.account_id is None else part.accounts.get(side.account_id)
    return BUILT_IN if account is None else account.network


def _paid_to(part: TenantTransaction, draft: PaymentDraft, source: Account) -> Account:
    side = draft.target
    if side.identity_id is not None:
        return _oldest(part, side.identity_id, draft.currency, source.network, "receiver_id")
    account = part.accounts.get(side.account_id or "")
    if account is None:
        raise NotFound(f"unknown account `{side.account_id}`", field="to_account_id")
    return account


def _oldest(part: TenantTransaction, identity_id: str, asset: str, network: str, field: str) -> Account:
    if part.identities.get(identity_id) is None:
        raise NotFound(f"unknown identity `{identity_id}`", field=field)
    for _, account in part.accounts.owned(identity_id):
        if (account.asset, account.network, account.status) == (asset, network, "active"):
            return account
    raise _none(identity_id, asset, network, field)


def _none(identity_id: str, asset: str, network: str, field: str) -> NotFound:
    return NotFound(f"identity `{identity_id}` has no active account of `{asset}` in network `{network}`", field=field)


def _require_fit(draft: PaymentDraft, source: Account, target: Account) -> None:
    if source.account_id == target.account_id:
        raise ValidationFailed("a payment goes to another account", field="to_account_id")
    for account in (source, target):
        if account.asset != draft.currency:
            message = f"account `{account.account_id}` holds `{account.asset}`, not `{draft.currency}`"
            raise ValidationFailed(message, field="currency")
        if account.network != (draft.network or source.network):
            message = f"account `{account.account_id}` is in network `{account.network}`"
            raise ValidationFailed(message, field="network")
        if account.status == "closed":
            raise Conflict(f"account `{account.account_id}` is closed")


def _context(draft: PaymentDraft, source: Account, receiver: IdentityChain, forms: Forms) -> dict[str, Json]:
    """Return the caller's context with what the accounts say of it, where the action's context declares that.

    Policies see an identity's own status; that of the receiver's chain is told, as who is below a team that was revoked
    is revoked with it.
    """
    block = block_on(receiver)
    told: dict[str, Json] = {
        "account_id": source.account_id,
        "network": source.network,
        "receiver_status": "active" if block is None else block.status,
    }
    for name in told:
        if name in draft.context:
            raise ValidationFailed("the accounts of a payment say this, not its context", field=f"context.{name}")
    form = forms.find(ACTION, receiver[0].type)
    declared = () if isinstance(form, str) else form.own.fields
    return draft.context | {name: value for name, value in told.items() if name in declared}

"""Changes of who was enrolled: an identity and its spending limit in one transaction, and its end with all it acts by.

What an enrolment made is made of native parts, and so each change here is one of theirs, with their records and events.
"""

from typing import TypeAlias

import msgspec

from sidecar.core.access import Caller
from sidecar.core.budget import AMOUNT, Budget, OnExceeded
from sidecar.core.currencies import places
from sidecar.core.directory import CardDefaults, walk
from sidecar.core.errors import ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.money import Major, major_text
from sidecar.core.windows import Period
from sidecar.service.access import part_of
from sidecar.service.budget_changes import BudgetDraft, BudgetPatch, delete_budget, patch_budget
from sidecar.service.budgets import Treasurer
from sidecar.service.card_drafts import CURRENCY_DEFAULT
from sidecar.service.enrolment_end import end_enrolment
from sidecar.service.idempotency import Done, once
from sidecar.service.identities import CardDefaultsDraft, IdentityPatch, patch_identity
from sidecar.service.spenders import Roles, Spender, spender_chain, spender_of, spending_limit
from sidecar.service.store import Store, TenantTransaction, Transaction

Unset: TypeAlias = msgspec.UnsetType


class LimitPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a limit; what is left out stays, and a ``minor`` of None takes the limit away.

    ``minor`` is in minor units of ``currency``, from 0 to ``AMOUNT_MINOR_MAX``; that is the present one unless said.
    ``field`` is what the caller calls the limit.
    """

    field: str
    minor: int | Unset | None = msgspec.UNSET
    period: Period | Unset = msgspec.UNSET
    currency: str | None = None
    on_exceeded: OnExceeded | Unset = msgspec.UNSET

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return self.minor is msgspec.UNSET and self.period is msgspec.UNSET and self.on_exceeded is msgspec.UNSET

    def over(self, present: tuple[int, str, Period] | None, period: Period) -> tuple[int, str, Period]:
        """Return figure, currency and period of the changed limit, of one in ``period`` where there was none.

        Raises ValidationFailed where there is no limit to change, and for an unknown currency.
        """
        minor = self.minor
        if not isinstance(minor, int):
            if present is None:
                raise ValidationFailed(f"there is no `{self.field}` to change", field=self.field)
            minor = present[0]
        currency = self.currency or (CURRENCY_DEFAULT if present is None else present[1])
        places(currency, "currency")
        if isinstance(self.period, str):
            period = self.period
        elif present is not None:
            period = present[2]
        return minor, currency, period


class EnrolmentPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of an identity, of its spending limit, and of the limit that its cards get."""

    identity: IdentityPatch
    spending: LimitPatch
    cards: LimitPatch
    limit_name: str
    limit_period: Period


class Enrolments:
    """Changes and ends enrolments."""

    def __init__(self, store: Store, treasurer: Treasurer, roles: Roles) -> None:
        """Work on ``store``; ``treasurer`` makes budgets, and ``roles`` tells whom an enrolment is of."""
        self._store = store
        self._treasurer = treasurer
        self._roles = roles

    async def change(
        self, caller: Caller, tenant_id: str | None, identity_id: str, patch: EnrolmentPatch, now_us: int
    ) -> Spender:
        """Change an identity, its limit and that of its cards, all or nothing.

        A limit of another period or currency is another budget, which begins to count anew. Raises NotFound, Conflict
        once the identity was revoked, ValidationFailed.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Spender:
            part = part_of(txn, caller, tenant_id, now_us)
            identity = spender_chain(part, caller, identity_id, self._roles)[0]
            defaults = _card_defaults(identity.card_defaults, patch)
            wanted = msgspec.structs.replace(patch.identity, card_defaults=defaults)
            patch_identity(txn, part, identity_id, wanted, caller.name, now_us)
            self._limit(txn, part, identity_id, patch, caller.name, now_us)
            return spender_of(part, walk(identity_id, part.identities.get), self._roles, now_us)

        return await self._store.write(work, apart=True)

    def _limit(
        self, txn: Transaction, part: TenantTransaction, identity_id: str, patch: EnrolmentPatch, by: str, now_us: int
    ) -> None:
        present, wanted = spending_limit(part, identity_id), patch.spending
        if wanted.minor is None:
            if present is not None:
                delete_budget(txn, part, present, by, now_us)
            return
        if wanted.is_empty:
            return
        before = None if present is None else (present.limit, present.currency or "", present.period)
        minor, currency, period = wanted.over(before, patch.limit_period)
        limit = Major(major_text(minor, currency))
        on_exceeded = None if isinstance(wanted.on_exceeded, Unset) else wanted.on_exceeded
        if present is not None and (currency, period) == (present.currency, present.period):
            patch_budget(txn, part, present, BudgetPatch(limit, None, on_exceeded, None), by, now_us)
            return
        draft = BudgetDraft(
            identity_id=identity_id,
            name=patch.limit_name,
            dimension=AMOUNT,
            period=period,
            limit=limit,
            limit_field=wanted.field,
            currency=currency,
            on_exceeded=on_exceeded or "deny",
        )
        if present is not None:
            draft = _replacing(present, draft, on_exceeded)
            delete_budget(txn, part, present, by, now_us)
        self._treasurer.make(txn, part, draft, by, now_us)

    async def end(
        self, caller: Caller, tenant_id: str | None, identity_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[Spender]:
        """Revoke an identity for good, and end its tokens, policies and grants; a second time changes nothing.

        Raises NotFound, Forbidden for the tenant's root, IdempotencyConflict.
        """
        caller.require_administrator()

        def run(txn: Transaction, part: TenantTransaction) -> Spender:
            end_enrolment(txn, part, caller, identity_id, now_us)
            return spender_of(part, walk(identity_id, part.identities.get), self._roles, now_us)

        def work(txn: Transaction) -> Done[Spender]:
            part = part_of(txn, caller, tenant_id, now_us)
            spender_chain(part, caller, identity_id, self._roles)
            return once(part, key, now_us, Spender, lambda: run(txn, part))

        return await self._store.write(work)


def _replacing(present: Budget, draft: BudgetDraft, on_exceeded: OnExceeded | None) -> BudgetDraft:
    """Return ``draft`` with what the budget that it takes the place of had beside its limit."""
    return msgspec.structs.replace(
        draft,
        name=present.name,
        actions=present.actions,
        on_exceeded=on_exceeded or present.on_exceeded,
        on_expiry=present.on_expiry,
        notify_at_bp=present.notify_at_bp,
    )


def _card_defaults(present: CardDefaults | None, patch: EnrolmentPatch) -> CardDefaultsDraft | Unset | None:
    wanted = patch.cards
    if wanted.minor is None:
        return None
    if wanted.is_empty:
        return msgspec.UNSET
    before = None if present is None else (present.limit, present.currency, present.period)
    minor, currency, period = wanted.over(before, patch.limit_period)
    return CardDefaultsDraft(Major(major_text(minor, currency)), currency, period, wanted.field)

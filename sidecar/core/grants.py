"""Permission grants: a wallet's owner lets an agent pay from the wallet, within limits, until told otherwise.

    pending ──the owner's passkey signs it──▶ active ──▶ revoked
      └─────────────────────────────────────────────────▶ revoked

A grant governs nothing by itself: when it becomes active, a policy and budgets like any other are made for it, and they
go with it. One that has run out stays active in name and permits nothing, since its policy says until when.
"""

from typing import Literal

import msgspec

from sidecar.core.model import ResourceRef

GrantStatus = Literal["pending", "active", "revoked"]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What an identity may pay from a wallet, which is an account; amounts are minor units of its asset.

    ``recipients`` empty means anybody. ``challenge`` is what the owner's passkey signs. ``policy_id`` and
    ``budget_ids`` are set once it is active.
    """

    grant_id: str
    identity_id: str
    account_id: str
    owner_id: str
    asset: str
    max_per_tx: int | None = None
    daily_cap: int | None = None
    recipients: tuple[ResourceRef, ...] = ()
    expires_at_us: int | None = None
    status: GrantStatus = "pending"
    challenge: bytes
    policy_id: str | None = None
    budget_ids: tuple[str, ...] = ()
    passkey_id: str | None = None
    created_at_us: int
    approved_at_us: int | None = None
    revoked_at_us: int | None = None
    revision: int

    def has_run_out(self, now_us: int) -> bool:
        """Whether its time is over."""
        return self.expires_at_us is not None and now_us >= self.expires_at_us

"""Permission grants: a wallet's owner lets an agent pay from the wallet, within limits, until told otherwise.

    pending ──the owner's passkey signs it──▶ active ──▶ revoked
      └─────────────────────────────────────────────────▶ revoked

A grant governs nothing by itself: when it becomes active, a policy and budgets like any other are made for it, and they
go with it. One that has run out keeps its status and permits nothing, since its policy says until when; it is shown as
expired. What is signed is a hash of everything that the grant says, so a signature can stand for no other content.
"""

import hashlib
from binascii import b2a_base64
from typing import Final, Literal

import msgspec
import orjson

from sidecar.core.budget import Budget
from sidecar.core.model import ResourceRef

GrantStatus = Literal["pending", "active", "revoked"]
ShownStatus = Literal[GrantStatus, "expired"]

RECIPIENTS_MAX: Final = 100
"""Recipients of one grant: they are read by a human before they are signed, and stand in the policy one by one."""

NONCE_BYTES: Final = 16
"""As many random bytes as WebAuthn asks of a challenge (13.4.3), so that none can be known before."""

FORMAT: Final = "sidecar/grant/v1"
"""What the signed text begins to be read with; another content is another format."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What an identity may pay from a wallet, which is an account; amounts are minor units of its asset.

    ``recipients`` empty means anybody. ``nonce`` makes the challenge new. ``policy_id`` and ``budget_ids`` are set once
    it is active, ``passkey_id`` says what signed it.
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
    nonce: bytes
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

    def shown_status(self, now_us: int) -> ShownStatus:
        """Return what holds at ``now_us``."""
        return "expired" if self.status != "revoked" and self.has_run_out(now_us) else self.status

    @property
    def found_by(self) -> str | None:
        """What an active grant is found by, since an identity has one at a time for a wallet; None for any other."""
        return active_key(self.identity_id, self.account_id) if self.status == "active" else None

    def is_kept_by(self, budget: Budget) -> bool:
        """Whether ``budget``, which was made for one of its limits, refuses all that its owner did not sign."""
        signed = self.max_per_tx if budget.period == "per_transaction" else self.daily_cap
        return budget.is_hard and (signed is None or budget.limit <= signed)


def active_key(identity_id: str, account_id: str) -> str:
    """Return what the active grant of an identity for a wallet is found by."""
    return f"{identity_id}\n{account_id}"


def signed_text(grant: Grant, tenant_id: str) -> bytes:
    """Return what a signature of ``grant`` stands for: canonical JSON of all that the owner agrees to.

    Keys are sorted, amounts are minor units, the time is in microseconds, bytes are base64url without padding.
    """
    said = {
        "format": FORMAT,
        "tenant_id": tenant_id,
        "grant_id": grant.grant_id,
        "identity_id": grant.identity_id,
        "account_id": grant.account_id,
        "owner_id": grant.owner_id,
        "asset": grant.asset,
        "max_per_tx_minor": grant.max_per_tx,
        "daily_cap_minor": grant.daily_cap,
        "recipients": [[each.type, each.id] for each in grant.recipients],
        "expires_at_us": grant.expires_at_us,
        "nonce": url_safe(grant.nonce),
    }
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def challenge(grant: Grant, tenant_id: str) -> bytes:
    """Return what the owner's passkey signs: the SHA-256 of ``signed_text``."""
    return hashlib.sha256(signed_text(grant, tenant_id)).digest()


def url_safe(content: bytes) -> str:
    """Return base64url without padding, as WebAuthn writes bytes in JSON."""
    return b2a_base64(content, newline=False).decode().rstrip("=").translate(_URL_SAFE)


_URL_SAFE: Final = str.maketrans("+/", "-_")

"""Permission grants: made, shown, approved by the wallet's owner and revoked.

A wallet is an account and its owner is the account's identity.
"""

from collections.abc import Callable

import msgspec

from sidecar.core.access import Caller
from sidecar.core.ceremonies import AuthenticationResponse, RelyingParty
from sidecar.core.grants import Grant, ShownStatus
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.model import ResourceRef
from sidecar.core.money import Major
from sidecar.service.budgets import Treasurer
from sidecar.service.idempotency import Done
from sidecar.service.paging import Page, PageRequest
from sidecar.service.policies import Legislator
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, TenantTransaction


class GrantDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A grant to be made; ``identity_id`` is the agent's, ``account_id`` the wallet, amounts are major units."""

    identity_id: str
    account_id: str
    max_per_tx: Major | None = None
    daily_cap: Major | None = None
    recipients: tuple[ResourceRef, ...] = ()
    expires_at_us: int | None = None


class ShownGrant(msgspec.Struct, frozen=True):
    """A grant with its tenant, what holds for it, and the credentials that its owner can sign it with."""

    tenant_id: str
    grant: Grant
    status: ShownStatus
    credential_ids: tuple[bytes, ...]


class GrantFilter(msgspec.Struct, frozen=True):
    """Which grants a list shows; ``status`` is what holds at the time."""

    identity_id: str | None = None
    account_id: str | None = None
    status: ShownStatus | None = None


def of_identity(part: TenantTransaction, identity_id: str) -> tuple[Grant, ...]:
    """Return every grant that an identity was ever given, in order of creation."""
    return tuple(listed.value for listed in part.grants.owned(identity_id))


def counts(part: TenantTransaction, identity_id: str, now_us: int) -> tuple[int, int]:
    """Return how many grants of an identity are active and how many wait for their owner, none that has run out."""
    standing = [grant.shown_status(now_us) for grant in of_identity(part, identity_id)]
    return standing.count("active"), standing.count("pending")


class Grants:
    """Keeps the grants of every tenant."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        treasurer: Treasurer,
        legislator: Legislator,
        party: RelyingParty,
        new_id: Callable[[str, int], str],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Work on ``store``; policies and budgets are made by the services that make them natively."""

    async def create(
        self, caller: Caller, tenant_id: str | None, draft: GrantDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[ShownGrant]:
        """Make a grant that waits for the wallet's owner."""
        raise NotImplementedError

    def get(self, caller: Caller, tenant_id: str | None, grant_id: str, now_us: int) -> ShownGrant:
        """Return a grant. Raises NotFound."""
        raise NotImplementedError

    def listed(
        self, caller: Caller, tenant_id: str | None, wanted: GrantFilter, request: PageRequest, now_us: int
    ) -> Page[ShownGrant]:
        """Return a page of the grants within reach that fit, in order of creation."""
        raise NotImplementedError

    def of_agent(self, caller: Caller, tenant_id: str | None, identity_id: str, now_us: int) -> tuple[ShownGrant, ...]:
        """Return every grant of one identity within reach. Raises NotFound."""
        raise NotImplementedError

    async def approve(
        self,
        caller: Caller,
        tenant_id: str | None,
        grant_id: str,
        credential: AuthenticationResponse,
        key: IdempotencyKey | None,
        now_us: int,
    ) -> Done[ShownGrant]:
        """Make a grant active, once its owner's passkey has signed it."""
        raise NotImplementedError

    async def revoke(
        self, caller: Caller, tenant_id: str | None, grant_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[ShownGrant]:
        """End a grant with its policy and budgets."""
        raise NotImplementedError

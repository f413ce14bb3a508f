"""The answers about permission grants and passkeys as types; see ``answers``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from sidecar.core.grammar import Instant
from sidecar.core.grants import ShownStatus
from sidecar.doors.native.answers import Exact, Revision


class Recipient(TypedDict):
    """Who may be paid."""

    type: str
    id: str


Options = Annotated[
    dict[str, object], Meta(description="as `PublicKeyCredential.parseRequestOptionsFromJSON` takes it")
]


class Grant(TypedDict):
    """What an identity may pay from a wallet.

    ``approval`` is what the owner's browser is asked to sign while the grant waits, null afterwards. Its challenge is
    the SHA-256 of ``signed_text``, which says everything that is agreed to.
    """

    grant_id: str
    tenant_id: str
    identity_id: str
    account_id: str
    owner_id: str
    asset: str
    max_per_tx: Exact | None
    daily_cap: Exact | None
    recipients: Annotated[list[Recipient], Meta(description="none are all")]
    expires_at: Instant | None
    status: ShownStatus
    approval: Options | None
    signed_text: str
    policy_id: str | None
    budget_ids: list[str]
    passkey_id: str | None
    created_at: Instant
    approved_at: Instant | None
    revoked_at: Instant | None
    revision: Revision


class Passkey(TypedDict):
    """A credential of an identity; ``backed_up`` says that it is synced to other devices of its owner."""

    passkey_id: str
    tenant_id: str
    identity_id: str
    name: str
    credential_id: str
    sign_count: int
    backed_up: bool
    created_at: Instant
    revision: Revision


CreationOptions = Annotated[
    dict[str, object], Meta(description="as `PublicKeyCredential.parseCreationOptionsFromJSON` takes it")
]
"""What a browser makes a passkey with."""

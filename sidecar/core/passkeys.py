"""Passkeys: public keys with which the humans behind wallets sign what they allow (WebAuthn Level 3).

Only what verifies a signature is kept, nothing that could make one. https://www.w3.org/TR/webauthn-3/
"""

import msgspec


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A credential of one identity. ``sign_count`` is the authenticator's, 0 for one that does not count."""

    passkey_id: str
    identity_id: str
    name: str
    credential_id: bytes
    public_key: bytes
    sign_count: int
    is_backed_up: bool = False
    created_at_us: int
    revision: int

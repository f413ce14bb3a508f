"""Passkeys: public keys with which the humans behind wallets sign what they allow (WebAuthn Level 3).

Only what verifies a signature is kept, nothing that could make one. https://www.w3.org/TR/webauthn-3/
"""

from typing import Final

import msgspec

PASSKEYS_MAX: Final = 20
"""Passkeys of one identity: all of them are named in what a browser is asked to sign with."""

CHALLENGE_BYTES: Final = 32
"""Random bytes of the challenge for a new passkey; 16 are the least that WebAuthn recommends (13.4.3)."""

CHALLENGE_LIFE_US: Final = 300 * 1_000_000
"""How long such a challenge waits: as long as a browser waits for its human."""


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

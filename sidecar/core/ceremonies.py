"""The two ceremonies of WebAuthn: a passkey is registered, and a passkey signs a challenge.

The only module that knows the library: it makes the options that a browser is given and verifies what comes back, both
functions of their arguments. It is told the challenge and keeps nothing. https://www.w3.org/TR/webauthn-3/
"""

import msgspec


class RelyingParty(msgspec.Struct, frozen=True):
    """Whom passkeys are for: the domain they are bound to, and the origins of the pages that may ask for them."""

    rp_id: str = "localhost"
    origins: tuple[str, ...] = ("http://localhost:8181",)


class AssertionFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an authenticator signed, and the signature; all of it base64url."""

    client_data_json: str = msgspec.field(name="clientDataJSON")
    authenticator_data: str
    signature: str
    user_handle: str | None = None


class AuthenticationResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``AuthenticationResponseJSON``: what ``navigator.credentials.get`` gives; other members are not looked at."""

    id: str
    raw_id: str
    type: str
    response: AssertionFields

"""The two ceremonies of WebAuthn: a passkey is registered, and a passkey signs a challenge.

The only module that knows the library: it makes the options that a browser is given and verifies what comes back, both
functions of their arguments, which is why it may lie in the core. It is told the challenge and keeps nothing. Whatever
is wrong with an answer is one refusal, ``Forbidden``, and never another error: the bytes come from anywhere.
https://www.w3.org/TR/webauthn-3/ (7.1 and 7.2)
"""

import hashlib
from typing import Annotated, Final, TypeAlias, cast

import msgspec
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, options_to_json_dict, parse_client_data_json
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from sidecar.core.errors import Forbidden
from sidecar.core.passkeys import Passkey
from sidecar.core.relying_party import RelyingParty

ALGORITHMS: Final = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
"""What keys may sign with: the three that authenticators in use make, the first the one that they prefer."""

FORMATS: Final = frozenset({"none", "packed"})
"""Attestations that are taken: none is asked for, and a self attestation is left in by browsers (5.1.3 step 21).

The others prove who built an authenticator, by certificates that nobody here trusts or needs."""

TIMEOUT_MS: Final = 300_000
"""How long a browser waits for the human, the time that WebAuthn recommends where the human is verified (15.1)."""

_REASON_LENGTH_MAX: Final = 160

Encoded: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        description="base64url without padding",
        min_length=1,
        max_length=32_768,
        extra_json_schema={"pattern": "^[A-Za-z0-9_=-]+$"},
    ),
]


class AttestationFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an authenticator says of a new passkey."""

    client_data_json: Encoded = msgspec.field(name="clientDataJSON")
    attestation_object: Encoded


class RegistrationResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``RegistrationResponseJSON``, what ``navigator.credentials.create`` gives; other members are not looked at."""

    id: Encoded
    raw_id: Encoded
    type: str
    response: AttestationFields


class AssertionFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an authenticator signed, and the signature."""

    client_data_json: Encoded = msgspec.field(name="clientDataJSON")
    authenticator_data: Encoded
    signature: Encoded
    user_handle: Encoded | None = None


class AuthenticationResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``AuthenticationResponseJSON``: what ``navigator.credentials.get`` gives; other members are not looked at."""

    id: Encoded
    raw_id: Encoded
    type: str
    response: AssertionFields


class Registered(msgspec.Struct, frozen=True):
    """A new passkey that its authenticator has shown to have."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    is_backed_up: bool


class Signed(msgspec.Struct, frozen=True):
    """What a passkey's authenticator says of itself with a signature that holds."""

    sign_count: int
    is_backed_up: bool


def user_handle(tenant_id: str, identity_id: str) -> bytes:
    """Return what authenticators call an identity: 32 bytes that tell nobody who it is."""
    return hashlib.sha256(f"sidecar/user/v1\n{tenant_id}\n{identity_id}".encode()).digest()


def creation_options(
    party: RelyingParty, handle: bytes, name: str, challenge: bytes, present: tuple[bytes, ...]
) -> dict[str, object]:
    """Return ``PublicKeyCredentialCreationOptionsJSON`` for a passkey of an identity that is shown as ``name``.

    An authenticator that has one of the ``present`` credentials makes no second one.
    """
    options = generate_registration_options(
        rp_id=party.rp_id,
        rp_name=party.rp_id,
        user_id=handle,
        user_name=name,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=_described(present),
        supported_pub_key_algs=ALGORITHMS,
    )
    return options_to_json_dict(options)


def request_options(party: RelyingParty, challenge: bytes, allowed: tuple[bytes, ...]) -> dict[str, object]:
    """Return ``PublicKeyCredentialRequestOptionsJSON`` for a signature by one of the ``allowed`` credentials."""
    options = generate_authentication_options(
        rp_id=party.rp_id,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        allow_credentials=_described(allowed),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def _described(credential_ids: tuple[bytes, ...]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=each) for each in credential_ids]


def answered_challenge(credential: RegistrationResponse | AuthenticationResponse) -> bytes:
    """Return the challenge that an answer says it is to, which is no proof of anything. Raises Forbidden."""
    try:
        return parse_client_data_json(base64url_to_bytes(credential.response.client_data_json)).challenge
    except Exception as error:
        raise _refusal(error) from error


def credential_id_of(credential: AuthenticationResponse) -> bytes:
    """Return the id of the credential that an answer says it is by. Raises Forbidden."""
    try:
        return base64url_to_bytes(credential.raw_id)
    except ValueError as error:
        raise _refusal(error) from error


def verify_registration(party: RelyingParty, challenge: bytes, credential: RegistrationResponse) -> Registered:
    """Return the passkey that an answer to ``challenge`` brings, its human verified.

    Raises Forbidden where the answer is to another challenge, from a page of another origin or inside another one's,
    for another domain, without the human, or does not hold together.
    """
    try:
        verified = verify_registration_response(
            credential=cast("dict[str, object]", msgspec.to_builtins(credential)),
            expected_challenge=challenge,
            expected_rp_id=party.rp_id,
            expected_origin=[*party.origins],
            require_user_verification=True,
            supported_pub_key_algs=ALGORITHMS,
        )
        _require_own_page(credential)
        _require(verified.fmt in FORMATS, "an attestation that was not asked for")
    except Forbidden:
        raise
    except Exception as error:
        raise _refusal(error) from error
    return Registered(
        verified.credential_id, verified.credential_public_key, verified.sign_count, verified.credential_backed_up
    )


def verify_signature(
    party: RelyingParty, challenge: bytes, credential: AuthenticationResponse, passkey: Passkey, handle: bytes
) -> Signed:
    """Return what the authenticator of ``passkey`` says, once its signature of ``challenge`` holds, its human verified.

    Raises Forbidden as ``verify_registration``, and where the signature is another key's, the signature count has not
    risen since the last one (a copied authenticator, or a replay), or the answer names another user than ``handle``.
    """
    try:
        verified = verify_authentication_response(
            credential=cast("dict[str, object]", msgspec.to_builtins(credential)),
            expected_challenge=challenge,
            expected_rp_id=party.rp_id,
            expected_origin=[*party.origins],
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
        _require_own_page(credential)
        named = credential.response.user_handle
        _require(named is None or base64url_to_bytes(named) == handle, "another user handle")
        _require(verified.credential_id == passkey.credential_id, "another credential")
    except Forbidden:
        raise
    except Exception as error:
        raise _refusal(error) from error
    return Signed(verified.new_sign_count, verified.credential_backed_up)


def _require_own_page(credential: RegistrationResponse | AuthenticationResponse) -> None:
    """Refuse an answer given inside a frame of somebody else's page, where a click can be stolen."""
    client_data = parse_client_data_json(base64url_to_bytes(credential.response.client_data_json))
    _require(not client_data.cross_origin, "a page inside one of another origin")


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 (a check reads as one)
    if not holds:
        raise Forbidden(f"the passkey's answer is refused: {otherwise}", field="credential")


def _refusal(error: Exception) -> Forbidden:
    """Return the refusal of an answer with the library's own sentence, in which text of the answer may stand."""
    reason = "".join(character if character.isprintable() else "?" for character in str(error))[:_REASON_LENGTH_MAX]
    return Forbidden(f"the passkey's answer is refused: {reason or type(error).__name__}", field="credential")

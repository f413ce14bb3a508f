"""An authenticator and the browser before it, as software: real keys, real CBOR, real signatures (WebAuthn Level 3).

It can be told to do what an honest one does not: skip the human, answer from another page, sign another challenge.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import cbor2
import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from sidecar.core.ceremonies import AuthenticationResponse, RegistrationResponse

PRESENT, VERIFIED, CAN_BE_BACKED_UP, IS_BACKED_UP, HAS_KEY = 0x01, 0x04, 0x08, 0x10, 0x40
ORIGIN = "http://localhost:8181"
COSE_KEY_TYPE, COSE_ALGORITHM, COSE_CURVE, COSE_X, COSE_Y = 1, 3, -1, -2, -3


def encoded(content: bytes) -> str:
    """Bytes as WebAuthn writes them in JSON."""
    return urlsafe_b64encode(content).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The bytes of such a text."""
    return urlsafe_b64decode(text + "==")


class Authenticator:
    """One passkey; ``number`` makes it another one. It counts its signatures unless ``counts`` is false."""

    def __init__(self, number: int = 1, *, counts: bool = True) -> None:
        """Make a key on the curve P-256."""
        self.key = derive_private_key(number + 1, SECP256R1())
        self.credential_id = hashlib.sha256(f"credential {number}".encode()).digest()[:16]
        self.counts = counts
        self.count = 0
        self.handle: bytes | None = None

    def create(self, options: Mapping[str, Any], **changes: Any) -> RegistrationResponse:  # noqa: ANN401
        """Answer ``PublicKeyCredentialCreationOptionsJSON`` as ``navigator.credentials.create`` does."""
        self.handle = decoded(options["user"]["id"])
        rp_id = changes.get("rp_id", options["rp"]["id"])
        flags = changes.get("flags", PRESENT | VERIFIED) | HAS_KEY
        attestation = {
            "fmt": changes.get("fmt", "none"),
            "attStmt": changes.get("statement", {}),
            "authData": self._authenticator_data(rp_id, flags) + self._attested(),
        }
        answer = {
            "id": encoded(self.credential_id),
            "rawId": encoded(self.credential_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": encoded(self._client_data("webauthn.create", options["challenge"], changes)),
                "attestationObject": encoded(cbor2.dumps(attestation)),
                "transports": ["internal"],
            },
            "clientExtensionResults": {},
        }
        return msgspec.convert(answer, RegistrationResponse)

    def get(self, options: Mapping[str, Any], **changes: Any) -> AuthenticationResponse:  # noqa: ANN401
        """Answer ``PublicKeyCredentialRequestOptionsJSON`` as ``navigator.credentials.get`` does."""
        self.count += self.counts
        client_data = self._client_data("webauthn.get", options["challenge"], changes)
        rp_id = changes.get("rp_id", options["rpId"])
        data = self._authenticator_data(rp_id, changes.get("flags", PRESENT | VERIFIED))
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ECDSA(SHA256()))
        handle = changes.get("handle", self.handle)
        answer = {
            "id": encoded(self.credential_id),
            "rawId": encoded(self.credential_id),
            "type": "public-key",
            "response": {
                "clientDataJSON": encoded(client_data),
                "authenticatorData": encoded(data),
                "signature": encoded(signature),
                **({} if handle is None else {"userHandle": encoded(handle)}),
            },
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
        }
        return msgspec.convert(answer, AuthenticationResponse)

    def _authenticator_data(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes((flags,)) + self.count.to_bytes(4)

    def _attested(self) -> bytes:
        public = self.key.public_key().public_numbers()
        key = {
            COSE_KEY_TYPE: 2,
            COSE_ALGORITHM: -7,
            COSE_CURVE: 1,
            COSE_X: public.x.to_bytes(32),
            COSE_Y: public.y.to_bytes(32),
        }
        return bytes(16) + len(self.credential_id).to_bytes(2) + self.credential_id + cbor2.dumps(key)

    def _client_data(self, kind: str, challenge: str, changes: Mapping[str, Any]) -> bytes:
        return orjson.dumps(
            {
                "type": changes.get("type", kind),
                "challenge": changes.get("challenge", challenge),
                "origin": changes.get("origin", ORIGIN),
                "crossOrigin": changes.get("cross_origin", False),
            }
        )


def self_attested(authenticator: Authenticator, options: Mapping[str, Any]) -> RegistrationResponse:
    """Answer with a self attestation, which some browsers leave in though none was asked for."""
    plain = authenticator.create(options)
    attestation = cbor2.loads(decoded(plain.response.attestation_object))
    signed = attestation["authData"] + hashlib.sha256(decoded(plain.response.client_data_json)).digest()
    statement = {"alg": -7, "sig": authenticator.key.sign(signed, ECDSA(SHA256()))}
    return authenticator.create(options, fmt="packed", statement=statement)

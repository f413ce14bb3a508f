"""Examples of the calls about passkeys and permission grants.

What an authenticator answers depends on its key and on the challenge; it stands here as one answered once.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import (
    ACCOUNT_ID,
    AGENT,
    AT,
    BUDGET_ID,
    GRANT_ID,
    HASH,
    PASSKEY_ID,
    POLICY_ID,
    ROOT,
    page,
)
from sidecar.doors.wire.openapi import Example

_CREDENTIAL_ID: Final = "gX0XKgKhviEAq4jJuAI0oQ"
_PASSKEY: Final = {
    "passkey_id": PASSKEY_ID,
    "tenant_id": "acme",
    "identity_id": ROOT,
    "name": "Ann's phone",
    "credential_id": _CREDENTIAL_ID,
    "sign_count": 0,
    "backed_up": False,
    "created_at": AT,
    "revision": 6,
}
_PASSKEY_OPTIONS: Final = {
    "rp": {"id": "localhost", "name": "localhost"},
    "user": {"id": HASH, "name": "Ann", "displayName": "Ann"},
    "challenge": HASH,
    "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in (-7, -8, -257)],
    "timeout": 300_000,
    "excludeCredentials": [],
    "authenticatorSelection": {
        "residentKey": "preferred",
        "requireResidentKey": False,
        "userVerification": "required",
    },
    "attestation": "none",
}
_REGISTRATION: Final = {
    "id": _CREDENTIAL_ID,
    "rawId": _CREDENTIAL_ID,
    "type": "public-key",
    "response": {
        "clientDataJSON": (
            "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoiQndjSEJ3Y0hCd2NIQndjSEJ3Y0hCd2NIQndjSEJ3Y0hCd2NIQndjSEJ3"
            "YyIsIm9yaWdpbiI6Imh0dHA6Ly9sb2NhbGhvc3Q6ODE4MSIsImNyb3NzT3JpZ2luIjpmYWxzZX0"
        ),
        "attestationObject": (
            "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YViUSZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2NFAAAAAAAAAAAAAAAAAAAAAAAA"
            "AAAAEIF9FyoCob4hAKuIybgCNKGlAQIDJiABIVggfPJ7GI0DT36KUjgDBLUaw8CJaeJ38hs1pgtI_EdmmXgiWCAHd1UQ247QQCk9msafdDDb"
            "un2t5jzpgimeBLedInhz0Q"
        ),
    },
}
_SIGNATURE: Final = {
    "id": _CREDENTIAL_ID,
    "rawId": _CREDENTIAL_ID,
    "type": "public-key",
    "response": {
        "clientDataJSON": (
            "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiQ0FnSUNBZ0lDQWdJQ0FnSUNBZ0lDQWdJQ0FnSUNBZ0lDQWdJQ0FnSUNBZyIs"
            "Im9yaWdpbiI6Imh0dHA6Ly9sb2NhbGhvc3Q6ODE4MSIsImNyb3NzT3JpZ2luIjpmYWxzZX0"
        ),
        "authenticatorData": "SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MFAAAAAQ",
        "signature": ("MEQCIFwVnHV_yR_leOCF0WpXSOm6guoaBqJGt0F8jQ7HqS2IAiAHHUvz0T6sdicrJzQx9Et5ErkBSet5L11HAEGHjK0gbw"),
    },
}
_WAITING: Final = {
    "grant_id": GRANT_ID,
    "tenant_id": "acme",
    "identity_id": AGENT,
    "account_id": ACCOUNT_ID,
    "owner_id": ROOT,
    "asset": "CAD",
    "max_per_tx": 25,
    "daily_cap": 100,
    "recipients": [{"type": "account", "id": "supplier-7"}],
    "expires_at": "2026-12-31T00:00:00Z",
    "status": "pending",
    "approval": {
        "challenge": HASH,
        "timeout": 300_000,
        "rpId": "localhost",
        "allowCredentials": [{"id": _CREDENTIAL_ID, "type": "public-key"}],
        "userVerification": "required",
    },
    "signed_text": (
        f'{{"account_id":"{ACCOUNT_ID}","asset":"CAD","daily_cap_minor":10000,"expires_at_us":1798675200000000,'
        f'"format":"sidecar/grant/v1","grant_id":"{GRANT_ID}","identity_id":"{AGENT}","max_per_tx_minor":2500,'
        f'"nonce":"3q2-7wAAAAAAAAAAAAAAAA","owner_id":"{ROOT}","recipients":[["account","supplier-7"]],'
        '"tenant_id":"acme"}'
    ),
    "policy_id": None,
    "budget_ids": [],
    "passkey_id": None,
    "created_at": AT,
    "approved_at": None,
    "revoked_at": None,
    "revision": 7,
}
_ACTIVE: Final = _WAITING | {
    "status": "active",
    "approval": None,
    "policy_id": POLICY_ID,
    "budget_ids": [BUDGET_ID, BUDGET_ID],
    "passkey_id": PASSKEY_ID,
    "approved_at": AT,
}
_ENDED: Final = _WAITING | {"status": "revoked", "approval": None, "revoked_at": AT}
_ONE: Final = "/v1/grants/{grant_id}"

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "POST /v1/passkeys/options": (
            Example("What Ann's browser makes a passkey with", {"identity_id": ROOT}, _PASSKEY_OPTIONS),
        ),
        "POST /v1/passkeys": (
            Example(
                "The passkey that Ann's browser made",
                {"identity_id": ROOT, "name": "Ann's phone", "credential": _REGISTRATION},
                _PASSKEY,
            ),
        ),
        "GET /v1/passkeys": (Example("Ann's passkeys", answer=page(_PASSKEY), query=f"identity_id={ROOT}"),),
        "GET /v1/passkeys/{passkey_id}": (Example("A passkey", answer=_PASSKEY),),
        "POST /v1/grants": (
            Example(
                "Ask Ann to let the agent pay from her wallet",
                {
                    "identity_id": AGENT,
                    "account_id": ACCOUNT_ID,
                    "max_per_tx": 25,
                    "daily_cap": "100.00",
                    "recipients": [{"type": "account", "id": "supplier-7"}],
                    "expires_at": "2026-12-31T00:00:00Z",
                },
                _WAITING,
            ),
        ),
        "GET /v1/grants": (
            Example("The agent's grants that wait", answer=page(_WAITING), query=f"identity_id={AGENT}&status=pending"),
        ),
        f"GET {_ONE}": (Example("A grant that waits for its owner", answer=_WAITING),),
        f"POST {_ONE}/approve": (Example("What Ann's browser signed", {"credential": _SIGNATURE}, _ACTIVE),),
        f"POST {_ONE}/revoke": (Example("End a grant", {}, _ENDED),),
    }
)

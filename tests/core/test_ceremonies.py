"""What a browser is asked for, and which answers hold: each way to forge one is refused, whatever its bytes."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.ceremonies import (
    AttestationFields,
    AuthenticationResponse,
    RegistrationResponse,
    answered_challenge,
    creation_options,
    credential_id_of,
    request_options,
    user_handle,
    verify_registration,
    verify_signature,
)
from sidecar.core.errors import Forbidden
from sidecar.core.passkeys import Passkey
from sidecar.core.relying_party import RelyingParty
from tests.core.authenticator import (
    CAN_BE_BACKED_UP,
    IS_BACKED_UP,
    PRESENT,
    VERIFIED,
    Authenticator,
    decoded,
    encoded,
    self_attested,
)

PARTY = RelyingParty("localhost", ("http://localhost:8181", "http://localhost:9000"))
HANDLE = user_handle("t_one", "ann")
CHALLENGE = bytes(range(32))


def creation(challenge: bytes = CHALLENGE) -> Mapping[str, Any]:
    return creation_options(PARTY, HANDLE, "Ann", challenge, ())


def request(challenge: bytes = CHALLENGE) -> Mapping[str, Any]:
    return request_options(PARTY, challenge, ())


def registered(authenticator: Authenticator) -> Passkey:
    """The passkey of an authenticator as it is kept."""
    found = verify_registration(PARTY, CHALLENGE, authenticator.create(creation()))
    return Passkey(
        passkey_id="pk_1",
        identity_id="ann",
        name="phone",
        credential_id=found.credential_id,
        public_key=found.public_key,
        sign_count=found.sign_count,
        created_at_us=0,
        revision=1,
    )


# --- Options ----------------------------------------------------------------------------------------------------------


def test_creation_options_are_what_browsers_take() -> None:
    assert creation_options(PARTY, HANDLE, "Ann", CHALLENGE, (b"one",)) == {
        "rp": {"id": "localhost", "name": "localhost"},
        "user": {"id": encoded(HANDLE), "name": "Ann", "displayName": "Ann"},
        "challenge": encoded(CHALLENGE),
        "pubKeyCredParams": [{"type": "public-key", "alg": each} for each in (-7, -8, -257)],
        "timeout": 300_000,
        "excludeCredentials": [{"id": encoded(b"one"), "type": "public-key"}],
        "authenticatorSelection": {
            "requireResidentKey": False,
            "residentKey": "preferred",
            "userVerification": "required",
        },
        "attestation": "none",
    }


def test_request_options_are_what_browsers_take() -> None:
    assert request_options(PARTY, CHALLENGE, (b"one",)) == {
        "rpId": "localhost",
        "challenge": encoded(CHALLENGE),
        "timeout": 300_000,
        "allowCredentials": [{"id": encoded(b"one"), "type": "public-key"}],
        "userVerification": "required",
    }


def test_a_user_handle_tells_nobody_who_it_is_and_differs_by_tenant() -> None:
    assert len(HANDLE) == 32
    assert len({HANDLE, user_handle("t_two", "ann"), user_handle("t_one", "bob")}) == 3


# --- Registration -----------------------------------------------------------------------------------------------------


def test_a_genuine_passkey_is_registered() -> None:
    authenticator = Authenticator()
    answer = authenticator.create(creation())
    assert answered_challenge(answer) == CHALLENGE
    found = verify_registration(PARTY, CHALLENGE, answer)
    assert (found.credential_id, found.sign_count, found.is_backed_up) == (authenticator.credential_id, 0, False)


def test_a_page_of_each_origin_may_ask() -> None:
    verify_registration(PARTY, CHALLENGE, Authenticator().create(creation(), origin="http://localhost:9000"))


def test_a_synced_passkey_is_told_from_one_that_stays() -> None:
    flags = PRESENT | VERIFIED | CAN_BE_BACKED_UP | IS_BACKED_UP
    assert verify_registration(PARTY, CHALLENGE, Authenticator().create(creation(), flags=flags)).is_backed_up


def test_a_self_attestation_is_taken() -> None:
    verify_registration(PARTY, CHALLENGE, self_attested(Authenticator(), creation()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"origin": "https://evil.example"}, "origin"),
        ({"cross_origin": True}, "a page inside one of another origin"),
        ({"rp_id": "evil.example"}, "RP ID"),
        ({"flags": PRESENT}, "User verification is required"),
        ({"flags": VERIFIED}, "User presence"),
        ({"flags": PRESENT | VERIFIED | IS_BACKED_UP}, "backed up"),
        ({"challenge": encoded(bytes(32))}, "challenge"),
        ({"type": "webauthn.get"}, "type"),
        ({"fmt": "fido-u2f"}, "refused"),
        ({"fmt": "made-up"}, "refused"),
        ({"fmt": "packed", "statement": {"alg": -7, "sig": b"x"}}, "refused"),
        ({"statement": {"sig": b"x"}}, "None attestation"),
    ],
)
def test_what_a_registration_is_refused_for(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Forbidden, match=reason) as caught:
        verify_registration(PARTY, CHALLENGE, Authenticator().create(creation(), **changes))
    assert caught.value.field == "credential"


def test_an_attestation_by_a_maker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that holds: it was not asked for, and nobody here knows the makers."""
    monkeypatch.setattr("webauthn.registration.verify_registration_response.verify_apple", lambda **_: True)
    with pytest.raises(Forbidden, match="an attestation that was not asked for"):
        verify_registration(PARTY, CHALLENGE, Authenticator().create(creation(), fmt="apple"))


# --- Signatures -------------------------------------------------------------------------------------------------------


def test_a_genuine_signature_holds_and_counts() -> None:
    authenticator = Authenticator()
    passkey = registered(authenticator)
    answer = authenticator.get(request())
    assert credential_id_of(answer) == passkey.credential_id
    assert answered_challenge(answer) == CHALLENGE
    assert verify_signature(PARTY, CHALLENGE, answer, passkey, HANDLE).sign_count == 1


def test_an_authenticator_that_does_not_count_signs_as_often_as_it_likes() -> None:
    authenticator = Authenticator(counts=False)
    passkey = registered(authenticator)
    for _ in range(2):
        assert verify_signature(PARTY, CHALLENGE, authenticator.get(request()), passkey, HANDLE).sign_count == 0


def test_an_answer_need_not_say_who_its_user_is() -> None:
    authenticator = Authenticator()
    passkey = registered(authenticator)
    verify_signature(PARTY, CHALLENGE, authenticator.get(request(), handle=None), passkey, HANDLE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"origin": "https://evil.example"}, "origin"),
        ({"cross_origin": True}, "a page inside one of another origin"),
        ({"rp_id": "evil.example"}, "RP ID"),
        ({"flags": PRESENT}, "User verification is required"),
        ({"flags": VERIFIED}, "not present"),
        ({"challenge": encoded(bytes(32))}, "challenge"),
        ({"type": "webauthn.create"}, "type"),
        ({"handle": user_handle("t_one", "bob")}, "another user handle"),
    ],
)
def test_what_a_signature_is_refused_for(changes: dict[str, Any], reason: str) -> None:
    authenticator = Authenticator()
    passkey = registered(authenticator)
    with pytest.raises(Forbidden, match=reason) as caught:
        verify_signature(PARTY, CHALLENGE, authenticator.get(request(), **changes), passkey, HANDLE)
    assert caught.value.field == "credential"


def test_a_signature_by_another_key_is_refused() -> None:
    passkey = registered(Authenticator(1))
    other = Authenticator(2)
    other.credential_id = passkey.credential_id
    other.handle = HANDLE
    with pytest.raises(Forbidden, match="signature"):
        verify_signature(PARTY, CHALLENGE, other.get(request()), passkey, HANDLE)


def test_a_signature_under_another_credentials_name_is_refused() -> None:
    authenticator = Authenticator()
    passkey = registered(authenticator)
    authenticator.credential_id = b"another"
    with pytest.raises(Forbidden, match="another credential"):
        verify_signature(PARTY, CHALLENGE, authenticator.get(request()), passkey, HANDLE)


def test_a_count_that_does_not_rise_is_refused() -> None:
    """A replay, or one of two authenticators that were copied."""
    authenticator = Authenticator()
    passkey = msgspec.structs.replace(registered(authenticator), sign_count=1)
    answer = authenticator.get(request())
    with pytest.raises(Forbidden, match="sign count of 1 was not greater"):
        verify_signature(PARTY, CHALLENGE, answer, passkey, HANDLE)


def test_client_data_that_was_changed_after_signing_is_refused() -> None:
    authenticator = Authenticator()
    passkey = registered(authenticator)
    answer = authenticator.get(request(bytes(32)))
    changed = decoded(answer.response.client_data_json).replace(
        encoded(bytes(32)).encode(), encoded(CHALLENGE).encode()
    )
    fields = msgspec.structs.replace(answer.response, client_data_json=encoded(changed))
    with pytest.raises(Forbidden, match="signature"):
        verify_signature(PARTY, CHALLENGE, msgspec.structs.replace(answer, response=fields), passkey, HANDLE)


# --- Whatever the bytes -----------------------------------------------------------------------------------------------

TEXTS = st.text(min_size=1, max_size=40) | st.binary(min_size=1, max_size=60).map(encoded)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_any_other_answer_is_one_refusal(name: str, client_data: str, attestation: str, kind: str) -> None:
    fields = AttestationFields(client_data_json=client_data, attestation_object=attestation)
    answer = RegistrationResponse(id=name, raw_id=name, type=kind, response=fields)
    with pytest.raises(Forbidden, match=r"the passkey's answer is refused: .") as caught:
        verify_registration(PARTY, CHALLENGE, answer)
    assert caught.value.message.isprintable()
    with pytest.raises(Forbidden):
        answered_challenge(answer)


@given(st.binary(min_size=1, max_size=200), st.binary(min_size=1, max_size=80))
def test_any_authenticator_data_is_one_refusal(data: bytes, signature: bytes) -> None:
    authenticator = Authenticator()
    passkey = registered(authenticator)
    answer = authenticator.get(request())
    fields = msgspec.structs.replace(answer.response, authenticator_data=encoded(data), signature=encoded(signature))
    forged: AuthenticationResponse = msgspec.structs.replace(answer, response=fields)
    with pytest.raises(Forbidden):
        verify_signature(PARTY, CHALLENGE, forged, passkey, HANDLE)


def test_an_id_that_is_no_base64url_is_a_refusal() -> None:
    answer = msgspec.structs.replace(Authenticator().get(request()), raw_id="é")
    with pytest.raises(Forbidden):
        credential_id_of(answer)

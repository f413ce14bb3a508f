"""Signatures of card networks: only one over these bytes, of this time, by this secret, given once, is one."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from stripe import WebhookSignature

from sidecar.core.card_programs import signing_key
from sidecar.core.errors import Unauthenticated
from sidecar.doors.card_network.signatures import standard_signed, stripe_signed
from tests.doors.door import NOON_US, named
from tests.doors.networks import (
    LITHIC_SECRET,
    NOON,
    STRIPE_SECRET,
    Headers,
    head,
    standard_digest,
    standard_headers,
    stripe_digest,
    stripe_headers,
)

BODY = b'{"id":"evt_1","type":"issuing_authorization.request"}'
STRIPE_KEY, LITHIC_KEY = signing_key("stripe", STRIPE_SECRET), signing_key("lithic", LITHIC_SECRET)


def test_the_published_vectors_hold() -> None:
    known = "a78ff1e19e663aac6bd62d7bf0d3c5f57605fa127f5ace7f75a23a376ed1ba3b"
    signed = stripe_signed(head(("Stripe-Signature", f"t=1700000000,v1={known}")), 1_700_000_000_000_000)
    assert signed.is_by(b"whsec_test_secret", BODY)
    headers = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]
    standard = standard_signed(head(*headers), 1_614_265_330_000_000)
    assert standard.is_by(LITHIC_KEY, b'{"test": 2432232314}')


@given(body=st.text(st.characters(codec="utf-8")), secret=st.text("abc123", min_size=8), at=st.integers(0, 10**11))
def test_what_the_library_of_stripe_signs_is_signed(body: str, secret: str, at: int) -> None:
    header = WebhookSignature.generate_signature_header(body, f"whsec_{secret}", at)
    signed = stripe_signed(head(("stripe-signature", header)), at * 1_000_000)
    assert signed.is_by(signing_key("stripe", f"whsec_{secret}"), body.encode())


@given(body=st.text(st.characters(codec="utf-8")), key=st.binary(min_size=24, max_size=64), at=st.integers(0, 10**10))
def test_what_the_library_of_standard_webhooks_signs_is_signed(body: str, key: bytes, at: int) -> None:
    secret = f"whsec_{base64.b64encode(key).decode()}"
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), body)
    headers = (("webhook-id", "msg_1"), ("webhook-timestamp", str(at)), ("webhook-signature", signature))
    assert standard_signed(head(*headers), at * 1_000_000).is_by(signing_key("lithic", secret), body.encode())


def test_any_of_several_signatures_may_be_the_one_and_other_schemes_are_passed_over() -> None:
    """So it is while a secret is rotated."""
    right, wrong = stripe_digest(BODY), "0" * 64
    for text in (f"v1={wrong},v1={right}", f"v0={wrong},v1={right}", f"v1={right},v2=x", f"v1=x,v1={right}"):
        assert stripe_signed(head(("Stripe-Signature", f"t={NOON},{text}")), NOON_US).is_by(STRIPE_KEY, BODY), text
    right, wrong = f"v1,{standard_digest(BODY)}", f"v1,{'A' * 43}="
    for text in (f"{wrong} {right}", f"v1a,x {right}", f"{right} v2,{'A' * 43}=", f"v1 {right}"):
        headers = [*standard_headers(BODY)[:2], ("webhook-signature", text)]
        assert standard_signed(head(*headers), NOON_US).is_by(LITHIC_KEY, BODY), text


@pytest.mark.parametrize("late", [-300, -299, 0, 299, 300])
def test_a_signature_of_now_is_taken(late: int) -> None:
    assert stripe_signed(head(*stripe_headers(BODY, at=NOON + late)), NOON_US).is_by(STRIPE_KEY, BODY)
    assert standard_signed(head(*standard_headers(BODY, at=NOON + late)), NOON_US).is_by(LITHIC_KEY, BODY)


@pytest.mark.parametrize("late", [-(10**9), -301, 301, 10**9])
def test_a_signature_of_another_time_is_refused(late: int) -> None:
    with pytest.raises(Unauthenticated, match="more than 300 s from now"):
        stripe_signed(head(*stripe_headers(BODY, at=NOON + late)), NOON_US)
    with pytest.raises(Unauthenticated, match="more than 300 s from now"):
        standard_signed(head(*standard_headers(BODY, at=NOON + late)), NOON_US)


@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_a_single_flipped_bit_of_the_body_breaks_it(place: int, bit: int) -> None:
    other = bytearray(BODY)
    other[place] ^= 1 << bit
    assert not stripe_signed(head(*stripe_headers(BODY)), NOON_US).is_by(STRIPE_KEY, bytes(other))
    assert not standard_signed(head(*standard_headers(BODY)), NOON_US).is_by(LITHIC_KEY, bytes(other))


def test_the_secret_the_time_and_the_id_are_signed_too() -> None:
    assert not stripe_signed(head(*stripe_headers(BODY)), NOON_US).is_by(LITHIC_KEY, BODY)
    digest = stripe_digest(BODY)
    assert not stripe_signed(head(("stripe-signature", f"t={NOON + 1},v1={digest}")), NOON_US).is_by(STRIPE_KEY, BODY)
    _, time, signature = standard_headers(BODY)
    other = standard_signed(head(("webhook-id", "msg_2"), time, signature), NOON_US)
    assert not other.is_by(LITHIC_KEY, BODY)


STRIPE = stripe_headers(BODY)[0][1]
BAD_STRIPE: dict[str, tuple[Headers]] = {
    "none": ([],),
    "two": ([("Stripe-Signature", STRIPE), ("Stripe-Signature", STRIPE)],),
    "two spellings": ([("Stripe-Signature", STRIPE), ("STRIPE-SIGNATURE", "t=1")],),
    "empty": ([("Stripe-Signature", "")],),
    "not ASCII": ([("Stripe-Signature", "t=1,v1=é".encode())],),
    "no time": ([("Stripe-Signature", f"v1={'0' * 64}")],),
    "two times": ([("Stripe-Signature", f"t={NOON},{STRIPE!s}")],),
    "a fraction": ([("Stripe-Signature", f"t={NOON}.0,v1={'0' * 64}")],),
    "a sign": ([("Stripe-Signature", f"t=+{NOON},v1={'0' * 64}")],),
    "a space": ([("Stripe-Signature", f"t= {NOON},v1={'0' * 64}")],),
    "other digits": ([("Stripe-Signature", "t=١٧٧٣٠٥٧٦٠٠".encode())],),
    "endless": ([("Stripe-Signature", f"t={'9' * 4_000}")],),
    "too long": ([("Stripe-Signature", f"{STRIPE!s},{'v1=x,' * 1_000}")],),
}


@pytest.mark.parametrize("headers", named(BAD_STRIPE))
def test_a_header_of_stripe_that_says_nothing_or_two_things_is_refused(headers: Headers) -> None:
    with pytest.raises(Unauthenticated):
        stripe_signed(head(*headers), NOON_US)


ID, TIME, SIGNATURE = standard_headers(BODY)
BAD_STANDARD: dict[str, tuple[Headers]] = {
    "none": ([],),
    "no id": ([TIME, SIGNATURE],),
    "no time": ([ID, SIGNATURE],),
    "no signature": ([ID, TIME],),
    "two ids": ([ID, ("webhook-id", "msg_2"), TIME, SIGNATURE],),
    "two times": ([ID, TIME, TIME, SIGNATURE],),
    "two signatures": ([ID, TIME, SIGNATURE, SIGNATURE],),
    "an empty id": ([("webhook-id", ""), TIME, SIGNATURE],),
    "an id with a space": ([("webhook-id", "msg 1"), TIME, SIGNATURE],),
    "a long id": ([("webhook-id", "m" * 256), TIME, SIGNATURE],),
    "a fraction": ([ID, ("webhook-timestamp", f"{NOON}.0"), SIGNATURE],),
    "no number": ([ID, ("webhook-timestamp", "now"), SIGNATURE],),
    "not ASCII": ([ID, TIME, ("webhook-signature", "v1,é".encode())],),
}


@pytest.mark.parametrize("headers", named(BAD_STANDARD))
def test_headers_of_standard_webhooks_that_say_nothing_or_two_things_are_refused(headers: Headers) -> None:
    with pytest.raises(Unauthenticated):
        standard_signed(head(*headers), NOON_US)


@pytest.mark.parametrize(
    "text", ["v1=", "v1=zz", f"v1={'0' * 63}", f"v1={'0' * 65}", "v1", f"V1={'0' * 64}", f"v1={'A' * 64}"]
)
def test_a_text_that_is_no_digest_is_none(text: str) -> None:
    assert stripe_signed(head(("Stripe-Signature", f"t={NOON},{text}")), NOON_US).digests == ()


@pytest.mark.parametrize("text", ["", "v1,", "v1", "v1,AAAA", f"v1,{'A' * 43}", f"v1,{'*' * 43}=", f"v2,{'A' * 43}="])
def test_a_text_that_is_no_digest_of_standard_webhooks_is_none(text: str) -> None:
    assert standard_signed(head(ID, TIME, ("webhook-signature", text)), NOON_US).digests == ()

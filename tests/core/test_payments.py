"""The life of a payment: what each state moves, and what an outcome makes of one that is on its way."""

import msgspec
import pytest

from sidecar.core.accounts import Leg, transit
from sidecar.core.payments import Outcome, Payment, PaymentStatus, beginning, ended, ending, fingerprint_of

PAYMENT = Payment(
    payment_id="pay_1",
    place=7,
    identity_id="ann",
    from_account_id="acct_a",
    to_account_id="acct_b",
    sender_id="ann",
    receiver_id="bob",
    amount_minor=5,
    currency="USDC",
    network="solana",
    status="initiated",
    fingerprint=b"",
    decision_id="dec_1",
    created_at_us=1,
    updated_at_us=1,
    retry_at_us=10,
)
WAY = transit("solana", "USDC")


def as_(status: PaymentStatus, *, debug_mode: bool = False) -> Payment:
    """The payment in a state."""
    return msgspec.structs.replace(PAYMENT, status=status, debug_mode=debug_mode)


def test_a_new_payment_moves_to_the_receiver_or_into_transit_or_nothing() -> None:
    assert beginning(as_("success")) == (Leg("acct_a", -5), Leg("acct_b", 5))
    assert beginning(as_("initiated")) == (Leg("acct_a", -5), Leg(WAY, 5))
    assert beginning(as_("failed")) == ()
    assert beginning(as_("success", debug_mode=True)) == ()


@pytest.mark.parametrize(("status", "to"), [("success", "acct_b"), ("failed", "acct_a"), ("cancelled", "acct_a")])
def test_what_was_in_transit_arrives_or_goes_back(status: PaymentStatus, to: str) -> None:
    assert ending(as_(status)) == (Leg(WAY, -5), Leg(to, 5))


def test_an_outcome_ends_a_payment_with_what_the_rail_said() -> None:
    outcome = Outcome(
        status="success", transaction_hash="0xfeed", transaction_fee_minor=1, challenge="c", risk_level="low"
    )
    done = ended(PAYMENT, outcome, 3, 99)
    assert (done.status, done.transaction_hash, done.transaction_fee_minor) == ("success", "0xfeed", 1)
    assert (done.challenge, done.risk_level, done.updated_at_us, done.retry_at_us) == ("c", "low", 3, None)
    failed = ended(PAYMENT, Outcome(status="failed", error_details="no gas"), 3, 99)
    assert (failed.status, failed.error_details, failed.challenge) == ("failed", "no gas", None)


def test_a_payment_of_which_nothing_is_known_stays_on_its_way() -> None:
    waits = ended(PAYMENT, Outcome(status="pending", challenge="sign it"), 3, 99)
    assert (waits.status, waits.challenge, waits.retry_at_us, waits.updated_at_us) == ("initiated", "sign it", 99, 1)
    assert ended(waits, Outcome(status="pending"), 4, 100).challenge == "sign it"


def test_the_same_content_has_the_same_fingerprint() -> None:
    assert fingerprint_of({"a": 1, "b": [2]}) == fingerprint_of({"b": [2], "a": 1})
    assert fingerprint_of({"a": 1}) != fingerprint_of({"a": 2})

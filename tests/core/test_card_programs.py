"""The secrets of card programs: which texts can be one, what signs, and for how long a replaced one is good."""

from base64 import b64encode

import msgspec
import pytest

from sidecar.core.card_events import CardProgram, Network
from sidecar.core.card_programs import check_secret, is_over, open_secrets, rotated, signing_key, without_former
from sidecar.core.errors import ValidationFailed

PROGRAM = CardProgram(
    program_id="cprg_1", network="stripe", name="ours", secret="whsec_first", created_at_us=1, revision=1
)
VECTOR = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def standard(length: int) -> str:
    """A secret of Standard Webhooks with so many bytes."""
    return f"whsec_{b64encode(bytes(range(length))).decode()}"


@pytest.mark.parametrize(
    ("network", "secret"),
    [
        ("stripe", "whsec_test_secret"),
        ("stripe", VECTOR),
        ("lithic", VECTOR),
        ("lithic", standard(24)),
        ("lithic", standard(64)),
        ("lithic", standard(32)),
        ("lithic", standard(32).rstrip("=")),
    ],
)
def test_a_secret_as_its_network_shows_it_is_taken(network: Network, secret: str) -> None:
    assert check_secret(network, secret) == secret


@pytest.mark.parametrize(
    ("network", "secret"),
    [
        ("stripe", ""),
        ("stripe", "whsec_"),
        ("stripe", "whsec_short"),
        ("stripe", "sk_live_12345678"),
        ("stripe", "whsec_with space in it"),
        ("stripe", "whsec_line\nbreak12"),
        ("stripe", "whsec_ümlaut-1234"),
        ("stripe", f"whsec_{'x' * 251}"),
        ("lithic", ""),
        ("lithic", VECTOR.removeprefix("whsec_")),
        ("lithic", standard(23)),
        ("lithic", standard(65)),
        ("lithic", "whsec_test_secret"),
        ("lithic", f"{VECTOR}A"),
        ("lithic", f"{VECTOR[:20]}-{VECTOR[21:]}"),
        ("lithic", f"{VECTOR}====="),
    ],
)
def test_any_other_text_is_refused_without_being_repeated(network: Network, secret: str) -> None:
    with pytest.raises(ValidationFailed, match=f"a secret of {network}") as caught:
        check_secret(network, secret)
    assert caught.value.field == "secret"
    assert secret.removeprefix("whsec_") == "" or secret.removeprefix("whsec_") not in caught.value.message


def test_stripe_signs_with_the_text_and_standard_webhooks_with_the_bytes_behind_it() -> None:
    assert signing_key("stripe", VECTOR) == VECTOR.encode()
    assert signing_key("lithic", standard(24)) == bytes(range(24))
    assert signing_key("lithic", standard(25).rstrip("=")) == bytes(range(25))


def test_a_replaced_secret_is_good_until_its_grace_time_ends() -> None:
    turned = rotated(PROGRAM, "whsec_second", 60, 1_000_000)
    assert (turned.secret, turned.former_secret, turned.former_until_us) == ("whsec_second", "whsec_first", 61_000_000)
    assert (turned.rotated_at_us, turned.revision) == (1_000_000, 2)
    assert open_secrets(turned, 60_999_999) == ("whsec_second", "whsec_first")
    assert open_secrets(turned, 61_000_000) == ("whsec_second",)
    assert not is_over(turned, 60_999_999)
    assert is_over(turned, 61_000_000)
    assert not is_over(PROGRAM, 61_000_000)
    assert open_secrets(PROGRAM, 0) == ("whsec_first",)


def test_a_second_rotation_ends_the_first_secret_and_none_is_kept_without_a_grace_time() -> None:
    twice = rotated(rotated(PROGRAM, "whsec_second", 60, 1), "whsec_third", 60, 2)
    assert open_secrets(twice, 3) == ("whsec_third", "whsec_second")
    bare = rotated(PROGRAM, "whsec_second", 0, 1)
    assert (bare.former_secret, bare.former_until_us) == (None, None)
    assert without_former(twice) == msgspec.structs.replace(twice, former_secret=None, former_until_us=None)

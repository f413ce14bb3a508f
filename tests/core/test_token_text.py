"""The text of a token: what was minted is read, what was mistyped is not."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.core.access import TokenKind
from sidecar.core.directory import Mode
from sidecar.core.token_text import KEY_BYTES, SECRET_BYTES, TokenText, mint, read

RANDOMNESS = st.binary(min_size=KEY_BYTES + SECRET_BYTES, max_size=KEY_BYTES + SECRET_BYTES)
KINDS: st.SearchStrategy[TokenKind] = st.sampled_from(["tenant", "agent", "follower"])
MODES: st.SearchStrategy[Mode] = st.sampled_from(["live", "test"])
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


@pytest.mark.parametrize(
    ("kind", "mode", "prefix"),
    [
        ("tenant", "live", "sk_live_"),
        ("tenant", "test", "sk_test_"),
        ("agent", "live", "at_live_"),
        ("agent", "test", "at_dev_"),
        ("follower", "live", "fw_"),
        ("follower", "test", "fw_"),
    ],
)
def test_a_token_shows_its_kind_and_mode(kind: TokenKind, mode: Mode, prefix: str) -> None:
    assert mint(kind, mode, bytes(KEY_BYTES + SECRET_BYTES)).text().startswith(prefix)


@given(KINDS, MODES, RANDOMNESS)
def test_what_was_minted_can_be_read(kind: TokenKind, mode: Mode, randomness: bytes) -> None:
    token = mint(kind, mode, randomness)
    assert read(token.text()) == token


@given(RANDOMNESS)
def test_the_secret_keeps_all_of_its_256_bits(randomness: bytes) -> None:
    number = 0
    for digit in mint("agent", "live", randomness).secret:
        number = number * len(DIGITS) + DIGITS.index(digit)
    assert number.to_bytes(SECRET_BYTES) == randomness[KEY_BYTES:]


@given(KINDS, MODES, RANDOMNESS, st.data())
def test_one_wrong_character_is_noticed(kind: TokenKind, mode: Mode, randomness: bytes, data: st.DataObject) -> None:
    text = mint(kind, mode, randomness).text()
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.sampled_from(DIGITS + "_-"))
    assume(wrong != text[place])
    assert read(text[:place] + wrong + text[place + 1 :]) is None


@pytest.mark.parametrize("text", ["", "operator", "sk_live_", "sk_live_AAAAAAAAAA_0_0", "sk_live_KEY_SECRET_CHECK"])
def test_what_is_no_token_is_not_read(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("around", [" {}", "{}\n", "{}_", "x{}"])
def test_a_token_stands_alone(around: str) -> None:
    assert read(around.format(mint("agent", "live", bytes(range(KEY_BYTES + SECRET_BYTES))).text())) is None


def test_what_is_shown_holds_nothing_of_the_secret() -> None:
    token = mint("agent", "live", bytes(range(KEY_BYTES + SECRET_BYTES)))
    assert token.shown == f"at_live_{token.key_id}"
    assert token.secret not in token.shown


@given(RANDOMNESS, RANDOMNESS)
def test_digests_tell_secrets_and_keys_apart(one: bytes, other: bytes) -> None:
    first, second = mint("agent", "live", one), mint("agent", "live", other)
    assert (first.digest() == second.digest()) == (first == second)


def test_the_prefix_is_no_part_of_the_digest_and_the_key_is() -> None:
    """A token is found by its key; the digest must not fit another key's record."""
    token = TokenText("at_live", "AAAAAAAAAA", "s" * 43)
    assert token.digest() != TokenText("at_live", "BAAAAAAAAA", "s" * 43).digest()
    assert len(token.digest()) == 32

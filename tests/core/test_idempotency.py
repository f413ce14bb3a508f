"""A key is one caller's, for one call, with one content."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.idempotency import idempotency_key

WORDS = st.text("ab_/ ", min_size=1, max_size=4)
USES = st.tuples(WORDS, WORDS, WORDS, st.binary(max_size=4))


@given(USES)
def test_the_same_use_is_the_same_key(use: tuple[str, str, str, bytes]) -> None:
    assert idempotency_key(*use) == idempotency_key(*use)


@given(USES, USES)
def test_another_caller_call_or_text_is_another_key(
    one: tuple[str, str, str, bytes], other: tuple[str, str, str, bytes]
) -> None:
    assert (idempotency_key(*one).scope == idempotency_key(*other).scope) == (one[:3] == other[:3])


@given(USES, st.binary(max_size=4))
def test_other_content_has_another_fingerprint_under_the_same_key(
    use: tuple[str, str, str, bytes], content: bytes
) -> None:
    one, other = idempotency_key(*use), idempotency_key(*use[:3], content)
    assert one.scope == other.scope
    assert (one.fingerprint == other.fingerprint) == (use[3] == content)


def test_content_is_kept_as_its_hash_only() -> None:
    assert idempotency_key("tok_1", "settle", "k", b"{}").fingerprint == hashlib.sha256(b"{}").digest()

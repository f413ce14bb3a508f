"""The reader's spelling of an entry: one text for one value, hashed like the writer's by other code."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import audit
from sidecar.core.errors import InvalidJson
from sidecar.core.log_entries import (
    ENTRY_BYTES_MAX,
    INTEGER_MAX,
    digest_of,
    genesis,
    link,
    read_canonical,
    text_of,
)


def test_links_are_the_leaf_hashes_of_rfc_6962() -> None:
    """The known leaf hashes of Certificate Transparency: of nothing, and of one zero byte."""
    assert link(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert link(b"\x00").hex() == "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"


@given(st.binary(max_size=100), st.from_regex("[a-z0-9./-]{1,120}", fullmatch=True))
def test_both_halves_hash_alike(body: bytes, origin: str) -> None:
    """Link, genesis and the spelling of a digest are the writer's, though made by other code."""
    assert link(body) == audit.link_of(body)
    assert genesis(origin) == audit.genesis(origin)
    assert text_of(link(body)) == audit.encode_hash(link(body))
    assert digest_of(text_of(link(body))) == link(body)


@pytest.mark.parametrize("text", [None, 7, "", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 42 + "=", "A" * 42 + "é"])
def test_a_digest_has_one_spelling(text: object) -> None:
    """No second text, padded or with stray low bits, stands for a digest."""
    assert digest_of(text) is None


TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text('\x00\x1f\x7f\u2028\\"/\b\f\n\r\t é')
KEYS = st.from_regex("[a-z0-9_]{1,5}", fullmatch=True)
INTEGERS = st.integers(-INTEGER_MAX, INTEGER_MAX)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_what_the_writer_spells_is_canonical(fields: dict[str, object]) -> None:
    """In the domain of the log, the writer's JSON and the reader's are the same bytes, control characters included."""
    assert read_canonical(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)) == fields


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=6))
def test_no_other_spelling_is_canonical(fields: dict[str, object]) -> None:
    """Spaces, and escapes that are not needed, say the same with other bytes."""
    spaced = json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()
    with pytest.raises(InvalidJson):
        read_canonical(spaced)
    escaped = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    if escaped != orjson.dumps(fields, option=orjson.OPT_SORT_KEYS):
        with pytest.raises(InvalidJson):
            read_canonical(escaped)


NOT_CANONICAL: list[tuple[bytes, str]] = [
    (b"", "the body is not JSON in UTF-8"),
    (b'{"a":1', "the body is not JSON in UTF-8"),
    (b'{"a":1}x', "the body is not JSON in UTF-8"),
    (b'{"a":"\xff"}', "the body is not JSON in UTF-8"),
    (b'{"a":"\xed\xa0\x80"}', "the body is not JSON in UTF-8"),
    (b'\xef\xbb\xbf{"a":1}', "the body is not JSON in UTF-8"),
    (b'{"a":"\x01"}', "the body is not JSON in UTF-8"),
    (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "the body is not JSON in UTF-8"),
    (b"[]", "the body is not a JSON object"),
    (b"7", "the body is not a JSON object"),
    (b' {"a":1}', "the body is not in canonical form"),
    (b'{"a":1}\n', "the body is not in canonical form"),
    (b'{"b":1,"a":1}', "the body is not in canonical form"),
    (b'{"a":{"c":1,"b":1}}', "the body is not in canonical form"),
    (b'{"a":1,"a":1}', "the body is not in canonical form"),
    (b'{"a":-0}', "the body is not in canonical form"),
    (b'{"a":"\\ud800"}', "the body is not in canonical form"),
    (b'{"a":"\\u0041"}', "the body is not in canonical form"),
    (b'{"a":"\\/"}', "the body is not in canonical form"),
    (b'{"\\u0061":1}', "the body is not in canonical form"),
    (b'{"a":1.0}', "the body has a number that is not an integer"),
    (b'{"a":1e2}', "the body has a number that is not an integer"),
    (b'{"a":NaN}', "the body has a number that is not an integer"),
    (b'{"a":-Infinity}', "the body has a number that is not an integer"),
    (b'{"a":9007199254740992}', "the body has an integer beyond 9007199254740991"),
    (b'{"a":-9007199254740992}', "the body has an integer beyond 9007199254740991"),
    (b'{"a":' + b"9" * 5000 + b"}", "the body has an integer beyond 9007199254740991"),
    (b'{"A":1}', "the body has a key that is not of `a-z`, `0-9` and `_`"),
    (b'{"":1}', "the body has a key that is not of `a-z`, `0-9` and `_`"),
    (b'{"a":[{"b c":1}]}', "the body has a key that is not of `a-z`, `0-9` and `_`"),
    ('{"é":1}'.encode(), "the body has a key that is not of `a-z`, `0-9` and `_`"),
]


@pytest.mark.parametrize(("body", "reason"), NOT_CANONICAL)
def test_each_departure_from_canonical_form_has_its_sentence(body: bytes, reason: str) -> None:
    """What the bytes are not is said."""
    with pytest.raises(InvalidJson) as caught:
        read_canonical(body)
    assert caught.value.message == reason


def test_a_body_has_a_limit() -> None:
    """65,535 bytes are a body, one more is none, whatever they say."""
    room = ENTRY_BYTES_MAX - len(b'{"a":""}')
    assert read_canonical(b'{"a":"%s"}' % (b"x" * room))
    with pytest.raises(InvalidJson, match="the body of 65536 bytes is over the limit of 65535"):
        read_canonical(b'{"a":"%s"}' % (b"x" * (room + 1)))

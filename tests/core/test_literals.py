"""String literals: whatever a caller writes comes back as written, and never ends the literal it stands in."""

import cedarpy
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core.literals import entity, quote, unquote

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
@example('"); permit(principal, action, resource); //')
@example("\\u{41}\\")
@example("\0\n\r\t\x1b\u2028\u0085é😀*")
def test_a_quoted_text_is_read_back_as_it_was_by_us_and_by_cedar(text: str) -> None:
    policy = f"permit(principal, action, resource) when {{ {quote(text)} == context }};"
    parsed = orjson.loads(cedarpy.policies_to_json_str(policy))
    assert parsed["staticPolicies"]["policy0"]["conditions"][0]["body"]["=="]["left"] == {"Value": text}
    assert unquote(quote(text)) == text


@given(TEXTS)
def test_a_quoted_text_is_one_printable_line(text: str) -> None:
    assert quote(text).isprintable()


def test_an_entity_is_its_type_and_quoted_id() -> None:
    assert entity("Agent", 'a"b') == 'Agent::"a\\"b"'


def test_every_escape_of_the_language_is_read() -> None:
    assert unquote(r'"\n\r\t\0\\\"\'\x41\u{1F600}"') == "\n\r\t\0\\\"'A😀"


def test_an_unknown_escape_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown escape"):
        unquote(r'"\q"')

"""Ids, actions, types and names: one spelling each, and nothing that a log or a policy could misread."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import (
    DECISION,
    IDENTITY,
    PREFIXES,
    RANDOMNESS_BYTES,
    TENANT,
    check_action,
    check_caller_id,
    check_description,
    check_name,
    check_type,
    id_of,
    new_id,
    pascal_case,
    snake_case,
    ulid_bytes,
)

MOMENTS_US = st.integers(0, 2**48 * 1000 - 1)
RANDOMNESS = st.binary(min_size=RANDOMNESS_BYTES, max_size=RANDOMNESS_BYTES)
TYPES = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True), min_size=1, max_size=7).map("_".join)

CANONICAL = "01JD8Z3W5N0000000000000000"
HEAD = CANONICAL[:-1]


def test_the_prefixes_are_those_of_the_wire_contract_and_of_what_came_later() -> None:
    assert " ".join(PREFIXES) == "t id pol bud dec card tok wh evt acct pay grt pk cprg"


def test_an_id_is_its_prefix_and_a_ulid_of_the_millisecond() -> None:
    made = new_id(DECISION, 1_469_918_176_385_999, bytes(10))
    assert made == "dec_01ARYZ6S410000000000000000"


@given(prefix=st.sampled_from(PREFIXES), now_us=MOMENTS_US, randomness=RANDOMNESS)
def test_an_id_and_its_bytes_name_each_other(prefix: str, now_us: int, randomness: bytes) -> None:
    made = new_id(prefix, now_us, randomness)
    assert ulid_bytes(made, prefix) == (now_us // 1000).to_bytes(6, "big") + randomness
    assert check_caller_id(made, "id") == made


@given(ulid=st.binary(min_size=16, max_size=16))
def test_digits_are_those_of_the_ulid_library(ulid: bytes) -> None:
    """Our own code is faster and must write and read the same."""
    digits = str(ULID.from_bytes(ulid))
    assert id_of(DECISION, ulid) == f"dec_{digits}"
    assert ulid_bytes(f"dec_{digits}", DECISION) == ulid == ULID.from_str(digits).bytes


@given(text=st.text(max_size=30) | st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZILOUabz_+- ", min_size=26, max_size=26))
def test_a_text_is_an_id_where_its_bytes_are_written_as_itself(text: str) -> None:
    found = ulid_bytes(f"dec_{text}", DECISION)
    assert found is None or id_of(DECISION, found) == f"dec_{text}"
    assert (found is not None) == (re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", text) is not None)


@given(earlier_us=MOMENTS_US, later_us=MOMENTS_US, first=RANDOMNESS, second=RANDOMNESS)
def test_ids_sort_by_the_millisecond_then_by_randomness(
    earlier_us: int, later_us: int, first: bytes, second: bytes
) -> None:
    by_text = new_id(TENANT, earlier_us, first) <= new_id(TENANT, later_us, second)
    assert by_text == ((earlier_us // 1000, first) <= (later_us // 1000, second))


@pytest.mark.parametrize("randomness", [b"", bytes(9), bytes(11)])
def test_an_id_needs_ten_random_bytes(randomness: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        new_id(IDENTITY, 0, randomness)


@pytest.mark.parametrize("now_us", [-1, 2**48 * 1000])
def test_an_id_needs_a_time_that_a_ulid_can_hold(now_us: int) -> None:
    with pytest.raises(OverflowError):
        new_id(IDENTITY, now_us, bytes(10))


@pytest.mark.parametrize("digits", [CANONICAL, "0" * 26, "7" + "Z" * 25])
def test_a_canonical_id_has_sixteen_bytes(digits: str) -> None:
    assert ulid_bytes(f"dec_{digits}", "dec") == ULID.from_str(digits).bytes


@pytest.mark.parametrize(
    "text",
    [
        "", "dec", "dec_", CANONICAL, f"id_{CANONICAL}", f"DEC_{CANONICAL}", f" dec_{CANONICAL}", f"dec_{CANONICAL}\n",
        f"dec_{CANONICAL.lower()}", f"dec_{CANONICAL}0", f"dec_{HEAD}", f"dec__{HEAD}", f"dec_8{HEAD}", f"dec_Z{HEAD}",
        f"dec_{HEAD}I", f"dec_{HEAD}L", f"dec_{HEAD}O", f"dec_{HEAD}U", f"dec_{HEAD}-", f"dec_{HEAD}\uff10",
        f"dec_{HEAD}\ud800", f"dec_{HEAD} ", f"dec_0_{HEAD[1:]}", f"dec_+{HEAD}",
    ],
)  # fmt: skip
def test_a_text_that_is_not_canonical_is_no_id(text: str) -> None:
    assert ulid_bytes(text, "dec") is None


def refused(refusal: pytest.ExceptionInfo[ValidationFailed], field: str) -> bool:
    """Say whether the refusal names its field and stays one line, whatever was sent."""
    return refusal.value.field == field and refusal.value.message.isprintable()


@pytest.mark.parametrize("value", ["a", "9", "id_9", "user@example.com", "a:b.c-d_e", "A" * 128])
def test_a_caller_may_choose_such_an_id(value: str) -> None:
    assert check_caller_id(value, "id") == value


@pytest.mark.parametrize(
    "value", ["", "_a", ".a", "@a", "-a", ":a", "a b", "a/b", "a\n", "é", "A" * 129, "a\x00", "\uff19"]
)
def test_a_caller_may_not_choose_such_an_id(value: str) -> None:
    with pytest.raises(ValidationFailed, match="not an id") as refusal:
        check_caller_id(value, "id")
    assert refused(refusal, "id")


@pytest.mark.parametrize("value", ["a", "card.authorize", "/v1/x", "-", "A_b:c/d.e", "a" * 128])
def test_an_action_has_such_a_name(value: str) -> None:
    assert check_action(value, "action") == value


@pytest.mark.parametrize("value", ["", "a b", "a@b", 'a"b', "a\n", "é", "a" * 129])
def test_an_action_has_no_such_name(value: str) -> None:
    with pytest.raises(ValidationFailed, match="not an action") as refusal:
        check_action(value, "action")
    assert refused(refusal, "action")


@pytest.mark.parametrize("value", ["a", "agent", "virtual_card", "a1_b2_c3", "a" * 64, "a_" * 31 + "bc"])
def test_a_type_is_lower_case_words(value: str) -> None:
    assert check_type(value, "resource.type") == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Agent",
        "1a",
        "_a",
        "a_",
        "a__b",
        "a_1",
        "a-b",
        "a b",
        "a\n",
        "ä",
        "a" * 65,
        "a_" * 32 + "b",
        "a" * 64 + "\n",
    ],
)
def test_a_type_is_nothing_else(value: str) -> None:
    with pytest.raises(ValidationFailed, match="not a type") as refusal:
        check_type(value, "resource.type")
    assert refused(refusal, "resource.type")


@pytest.mark.parametrize("value", ["a", " ", "Café Zürich", "买办", "👩‍💻", "\u202e", "x" * 512, "😀" * 512])
def test_a_name_may_be_any_text_without_control_characters(value: str) -> None:
    assert check_name(value, "name") == value


@pytest.mark.parametrize(
    "value", ["", "x" * 513, "a\nb", "a\x00", "\x7f", "\x85", "\u2028", "\u2029", "\ud800", "a\udfff"]
)
def test_a_name_holds_no_control_character_line_break_or_half_character(value: str) -> None:
    with pytest.raises(ValidationFailed, match="not a name") as refusal:
        check_name(value, "name")
    assert refused(refusal, "name")


@pytest.mark.parametrize("value", ["", "a", "One\n\ttwo\r\n", "a\u2028b", "x" * 2048])
def test_a_description_may_be_empty_and_have_lines(value: str) -> None:
    assert check_description(value, "description") == value


@pytest.mark.parametrize("value", ["x" * 2049, "a\x00", "\x0b", "\x1b[0m", "\x85", "\udfff"])
def test_a_description_holds_no_other_control_character(value: str) -> None:
    with pytest.raises(ValidationFailed, match="not a description") as refusal:
        check_description(value, "description")
    assert refused(refusal, "description")


def test_the_characters_refused_in_a_name_are_four_unicode_categories() -> None:
    every = "".join(map(chr, range(0x110000)))
    closed = [character for character in every if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}]
    allowed = every.translate(dict.fromkeys(map(ord, closed)))
    for start in range(0, len(allowed), 512):
        check_name(allowed[start : start + 512], "name")
    for character in closed:
        with pytest.raises(ValidationFailed):
            check_name(character, "name")


@pytest.mark.parametrize(
    ("type_name", "pascal"),
    [("agent", "Agent"), ("virtual_card", "VirtualCard"), ("a1_b", "A1B"), ("a_p_i_key", "APIKey")],
)
def test_a_type_becomes_pascal_case_word_by_word_and_back(type_name: str, pascal: str) -> None:
    assert pascal_case(type_name) == pascal
    assert snake_case(pascal) == type_name


@given(TYPES)
def test_no_type_is_lost_on_the_way_to_cedar_and_back(type_name: str) -> None:
    assert check_type(type_name, "type") == type_name
    assert snake_case(pascal_case(type_name)) == type_name


@given(st.one_of(st.text(max_size=10), st.from_regex(r"([A-Z][a-z0-9]{0,4}){1,5}", fullmatch=True)))
def test_what_has_a_wire_type_is_the_cedar_type_of_it(pascal: str) -> None:
    type_name = snake_case(pascal)
    if type_name is not None:
        assert pascal_case(check_type(type_name, "type")) == pascal


@pytest.mark.parametrize(
    "pascal", ["", "agent", "Virtual_Card", "Ns::Agent", "1A", "Agent\n", "Ä", "A" * 33, "A" + "b" * 64]
)
def test_a_cedar_type_that_no_wire_type_maps_to_has_none(pascal: str) -> None:
    assert snake_case(pascal) is None

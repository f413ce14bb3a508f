"""An id is read off a text only where Cedar would read the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.errors import PolicyInvalid
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_ids import ID_LENGTH_MAX, is_id, numbered_id, plain_ids
from sidecar.core.policy_text import split
from tests.core.builders import SCHEMA

PERMIT = "permit (principal, action, resource);"
HEADS = [
    "@id",
    "@note",
    "@ id",
    "(",
    '("',
    '"',
    '")',
    "a b",
    r"\u{61}",
    "\\",
    "@id(",
    " ",
    "\n",
    "// c\n",
    '("x")',
    "permit",
    ",",
]


def ids_of(text: str) -> tuple[str, ...] | None:
    """The ids that are read off ``text``."""
    return plain_ids(split(text, "d/f.cedar"), "d/f.cedar")


@settings(deadline=None)  # schemas are compiled
@given(st.lists(st.sampled_from(HEADS), max_size=8).map("".join))
def test_what_is_read_off_is_what_cedar_reads(head: str) -> None:
    """Or nothing is: then Cedar is asked."""
    text = f"{PERMIT}\n{head} {PERMIT}"
    try:
        units = compile_statements(text, "d/f.cedar", SCHEMA, shared=False)
    except PolicyInvalid:
        return
    assert ids_of(text) in {None, tuple(unit.id for unit in units)}


def test_plain_annotations_are_read() -> None:
    text = f'@description("see @id(x")\n@id ( "a b" )\n@note("x"){PERMIT} forbid (principal, action, resource);'
    assert ids_of(text) == ("a b", "f.cedar#2")


@pytest.mark.parametrize("head", ['@id("\\u{61}")', "@id", '@id("") ', '@id("a`b")', '// c\n@id("a") // d\n', "x"])
def test_other_ids_are_left_to_cedar(head: str) -> None:
    assert ids_of(f"{head} {PERMIT}") is None


def test_an_id_is_printable_and_short() -> None:
    assert is_id("x" * ID_LENGTH_MAX)
    assert not any(is_id(wrong) for wrong in ("", "x" * (ID_LENGTH_MAX + 1), "a`b", "a\nb"))
    assert numbered_id("policies/t_1/a.cedar", 3) == "a.cedar#3"

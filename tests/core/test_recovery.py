"""A break in a text takes only its own policy along."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.findings import Source
from sidecar.core.policy_text import split
from sidecar.core.recovery import BREAKS_MAX, recovered

GOOD = "permit (principal, action, resource);"
OPEN = "permit (principal, action, resource) when { (true };"
STRING = 'permit (principal, action, resource) when { "x };'


@pytest.mark.parametrize("broken", [OPEN, STRING, "permit (principal ;", ")", "permit (principal]);"])
def test_policies_around_a_break_are_read(broken: str) -> None:
    """Those before and behind it keep their places; the break has one finding."""
    text = f'// a\n@id("x")\n  {GOOD} // a;\n{broken}\n;\n\n// b\n{GOOD}\n'
    statements, findings = recovered(Source("f.cedar", text))
    good = [each for each in statements if each.text.endswith(GOOD)]
    assert [(each.line, each.column) for each in good] == [(2, 1), (8, 1)]
    assert [text[each.offset :].startswith(each.text) for each in statements] == [True] * len(statements)
    assert [each.line for each in findings] == [4]


def test_every_break_is_told_up_to_a_limit() -> None:
    """Each is read past once."""
    text = f"{OPEN}\n{GOOD}\n" * (BREAKS_MAX + 5)
    statements, findings = recovered(Source("f.cedar", text))
    assert len(findings) == BREAKS_MAX
    assert len(statements) == BREAKS_MAX - 1


def test_nothing_is_read_behind_a_break_where_no_policy_begins() -> None:
    """What looks like a beginning within a broken text is taken for none where no end of a policy precedes it."""
    text = f'{GOOD} permit (principal, action, resource) when {{ "\n\npermit" == (1 }}; {GOOD}'
    statements, findings = recovered(Source("f.cedar", text))
    assert [each.text for each in statements] == [GOOD]
    assert len(findings) == 1


@given(st.lists(st.sampled_from([GOOD, "\n", " ", "// x;\n", '@id("a")\n'])).map("".join))
def test_a_whole_text_is_read_as_always(text: str) -> None:
    """Without a break nothing differs from what the server reads."""
    statements, findings = recovered(Source("f.cedar", text))
    assert (tuple(statements), findings) == (split(text, "f.cedar"), [])

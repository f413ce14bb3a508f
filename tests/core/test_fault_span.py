"""A complaint is placed at the piece of a policy with which it first appears, and at the name that it quotes."""

import pytest

from sidecar.core.fault_span import entity_span, fault_span, first_section, head_span, sections
from sidecar.core.policy import validation_errors
from tests.core.builders import SCHEMA

HEAD = 'permit (principal is Agent, action == Action::"card.authorize", resource is Merchant)'


def misfit(text: str) -> tuple[str, str]:
    """The part and the name that the validator's first complaint about `text` is about."""
    message = validation_errors(text, SCHEMA)[0][1]
    section, span = fault_span(text, message, lambda cut: (0, message) in validation_errors(cut, SCHEMA))
    return text[slice(*section)], text[slice(*span)]


@pytest.mark.parametrize(
    ("text", "part", "name"),
    [
        (f'{HEAD} when {{ context.amount > 1 && context.purpose == "x" }};', 'context.purpose == "x"', "purpose"),
        (f'{HEAD} when {{ context has purpose || true }} unless {{ false || context.purpose == "b" }};',
         'false || context.purpose == "b"', "purpose"),
        (f"{HEAD} when {{ context has quantities && context.quantities.tokens > 1 }};",
         "context.quantities.tokens > 1", "quantities.tokens"),
        (f'{HEAD} when {{ context has purpose || context["purpose"] == "b" }};',
         'context has purpose || context["purpose"] == "b"', '"purpose"'),
        (f'@id("a") @a("3") {HEAD} when {{ principal.getTag("a") == "b" }};', 'principal.getTag("a") == "b"', '"a"'),
        (f'{HEAD} when {{ true }} when {{ context.amount == "1" }};', 'context.amount == "1"', 'context.amount == "1"'),
        ('permit (principal, action == Action::"fly", resource);',
         'permit (principal, action == Action::"fly", resource)', 'Action::"fly"'),
    ],
)  # fmt: skip
def test_a_complaint_is_placed_where_it_first_appears(text: str, part: str, name: str) -> None:
    """What is guarded before is not taken for what is not, and annotations are not taken for attributes."""
    assert misfit(text) == (part, name)


def test_a_name_that_is_written_otherwise_is_meant_by_its_whole_piece() -> None:
    """An escaped text is not found again; the piece is."""
    text = f'{HEAD} when {{ context["\\u{{70}}urpose"] == "x" }};'
    assert misfit(text) == ('context["\\u{70}urpose"] == "x"',) * 2


def test_the_head_is_effect_and_scope() -> None:
    """Annotations stand before it; a bracket in the scope does not end it; one that does not end reaches to the end."""
    text = f'@id("a(")\n{HEAD} when {{ true }};'
    assert text[slice(*head_span(text))] == HEAD
    assert head_span("permit (principal") == (0, 17)
    assert [cut for _, cut in sections(text)] == [f'@id("a(")\n{HEAD};', f'@id("a(")\n{HEAD} when {{ true }};']


def test_the_last_section_is_meant_where_none_complains() -> None:
    """There is always a place."""
    text = f"{HEAD} when {{ true && false }};"
    assert text[slice(*first_section(text, lambda _: False))] == "false"


def test_an_entity_is_found_in_the_conditions() -> None:
    """The scope may name it too; where the conditions write it otherwise, the head is meant."""
    text = 'permit (principal == User::"ann", action, resource) when { User::"ann".name == "x" };'
    begin, _ = entity_span(text, 'User::"ann"')
    assert text[begin:].startswith('User::"ann".name')
    assert entity_span(text, 'User::"bob"') == head_span(text)

"""What compiles, what compiled policies tell of themselves, and how refusals are placed."""

import pytest

from sidecar.core.errors import PolicyInvalid
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_ids import ID_LENGTH_MAX
from sidecar.core.policy_unit import PolicyUnit
from tests.core.builders import SCHEMA


def units(text: str) -> tuple[PolicyUnit, ...]:
    """The policies of a file that holds for every tenant."""
    return compile_statements(text, "policies/f.cedar", SCHEMA, shared=True)


def refused(text: str) -> PolicyInvalid:
    """The refusal of a policy file."""
    with pytest.raises(PolicyInvalid) as caught:
        units(text)
    return caught.value


def test_a_policy_carries_what_answers_tell_of_it() -> None:
    text = """
@id("deny/late") @description("no calls") @advice("wait")
forbid(principal, action == Action::"tool.call", resource);
  permit(principal in ?principal, action, resource);
"""
    forbid, permit = units(text)
    assert (forbid.id, forbid.effect, forbid.source) == ("deny/late", "forbid", "policies/f.cedar:2")
    assert (forbid.description, forbid.advice, forbid.slots) == ("no calls", "wait", ())
    assert forbid.text.startswith("@id(")
    assert forbid.text.endswith(";")
    assert (permit.id, permit.effect, permit.source) == ("f.cedar#2", "permit", "policies/f.cedar:4")
    assert (permit.description, permit.advice, permit.slots) == (None, None, ("?principal",))
    assert (permit.policy_id, permit.rule, permit.requirement) == (None, None, None)


def test_a_file_without_policies_compiles_to_none() -> None:
    assert units("// nothing here\n") == ()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("permit(principal, action, resource)", "1:36: unexpected end of input"),
        (
            "permit(principal, action, resource);\npermit(principal action, resource);",
            "2:18: unexpected token `action`",
        ),
        ("permit(principal, action, resource)\nwhen { 1 +* 2 };", "2:11: unexpected token `*`"),
        ("permit(principle, action, resource);", "1:8: found an invalid variable"),
        ("permit(principal, action, resource)\n  unles { true };", "2:3: invalid policy condition: unles"),
        ("permit(principal, action, resource) when { '' };", "1:44: invalid token"),
        ("permit(principal, action, resource) when { f(1) };", "1:44: `f` is not a valid function"),
        ("permit(principal, action, resource);\n\n permit(principal, action, resource) when { principal.age };", "3:"),
        ('permit(principal, action == Action::"no", resource);', "1:1: unrecognized action"),
        (
            'permit(principal, action, resource) when { context.purpose == "" };',
            "1:52: unable to guarantee safety of access to optional attribute `purpose`",
        ),
        (
            'permit(principal, action, resource) when { principal.name == "é" && principal.age == 1 };',
            "1:79: attribute `age`",
        ),
    ],
)
def test_a_policy_that_is_refused_names_file_line_and_column(text: str, at: str) -> None:
    assert str(refused(text)).startswith(f"policies/f.cedar:{at}")


def test_limits_come_before_the_parser() -> None:
    assert "nest deeper" in refused(f"permit(principal, action, resource) when {{ {'(' * 1000} }};").message


@pytest.mark.parametrize("wrong", ['""', f'"{"x" * (ID_LENGTH_MAX + 1)}"', r'"a\nb"', '"a`b"', r'"\u{200b}"', None])
def test_an_id_is_a_printable_word(wrong: str | None) -> None:
    annotation = "@id" if wrong is None else f"@id({wrong})"
    assert "`@id` must be 1 to 200 printable" in refused(f"{annotation} permit(principal, action, resource);").message


def test_a_policy_for_all_tenants_reads_no_entity_it_names() -> None:
    text = 'permit(principal, action, resource);\nforbid(principal, action, resource) when { User::"x".name == "" };'
    assert str(refused(text)).startswith('policies/f.cedar:2:1: reads attributes of `User::"x"`')
    (_, forbid) = compile_statements(text, "f", SCHEMA, shared=False)
    assert forbid.effect == "forbid"

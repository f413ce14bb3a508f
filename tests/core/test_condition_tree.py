"""A clause is cut into what can be true or false by itself, as deep as `&&`, `||` and mere grouping go."""

import pytest

from sidecar.core.condition_tree import Part, clauses, parts

Shape = str | tuple[object, ...]


def shape(part: Part) -> Shape:
    """A piece as nested operands behind their operator, a single one as its text."""
    return part.text if part.joint is None else (part.joint, *(shape(operand) for operand in part.operands))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a", "a"),
        ("a && b && c", ("&&", "a", "b", "c")),
        ("a || b && c", ("||", "a", ("&&", "b", "c"))),
        ("(a || b) && c", ("&&", ("||", "a", "b"), "c")),
        ("((a && b))", ("&&", "a", "b")),
        ("(a) && (b)", ("&&", "(a)", "(b)")),
        ("!(a && b) || c", ("||", "!(a && b)", "c")),
        ("if a && b then c || d else e", "if a && b then c || d else e"),
        ("[a && b].contains(c)", "[a && b].contains(c)"),
        ('a == "x && y" && b', ("&&", 'a == "x && y"', "b")),
        ('a == "(" || b', ("||", 'a == "("', "b")),
        ("{x: a && b}.x && c", ("&&", "{x: a && b}.x", "c")),
    ],
)
def test_a_clause_is_cut_at_the_operator_that_binds_most_loosely(body: str, expected: Shape) -> None:
    (clause,) = clauses(f"permit(principal, action, resource) when {{ {body} }};")
    assert shape(clause.whole) == expected


def test_clauses_keep_their_kind_their_order_and_one_count_of_pieces() -> None:
    """Numbers run through the whole policy, and each piece knows where its text begins."""
    text = "permit(principal, action, resource) unless { a && b } when { c };"
    found = clauses(text)
    assert [clause.kind for clause in found] == ["unless", "when"]
    pieces = [part for clause in found for part in parts(clause.whole)]
    assert [part.number for part in pieces] == [0, 1, 2, 3]
    assert all(text[part.offset :].startswith(part.text) for part in pieces)


def test_a_policy_without_conditions_has_none() -> None:
    assert clauses("permit(principal, action, resource);") == ()

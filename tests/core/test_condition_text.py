"""A policy's text is cut into conditions that mean alone what they mean in the whole."""

import pytest

from sidecar.core.condition_text import Condition, Path, conditions, literals, paths


def cut(text: str) -> list[tuple[int, str, str]]:
    """Clause, kind and text of each piece of a policy with that tail."""
    found = conditions(f'@id("when {{ a && b }}") @x permit(principal, action in [Action::"a"], resource) {text};')
    return [(piece.clause, piece.kind, piece.text) for piece in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("when { a }", [(0, "when", "a")]),
        ("when { a && b == 1 }", [(0, "when", "a"), (0, "when", "b == 1")]),
        ("unless { a && b } when { c }", [(0, "unless", "a"), (0, "unless", "b"), (1, "when", "c")]),
        ("when { a && (b && c) && [d && e] }", [(0, "when", "a"), (0, "when", "(b && c)"), (0, "when", "[d && e]")]),
        ("when { a && b || c }", [(0, "when", "a && b || c")]),
        ("when { (a || b) && c }", [(0, "when", "(a || b)"), (0, "when", "c")]),
        ("when { if a && b then c else d && e }", [(0, "when", "if a && b then c else d && e")]),
        ('when { a == "&& }" && b }', [(0, "when", 'a == "&& }"'), (0, "when", "b")]),
        ("when { a // && b }\n && c }", [(0, "when", "a"), (0, "when", "c")]),
        ("when { {when: a}.when && b }", [(0, "when", "{when: a}.when"), (0, "when", "b")]),
    ],
)
def test_a_clause_is_cut_at_its_outermost_conjunctions(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert cut(text) == expected


def test_a_clause_of_very_many_pieces_is_left_whole() -> None:
    assert len(cut(f"when {{ {' && '.join(['a'] * 64)} }}")) == 64
    assert len(cut(f"when {{ {' && '.join(['a'] * 65)} }}")) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("context.amount <= 1", [Path("context.amount", "context", ("amount",))]),
        ("context.a.b == context.a.b", [Path("context.a.b", "context", ("a", "b"))]),
        ('context["a"]["b c"]', [Path('context.a["b c"]', "context", ("a", "b c"))]),
        ("context has purpose", [Path("context.purpose", "context", ("purpose",))]),
        ('context.a has "b c"', [Path('context.a["b c"]', "context", ("a", "b c"))]),
        ("[1].contains(context.hour)", [Path("context.hour", "context", ("hour",))]),
        ("context.word.contains(1)", [Path("context.word", "context", ("word",))]),
        ('principal.hasTag("x")', [Path('principal.getTag("x")', "principal", (), "x")]),
        ('principal.getTag("x y") == "1"', [Path('principal.getTag("x y")', "principal", (), "x y")]),
        ("principal.hasTag(context.a)", [Path("principal", "principal"), Path("context.a", "context", ("a",))]),
        ("principal == resource", [Path("principal", "principal"), Path("resource", "resource")]),
        ('resource is Tool && resource in Team::"context"', [Path("resource", "resource")]),
        ("{resource: 1}.resource == 1 && [context].contains(1)", []),
        ("1 == context", []),
        ('action == Action::"x"', []),
    ],
)
def test_what_a_condition_looks_at_is_told_once(text: str, expected: list[Path]) -> None:
    assert list(paths(text)) == expected


def test_literals_are_told_apart() -> None:
    found = literals('["CAD", "CAD"].contains(context.c) && 5 < 6 && resource == Tool::"a b" && principal.name == "x"')
    assert found.numbers == (5, 6)
    assert found.texts == ("CAD", "x")
    assert found.entities == (("Tool", "a b"),)


def test_pieces_of_one_clause_share_its_number() -> None:
    assert conditions("permit(principal, action, resource) when { a && b };")[1] == Condition(0, "when", "b")

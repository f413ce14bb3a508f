"""YAML is read as people mean it, each piece with its place, and what can hurt or mislead is refused."""

import pytest

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.money import NumberText
from sidecar.replica.yaml_tree import DEPTH_MAX, TEXT_BYTES_MAX, Mapping, Node, Scalar, laid_over, plain, read_tree


def value(text: str) -> object:
    node = read_tree(text, "f")
    assert isinstance(node, Scalar)
    return node.value()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ("1_000", "1_000"),
        ("0o17", 15),
        ("0x1F", 31),
        ("007", 7),
        ("-5", -5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("Null", None),
        ('"7995"', "7995"),
        ("'true'", "true"),
        ('"~"', "~"),
        ("<<", "<<"),
        ("1" * 40, NumberText("1" * 40)),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, expected: object) -> None:
    found = value(text)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("text", ["47.230", "1e3", ".5", "-0.0", ".inf", "-.INF", ".nan"])
def test_a_number_with_a_fraction_keeps_its_text(text: str) -> None:
    found = value(text)
    assert isinstance(found, NumberText)
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "f:1:1: the file is empty"),
        ("# nothing", "f:2:1: the file is empty"),
        ("a: 1\nb: 2\na: 3", "f:3:1: the key `a` is there twice, first in line 1"),
        ("a: &x 1\nb: *x", "f:1:4: anchors and aliases are not read here, expected the value itself"),
        ("a: *x", "f:1:4: anchors and aliases are not read here, expected the value itself"),
        ("a: !!str 1", "f:1:4: the tag `tag:yaml.org,2002:str` is not read here, expected a plain value"),
        ("a: !x [1]", "f:1:4: the tag `!x` is not read here, expected a plain value"),
        ("a: 1\n---\nb: 2", "f:2:1: a second document begins here, expected one a file"),
        ("[a]: 1", "f:1:1: a key is a text, got a list or a mapping"),
        ("a: [1, 2", "f:2:1: no YAML while parsing a flow sequence: did not find expected ',' or ']'"),
        ("a:\n\t- 1", "f:2:1: no YAML while scanning for the next token: found character that cannot start any token"),
        ("ab: \x07", "f:1:5: no YAML: the character `#x0007` is not allowed"),
        ("[" * 5_000, f"f:1:{DEPTH_MAX + 1}: lists and mappings nest deeper than {DEPTH_MAX}"),
        ("#" * (TEXT_BYTES_MAX + 1), "f:1:1: the file is longer than 4 MiB"),
    ],
)
def test_what_is_broken_or_misleading_is_named_by_its_place(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read_tree(text, "f")
    assert caught.value.message == sentence


def test_pieces_know_their_places() -> None:
    node = read_tree("a:\n  - b: c\n", "dir/x.test.yaml")
    assert isinstance(node, Mapping)
    assert str(node.entries["a"].place) == "dir/x.test.yaml:2:3"
    assert str(node.keys["a"]) == "dir/x.test.yaml:1:1"


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ("{a: 1, b: {c: 2, d: 3}}", "{b: {c: 4}, e: 5}", {"a": 1, "b": {"c": 4, "d": 3}, "e": 5}),
        ("{a: {b: 1}}", "{a: ~}", {"a": None}),
        ("{a: [1, 2]}", "{a: [3]}", {"a": [3]}),
        ("{a: [{id: x, n: 1}]}", "{a: [{id: x, m: 2}, {id: y}]}", {"a": [{"id": "x", "n": 1, "m": 2}, {"id": "y"}]}),
        ("{a: [{id: x}]}", "{a: [{n: 1}]}", {"a": [{"n": 1}]}),
        ("{a: 1}", "{a: {b: 2}}", {"a": {"b": 2}}),
    ],
)
def test_what_is_laid_over_joins_mappings_and_things_and_replaces_the_rest(
    below: str, above: str, expected: object
) -> None:
    joined = laid_over(read_tree(below, "f"), read_tree(above, "f"))
    assert joined is not None
    assert plain(joined) == expected


def test_nothing_laid_over_something_is_that() -> None:
    node: Node = read_tree("a", "f")
    assert laid_over(None, node) is node
    assert laid_over(node, None) is node
    assert laid_over(None, None) is None


def test_values_under_named_keys_are_texts() -> None:
    node = read_tree("{mccs: [7995, 0742], max: 47.10, n: 1, none: {mccs: ~}}", "f")
    assert plain(node, frozenset({"mccs", "max"})) == {
        "mccs": ["7995", "0742"],
        "max": "47.10",
        "n": 1,
        "none": {"mccs": None},
    }

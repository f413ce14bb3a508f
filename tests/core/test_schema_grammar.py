"""Cedar's rendering of a schema is read as it is written, with every construct that the language has."""

import cedarpy
import pytest

from sidecar.core.errors import ValidationFailed
from sidecar.core.schema_grammar import (
    Declaration,
    WrittenAction,
    WrittenCommon,
    WrittenEntity,
    WrittenField,
    WrittenRecord,
    WrittenSet,
    read,
)


def declared(source: str) -> tuple[Declaration, ...]:
    """What Cedar's own rendering of ``source`` reads as."""
    return read(str(cedarpy.Schema.from_str(source)))


def test_an_empty_schema_declares_nothing() -> None:
    assert declared("") == ()


def test_an_entity_has_parents_attributes_and_tags() -> None:
    assert declared("entity B; entity A in [A, B] { x: Long, y?: Set<String> } tags { t: Bool };") == (
        WrittenEntity(
            name="A",
            parents=("A", "B"),
            attributes=WrittenRecord(
                (WrittenField("x", "Long", required=True), WrittenField("y", WrittenSet("String"), required=False))
            ),
            tags=WrittenRecord((WrittenField("t", "Bool", required=True),)),
        ),
        WrittenEntity(name="B"),
    )


def test_an_entity_can_be_one_of_listed_ids() -> None:
    assert declared(r'entity Mode enum ["live", "a\"b\u{41}"];') == (
        WrittenEntity(name="Mode", choices=("live", 'a"bA')),
    )


def test_a_common_type_is_kept_as_a_name() -> None:
    assert declared("type T = { a: L }; type L = Long;") == (
        WrittenCommon("L", "Long"),
        WrittenCommon("T", WrittenRecord((WrittenField("a", "L", required=True),))),
    )


def test_an_action_has_groups_and_what_it_applies_to() -> None:
    source = """
        entity A, B; type T = { c?: __cedar::String }; action g; action "h i" in [g];
        action "x.y" in [g, "h i"] appliesTo { principal: [A, B], resource: B, context: T };
        action z appliesTo { principal: A, resource: B };
    """
    assert declared(source)[3:] == (
        WrittenAction(name="g"),
        WrittenAction(name="h i", groups=("g",)),
        WrittenAction(name="x.y", groups=("g", "h i"), principals=("A", "B"), resources=("B",), context="T"),
        WrittenAction(name="z", principals=("A",), resources=("B",)),
    )


def test_annotations_are_passed_over() -> None:
    source = '@doc("x") @flag entity A { @doc("y") b: Long }; @doc("z") type T = Long; @doc("w") action g;'
    assert declared(source) == (
        WrittenCommon("T", "Long"),
        WrittenEntity(name="A", attributes=WrittenRecord((WrittenField("b", "Long", required=True),))),
        WrittenAction(name="g"),
    )


WORDS = ["entity", "type", "action", "namespace", "tags", "enum", "appliesTo", "principal", "context", "Settings"]


@pytest.mark.parametrize("word", [*WORDS, "Action", "Set"])
def test_a_word_of_the_grammar_can_be_the_name_of_an_attribute(word: str) -> None:
    (entity,) = declared(f"entity A {{ {word}: Long, x: String }};")
    assert isinstance(entity, WrittenEntity)
    assert word in [field.name for field in entity.attributes.fields]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_grammar_can_be_the_name_of_a_type(word: str) -> None:
    source = (
        f"entity {word} in [{word}] {{ x: Set<{word}> }}; action g appliesTo {{ principal: {word}, resource: {word} }};"
    )
    entity, action = declared(source)
    assert isinstance(entity, WrittenEntity)
    assert entity.attributes.fields[0].type == WrittenSet(word)
    assert isinstance(action, WrittenAction)
    assert action.principals == (word,)


def test_any_text_can_be_the_name_of_an_attribute_or_action() -> None:
    source = r'entity A { "we\"ird\n k\\": Long, "": Long, "é\u{200b}": Long, "in": Long }; action "a\0 \u{41}";'
    entity, action = declared(source)
    assert isinstance(entity, WrittenEntity)
    assert {field.name for field in entity.attributes.fields} == {'we"ird\n k\\', "", "é\u200b", "in"}
    assert isinstance(action, WrittenAction)
    assert action.name == "a\0 A"


def test_a_namespace_is_refused() -> None:
    with pytest.raises(ValidationFailed, match="namespace"):
        declared("namespace N { entity A; }")


def test_the_word_namespace_in_a_text_is_no_namespace() -> None:
    (entity,) = declared('entity A enum ["\\nnamespace N {"];')
    assert isinstance(entity, WrittenEntity)
    assert entity.choices == ("\nnamespace N {",)

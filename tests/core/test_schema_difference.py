"""Schemas differ in what they declare, told by action, entity type and attribute."""

import pytest

from sidecar.core.policy import compile_schema
from sidecar.core.schema_difference import SchemaChange, compare_schemas
from tests.core.builders import SCHEMA, SCHEMA_TEXT


def changes(*replaced: tuple[str, str]) -> tuple[SchemaChange, ...]:
    """How the schema of the tests differs from itself with some of its text replaced."""
    text = SCHEMA_TEXT
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return compare_schemas(SCHEMA.model, compile_schema((("s.cedarschema", text),)).model)


def told(found: SchemaChange) -> tuple[str, str, str | None, str | None, str | None, str]:
    """A change without what kind it is."""
    return found.part, found.name, found.aspect, found.old, found.new, found.may_allow


def test_how_a_schema_is_written_says_nothing() -> None:
    replaced = (
        ("entity Tool;", "// a tool\ntype Word = String;\n\nentity Tool = {};"),
        ("country?: String", "country?: Word"),
    )
    assert changes(*replaced) == ()


FLY = "action fly appliesTo { principal: [Agent], resource: [Tool] };\nentity Tool;"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("entity Tool;", FLY, ("action", "fly", None, None, "action", "more")),
        ("entity Tool;", "entity Tool;\nentity Door;", ("entity_type", "Door", None, None, "entity", "same")),
        (
            'action "tool.call" app',
            'action "tool.call" in [spend] app',
            ("action", "tool.call", "groups", None, "spend", "both"),
        ),
        ("resource: [Tool, Lamp]", "resource: [Tool]", ("action", "tool.call", "resources", "Lamp", None, "less")),
        (
            "[User, Agent],\n  resource: [M",
            "[User, Agent, Team],\n  resource: [M",
            ("action", "card.authorize", "principals", None, "Team", "more"),
        ),
        ("hour: Long, ", "", ("action", "card.authorize", "context.hour", "Long", None, "both")),
        ("hour: Long", "hour?: Long", ("action", "card.authorize", "context.hour", "Long", "optional Long", "both")),
        ("hour: Long", "hour: Set<Lamp>", ("action", "card.authorize", "context.hour", "Long", "Set<Lamp>", "both")),
        (
            "hour: Long",
            'hour: { "a b"?: Bool, c: ipaddr, d: {} }',
            ("action", "card.authorize", "context.hour", "Long", '{ "a b"?: Bool, c: ipaddr, d: {} }', "both"),
        ),
        (
            "{ tokens?: Long, calls?: Long }",
            "{ tokens?: Long }",
            ("action", "card.authorize", "context.quantities.calls", "optional Long", None, "both"),
        ),
        (
            "entity Kiosk { merchant_category: String }",
            "entity Kiosk { merchant_category: String, open: Bool }",
            ("entity_type", "Kiosk", "attributes.open", None, "Bool", "both"),
        ),
        ("entity Tool;", "entity Tool tags Long;", ("entity_type", "Tool", "tags", None, "Long", "both")),
        ('["red", "green"]', '["red"]', ("entity_type", "Lamp", "enum", '["green", "red"]', '["red"]', "both")),
        ("entity Tool;", "entity Tool in [Merchant];", ("entity_type", "Tool", "parents", None, "Merchant", "both")),
    ],
)
def test_each_difference_is_told_with_its_place(
    old: str, new: str, expected: tuple[str, str, str | None, str | None, str | None, str]
) -> None:
    found = changes((old, new))
    assert [told(each) for each in found] == [expected]
    kind = "added" if expected[3] is None else "removed" if expected[4] is None else "changed"
    assert [each.kind for each in found] == [kind]


def test_what_is_gone_is_told_as_what_comes() -> None:
    grown = compile_schema((("s.cedarschema", f"{SCHEMA_TEXT}\n{FLY.replace('Tool;', 'Door;')}"),)).model
    assert [told(each) for each in compare_schemas(grown, SCHEMA.model)] == [
        ("action", "fly", None, "action", None, "less"),
        ("entity_type", "Door", None, "entity", None, "same"),
    ]

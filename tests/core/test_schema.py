"""What a schema declares, and what the sidecar demands of it beyond Cedar."""

import cedarpy
import pytest

from sidecar.core.schema import (
    BOOL,
    LONG,
    STRING,
    EntityReference,
    Extension,
    Field,
    RecordType,
    SchemaModel,
    SetType,
    describe,
    first_fault,
)

IDENTITY = "{ name: String, status: String, external_id?: String } tags String"


def model(source: str) -> SchemaModel:
    """The model of a schema."""
    return describe(str(cedarpy.Schema.from_str(source)), "sha256:0")


# --- What is declared


def test_names_of_types_are_looked_up() -> None:
    described = model(
        """
        type Money = { amount: Number, currency?: String };
        type Number = Long;
        entity Long2;
        entity A { a: Money, b: Set<Number>, c: ipaddr, d: datetime, e: decimal, f: duration, g: Bool, h: A };
        """
    )
    assert described.entity_types["A"].attributes == RecordType(
        {
            "a": Field(
                RecordType({"amount": Field(LONG, required=True), "currency": Field(STRING, required=False)}),
                required=True,
            ),
            "b": Field(SetType(LONG), required=True),
            "c": Field(Extension("ipaddr"), required=True),
            "d": Field(Extension("datetime"), required=True),
            "e": Field(Extension("decimal"), required=True),
            "f": Field(Extension("duration"), required=True),
            "g": Field(BOOL, required=True),
            "h": Field(EntityReference("A"), required=True),
        }
    )


def test_a_declared_name_goes_before_cedars_own() -> None:
    described = model("entity Long; type ipaddr = String; entity A { a: Long, b: ipaddr, c: __cedar::Long };")
    assert described.entity_types["A"].attributes.fields == {
        "a": Field(EntityReference("Long"), required=True),
        "b": Field(STRING, required=True),
        "c": Field(LONG, required=True),
    }


def test_an_entity_type_has_parents_tags_and_choices() -> None:
    described = model('entity A in [A, B] tags Set<Long>; entity B enum ["x", "y"];')
    assert described.entity_types["A"].parents == {"A", "B"}
    assert described.entity_types["A"].tags == SetType(LONG)
    assert described.entity_types["A"].choices is None
    assert described.entity_types["B"].choices == ("x", "y")
    assert described.entity_types["B"].tags is None


GROUPED = """
    entity A; type C = { x: Long };
    action all; action some in [all]; action unused;
    action one in [some] appliesTo { principal: A, resource: A, context: C };
    action two in [all, some] appliesTo { principal: A, resource: A };
    action three in [two] appliesTo { principal: A, resource: A };
"""


def test_an_action_is_in_its_groups_over_any_number_of_steps() -> None:
    actions = model(GROUPED).actions
    assert actions["one"].groups == {"some", "all"}
    assert actions["three"].groups == {"two", "some", "all"}
    assert actions["all"].groups == frozenset()


def test_members_are_the_actions_that_can_be_asked() -> None:
    described = model(GROUPED)
    assert described.members("all") == ("one", "three", "two")
    assert described.members("one") == ("one",)
    assert described.members("two") == ("three", "two")
    assert described.members("unused") == ()
    assert described.members("unknown") == ()
    assert not described.actions["some"].can_be_asked


def test_a_context_may_be_a_common_type() -> None:
    actions = model(GROUPED).actions
    assert actions["one"].context == RecordType({"x": Field(LONG, required=True)})
    assert actions["all"].context == RecordType({})


def test_identity_types_are_principals_and_all_that_they_may_be_in() -> None:
    described = model(
        """
        entity Top; entity Middle in [Top]; entity Leaf in [Middle, Leaf]; entity Thing in [Other]; entity Other;
        action a appliesTo { principal: Leaf, resource: Thing };
        """
    )
    assert described.identity_types == {"Leaf", "Middle", "Top"}


# --- What is demanded


def test_a_schema_that_describes_identities_has_no_fault() -> None:
    source = f"entity User, AiAgent2 in [User, AiAgent2] {IDENTITY}; entity thing;"
    assert first_fault(model(source + "action a appliesTo { principal: [User, AiAgent2], resource: thing };")) is None


def test_a_schema_in_which_nobody_can_act_is_at_fault() -> None:
    assert "applies to anybody" in str(first_fault(model("entity A; action a;")))


@pytest.mark.parametrize(
    ("declaration", "sentence"),
    [
        ("entity User in [User] { status: String, external_id?: String } tags String;", "declare `name: String`"),
        ("entity User in [User] { name: String, external_id?: String } tags String;", "declare `status: String`"),
        ("entity User in [User] { name: String, status: String } tags String;", "declare `external_id?: String`"),
        (f"entity User in [User] {IDENTITY};".replace("?", ""), "declare `external_id?: String`"),
        (f"entity User in [User] {IDENTITY};".replace("name: String", "name?: String"), "declare `name: String`"),
        (f"entity User in [User] {IDENTITY};".replace("status: String", "status: Long"), "declare `status: String`"),
        (f"entity User in [User] {IDENTITY};".replace("{", "{ level: Long,"), "requires the attribute `level`"),
        (f"entity User in [User] {IDENTITY};".replace("tags String", ""), "declare `tags String`"),
        (f"entity User in [User] {IDENTITY};".replace("tags String", "tags Long"), "declare `tags String`"),
        (f"entity User {IDENTITY};", "must be allowed `in` `User`"),
        (
            f"entity Team in [Team] {IDENTITY}; entity User in [Team, User] {IDENTITY};",
            "`Team` must be allowed `in` `User`",
        ),
    ],
)
def test_what_an_identity_type_lacks_is_named(declaration: str, sentence: str) -> None:
    fault = first_fault(model(declaration + "action a appliesTo { principal: User, resource: User };"))
    assert fault is not None
    assert sentence in fault


@pytest.mark.parametrize("name", ["user", "AI_Agent", "_User"])
def test_an_identity_type_has_a_snake_case_name(name: str) -> None:
    source = f"entity {name} in [{name}] {IDENTITY}; action a appliesTo {{ principal: {name}, resource: {name} }};"
    assert f"`{name}` must be words in PascalCase" in str(first_fault(model(source)))


def test_an_identity_may_have_more_attributes_that_are_optional() -> None:
    source = f"entity User in [User] {IDENTITY};".replace("{", "{ level?: Long,")
    assert first_fault(model(source + "action a appliesTo { principal: User, resource: User };")) is None

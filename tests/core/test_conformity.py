"""A caller's value reaches Cedar only when it has the declared type, and what it lacks is named to the attribute."""

import cedarpy
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.conformity import conform
from sidecar.core.errors import ValidationFailed
from sidecar.core.money import NumberText
from sidecar.core.policy import check_extension
from sidecar.core.schema import (
    BOOL,
    LONG,
    STRING,
    CedarType,
    EntityReference,
    Extension,
    Field,
    RecordType,
    SetType,
    describe,
)

SCHEMA = """
    entity A, B {
      s?: String, l?: Long, b?: Bool, ip?: ipaddr, d?: decimal, t?: datetime, p?: duration, e?: A,
      many?: Set<Set<Long>>,
      r?: { required: String, optional?: Long }, rs?: Set<{ x: A }>, "odd key"?: Long,
    };
"""
RECORD = describe(str(cedarpy.Schema.from_str(SCHEMA)), "").entity_types["A"].attributes


def refused(value: object, cedar_type: CedarType) -> tuple[str, str | None]:
    """Sentence and field of the refusal of ``value``."""
    with pytest.raises(ValidationFailed) as caught:
        conform(value, cedar_type, "context", check_extension)
    return caught.value.message, caught.value.field


def test_values_become_cedars_json() -> None:
    value = {
        "s": "text",
        "l": -(2**63),
        "b": True,
        "ip": "10.0.0.0/8",
        "d": "1.25",
        "t": "2026-11-22T00:00:00Z",
        "p": "1d2h",
        "e": {"type": "A", "id": "x y"},
        "many": [[1], []],
        "r": {"required": ""},
        "rs": [{"x": {"id": "x", "type": "A"}}],
        "odd key": 2**63 - 1,
    }
    assert conform(value, RECORD, "context", check_extension) == value | {
        "ip": {"__extn": {"fn": "ip", "arg": "10.0.0.0/8"}},
        "d": {"__extn": {"fn": "decimal", "arg": "1.25"}},
        "t": {"__extn": {"fn": "datetime", "arg": "2026-11-22T00:00:00Z"}},
        "p": {"__extn": {"fn": "duration", "arg": "1d2h"}},
        "e": {"__entity": {"type": "A", "id": "x y"}},
        "rs": [{"x": {"__entity": {"type": "A", "id": "x"}}}],
    }


@pytest.mark.parametrize("value", [None, 1, True, [], {}, {"type": "A", "id": "x"}])
def test_a_text_is_expected(value: object) -> None:
    assert refused(value, STRING) == ("expected a text", "context")


@pytest.mark.parametrize("value", [None, "1", True, [], {}, 2**63, -(2**63) - 1])
def test_an_integer_is_expected(value: object) -> None:
    assert refused(value, LONG) == ("expected an integer of at most 64 bits", "context")


@pytest.mark.parametrize("value", [None, "true", 1, 0, [], {}])
def test_a_truth_value_is_expected(value: object) -> None:
    assert refused(value, BOOL) == ("expected `true` or `false`", "context")


@pytest.mark.parametrize("cedar_type", [STRING, LONG, Extension("decimal"), RECORD, SetType(LONG)])
@pytest.mark.parametrize("value", [NumberText("1.5"), NumberText("1e2"), 1.0])
def test_there_is_no_floating_point(value: object, cedar_type: CedarType) -> None:
    assert "no floating point" in refused(value, cedar_type)[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ipaddr", "zz"),
        ("decimal", "1.23456"),
        ("datetime", "yesterday"),
        ("duration", ""),
        ("ipaddr", 1),
        ("ipaddr", {}),
    ],
)
def test_an_extension_value_is_a_text_that_makes_one(name: str, value: object) -> None:
    field = RECORD.fields[{"ipaddr": "ip", "decimal": "d", "datetime": "t", "duration": "p"}[name]]
    assert refused(value, field.type) == (f"expected the text of a `{name}`", "context")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("A", "context"),
        ({"type": "A"}, "context"),
        ({"type": "A", "id": "x", "more": 1}, "context"),
        ({"type": "B", "id": "x"}, "context.type"),
        ({"type": "a", "id": "x"}, "context.type"),
        ({"type": "A", "id": 1}, "context.id"),
        ({"type": "A", "id": ""}, "context.id"),
        ({"__entity": {"type": "A", "id": "x"}}, "context"),
    ],
)
def test_an_entity_is_given_by_the_declared_type_and_an_id(value: object, field: str) -> None:
    assert refused(value, EntityReference("A"))[1] == field


def test_a_set_is_a_list_of_one_type() -> None:
    assert refused({"0": 1}, SetType(LONG)) == ("expected a list", "context")
    assert refused([1, [2]], SetType(LONG))[1] == "context[1]"


def test_an_undeclared_attribute_is_named() -> None:
    message, field = refused({"r": {"required": "", "new\n": 1}}, RECORD)
    assert field == "context.r.new\n"
    assert "`new\\n`" in message


def test_a_missing_attribute_is_named_where_it_is_required() -> None:
    assert refused({"r": {"optional": 1}}, RECORD)[1] == "context.r.required"
    assert refused("x", RECORD) == ("expected an object", "context")


@pytest.mark.parametrize("key", ["__entity", "__extn", "__expr"])
def test_a_key_that_cedar_reads_as_code_is_refused_at_any_depth(key: str) -> None:
    everything = RecordType({key: Field(LONG, required=False)})
    deep = RecordType({"x": Field(SetType(everything), required=True)})
    assert refused({"x": [{key: 1}]}, deep) == (f"the key `{key}` is not allowed", f"context.x[0].{key}")


def test_a_lone_surrogate_is_refused() -> None:
    assert "surrogate" in refused("\ud800", STRING)[0]


def values(cedar_type: CedarType) -> st.SearchStrategy[object]:
    """Values of a type as a caller writes them."""
    match cedar_type:
        case SetType(element):
            return st.lists(values(element), max_size=3).map(lambda items: [*items])
        case RecordType(fields):
            required = {name: values(field.type) for name, field in fields.items() if field.required}
            optional = {name: values(field.type) for name, field in fields.items() if not field.required}
            return st.fixed_dictionaries(required, optional=optional).map(lambda items: {**items})
        case EntityReference(name):
            ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)
            return ids.map(lambda text: {"type": name, "id": text})
        case Extension(name):
            texts = {"ipaddr": "::1", "decimal": "-0.5", "datetime": "2026-01-01", "duration": "-5ms"}
            return st.just(texts[name])
        case _:
            plain: dict[str, st.SearchStrategy[object]] = {
                "String": st.text(st.characters(exclude_categories=["Cs"])),
                "Long": st.integers(-(2**63), 2**63 - 1),
                "Bool": st.booleans(),
            }
            return plain[cedar_type.name]


@settings(deadline=None)
@given(values(RECORD))
def test_whatever_conforms_is_accepted_by_cedar(value: object) -> None:
    attributes = conform(value, RECORD, "context", check_extension)
    entity = {"uid": {"type": "A", "id": "x"}, "attrs": attributes, "parents": []}
    cedarpy.Entities.from_json_str(orjson.dumps([entity]).decode(), cedarpy.Schema.from_str(SCHEMA))

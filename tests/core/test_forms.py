"""What is the same for all requests of one form is read off the schema, and off it alone."""

import pytest

from sidecar.core.forms import Form, Forms
from sidecar.core.policy import compile_schema
from tests.core.builders import SCHEMA

IDENTITIES = (
    "entity User, Agent in [User, Agent] { name: String, status: String, external_id?: String } tags String;"
    "entity Lamp enum ['red'];".replace("'", '"')
)


def form(action: str = "card.authorize", resource_type: str = "merchant", forms: Forms = SCHEMA.forms) -> Form:
    """A form that exists."""
    found = forms.find(action, resource_type)
    assert isinstance(found, Form)
    return found


def of_context(context: str, resource: str = "") -> Form:
    """The form of an action with such a context on a resource with such attributes."""
    text = f"{IDENTITIES} entity Thing {{ {resource} }}; action a appliesTo "
    text += f"{{ principal: [User, Agent], resource: [Thing], context: {{ {context} }} }};"
    return form("a", "thing", compile_schema((("s", text),)).forms)


def test_a_form_is_made_once() -> None:
    assert form() is form()
    assert form() is not form(resource_type="kiosk")


@pytest.mark.parametrize(
    ("action", "resource_type", "sentence"),
    [
        ("card.steal", "merchant", "the schema knows no action `card.steal`"),
        ("card.steal", "ship", "the schema knows no action `card.steal`"),
        ("card.authorize", "space_ship", "the schema knows no resource type `space_ship`"),
    ],
)
def test_what_is_unknown_is_named_and_not_kept(action: str, resource_type: str, sentence: str) -> None:
    for _ in range(2):
        assert SCHEMA.forms.find(action, resource_type) == sentence


def test_the_context_is_ours_and_the_callers() -> None:
    made = form()
    assert made.declared == {"amount", "currency", "merchant_category", "quantities"}
    assert made.required == ("amount", "currency")
    assert made.circumstances == {"now", "hour", "weekday", "mode"}
    assert of_context("hour: Long, amount?: Long").circumstances == {"hour"}
    assert set(made.own.fields) == {"purpose", "since"}
    assert made.is_context_optional
    assert not form("tool.audit", "tool").is_context_optional


def test_who_may_ask_about_what_is_told_in_types_of_the_wire() -> None:
    made = of_context("")
    assert (made.is_met, made.principals) == (True, {"user": "User", "agent": "Agent"})
    assert not form(resource_type="tool").is_met
    assert {"user", "agent"} <= SCHEMA.forms.identity_types
    assert "merchant" not in SCHEMA.forms.identity_types


def test_quantities_are_a_record_or_none() -> None:
    quantities = form().quantities
    assert quantities is not None
    assert set(quantities.fields) == {"tokens", "calls"}
    assert of_context("").quantities is None
    assert of_context("quantities?: Long").quantities is None


@pytest.mark.parametrize(
    ("resource", "category", "needed", "bare"),
    [
        ("", False, False, True),
        ("merchant_category?: String", True, False, True),
        ("merchant_category: String", True, True, True),
        ("merchant_category: Long", True, True, False),
        ("color?: String", False, False, True),
        ("color: String, merchant_category?: String", True, False, False),
    ],
)
def test_a_resource_without_attributes_of_the_callers_fits_or_not(
    resource: str,
    category: bool,  # noqa: FBT001 -- a table of facts, as below
    needed: bool,  # noqa: FBT001
    bare: bool,  # noqa: FBT001
) -> None:
    made = of_context("", resource)
    assert (made.category, made.needs_category, made.is_bare_resource_fit) == (category, needed, bare)


@pytest.mark.parametrize(
    ("context", "resource", "names"),
    [
        ("a: Long, b: { c: Set<String> }, d: datetime", "e: String", False),
        ("a?: User", "", True),
        ("a?: { b?: Set<Lamp> }", "", True),
        ("", "a?: Set<{ b: Agent }>", True),
    ],
)
def test_a_form_whose_requests_could_name_entities_is_known(context: str, resource: str, names: bool) -> None:  # noqa: FBT001
    assert of_context(context, resource).names_entities is names


@pytest.mark.parametrize(
    ("context", "sound"),
    [
        ("amount?: Long, currency?: String, now: datetime, hour: Long, weekday: Long, mode: String", True),
        ("merchant_category?: String, quantities?: { calls?: String }, own: decimal", True),
        ("amount: String", False),
        ("currency?: Long", False),
        ("merchant_category?: Long", False),
        ("now: Long", False),
        ("hour: String", False),
        ("weekday: String", False),
        ("mode: User", False),
    ],
)
def test_a_schema_that_wants_other_types_than_the_sidecar_fills_in_is_known(context: str, sound: bool) -> None:  # noqa: FBT001
    assert of_context(context).is_sound is sound

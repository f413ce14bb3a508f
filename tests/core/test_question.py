"""From a request to what policies see, and every way in which a request does not fit the schema."""

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.directory import IdentityChain, Mode
from sidecar.core.errors import ValidationFailed
from sidecar.core.forms import OURS
from sidecar.core.instants import from_datetime
from sidecar.core.model import AuthorizeRequest, ClaimedTags, ResourceRef
from sidecar.core.policy import CompiledSchema, check_extension, compile_schema, entity_slice
from sidecar.core.policy_set import PolicySet
from sidecar.core.question import Circumstances, Question, Unanswerable, pose, utc_milliseconds
from sidecar.core.windows import local_hour_and_weekday, zone
from tests.core.builders import CHAIN, NOON_US, ROOT, SCHEMA, TEAM, identity, purchase, tool_call

INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(from_datetime)  # noqa: DTZ001 -- bounds are naive


def posed(
    request: AuthorizeRequest,
    target: IdentityChain | None = None,
    *,
    chain: IdentityChain = CHAIN,
    now_us: int = NOON_US,
    time_zone: str = "UTC",
    mode: Mode = "live",
    schema: CompiledSchema = SCHEMA,
) -> Question | Unanswerable:
    """What becomes of a request."""
    return pose(request, chain, target, schema.forms, Circumstances(now_us, zone(time_zone), mode))


def question(
    request: AuthorizeRequest,
    target: IdentityChain | None = None,
    *,
    now_us: int = NOON_US,
    time_zone: str = "UTC",
    mode: Mode = "live",
) -> Question:
    """A question, which Cedar takes."""
    asked = posed(request, target, now_us=now_us, time_zone=time_zone, mode=mode)
    assert isinstance(asked, Question)
    PolicySet((), (), SCHEMA).evaluate(asked.request, entity_slice(asked.entities, SCHEMA))
    return asked


def refused(request: AuthorizeRequest, schema: CompiledSchema = SCHEMA) -> tuple[str, str | None]:
    """Sentence and field of a refusal."""
    with pytest.raises(ValidationFailed) as caught:
        posed(request, schema=schema)
    return caught.value.message, caught.value.field


# --- What no policy could speak of is an answer


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (purchase(action="card.steal"), "the schema knows no action `card.steal`"),
        (purchase(resource=ResourceRef("space_ship", "x")), "the schema knows no resource type `space_ship`"),
        (purchase(action="spend"), "`spend` does not apply to identities of type `agent`"),
    ],
)
def test_an_unknown_action_or_resource_type_is_unanswerable(request_: AuthorizeRequest, message: str) -> None:
    """So is a group of actions, which applies to nobody."""
    assert posed(request_) == Unanswerable(message)


def test_an_identity_whose_type_the_action_does_not_apply_to_is_unanswerable() -> None:
    unfit = posed(purchase(identity_id="team"), chain=(TEAM, ROOT))
    assert unfit == Unanswerable("`card.authorize` does not apply to identities of type `team`")


def test_what_is_unanswerable_is_so_whatever_else_is_wrong() -> None:
    """It is recorded as a denial, never refused."""
    wrong = purchase(action="card.steal", amount_minor=None, currency=None, context={"nonsense": 1, "now": 1})
    assert isinstance(posed(wrong), Unanswerable)


# --- What does not fit is refused, with its place


def test_a_resource_type_that_the_action_does_not_apply_to_is_refused() -> None:
    assert refused(purchase(resource=ResourceRef("tool", "search"))) == (
        "`card.authorize` does not apply to resources of type `tool`",
        "resource.type",
    )


def test_a_resource_that_an_enumeration_does_not_have_is_refused() -> None:
    assert refused(tool_call(resource=ResourceRef("lamp", "blue"))) == (
        "the schema declares no such `lamp`",
        "resource.id",
    )
    assert question(tool_call(resource=ResourceRef("lamp", "red"))).request.resource == ("Lamp", "red")


def test_a_context_key_that_is_not_declared_is_refused() -> None:
    message, field = refused(purchase(context={"weather": "fine"}))
    assert (message, field) == ("the schema does not declare `weather` here", "context.weather")


@pytest.mark.parametrize("key", sorted(OURS))
def test_a_context_key_of_the_sidecars_is_refused(key: str) -> None:
    """Also where the action does not declare it: what it means must not depend on the schema."""
    expected = (f"the context key `{key}` is set by the sidecar", f"context.{key}")
    assert refused(purchase(context={key: 1})) == expected
    assert refused(tool_call(context={key: 1})) == expected


@pytest.mark.parametrize(
    ("missing", "field"),
    [
        ({"amount_minor": None}, "resource.amount"),
        ({"currency": None}, "resource.currency"),
    ],
)
def test_an_action_that_spends_requires_amount_and_currency(missing: dict[str, object], field: str) -> None:
    """So that a budget cannot be dodged by leaving them out."""
    assert refused(purchase(**missing)) == (f"`card.authorize` requires `{field.split('.')[1]}`", field)


def test_required_quantities_are_missed_where_they_are_given() -> None:
    audit = tool_call(action="tool.audit", context={"purpose": "x"})
    assert refused(audit) == ("`tool.audit` requires `quantities`", "resource.quantities")
    assert refused(tool_call(quantities={"calls": 1})) == (
        "`tokens` is required by the schema and missing",
        "resource.quantities.tokens",
    )


def test_a_required_context_key_of_the_callers_is_missed_by_name() -> None:
    request = tool_call(action="tool.audit", quantities={"tokens": 1})
    assert refused(request) == ("`purpose` is required by the schema and missing", "context.purpose")


def test_a_required_category_is_missed_where_it_is_given() -> None:
    kiosk = purchase(resource=ResourceRef("kiosk", "7"))
    assert refused(kiosk) == ("a `kiosk` requires `merchant_category`", "resource.merchant_category")


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"colour": "red"}, "resource.attributes.colour"),
        ({"country": 7}, "resource.attributes.country"),
        ({"merchant_category": "7372"}, "resource.attributes.merchant_category"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(attributes: dict[str, object], field: str) -> None:
    """The merchant category among them: it has a place of its own."""
    assert refused(purchase(attributes=attributes))[1] == field


def test_quantities_of_another_shape_than_a_record_are_never_filled_in() -> None:
    schema = compile_schema(
        (
            (
                "s",
                """
                entity Agent in [Agent] { name: String, status: String, external_id?: String } tags String;
                entity Tool;
                action "tool.call" appliesTo { principal: Agent, resource: Tool, context: { quantities?: Long } };
                """,
            ),
        )
    )
    found = posed(tool_call(quantities={"tokens": 1}), schema=schema)
    assert isinstance(found, Question)
    assert found.seen == {}


# --- What policies see


def test_policies_see_who_does_what_to_what() -> None:
    request = question(purchase()).request
    assert (request.principal, request.action, request.resource) == (
        ("Agent", "bot"),
        "card.authorize",
        ("Merchant", "AWS"),
    )


def test_the_context_has_what_the_action_declares_of_the_sidecars_values() -> None:
    full = question(purchase(merchant_category="7372", quantities={"tokens": 5}, context={"purpose": "hosting"}))
    assert full.seen == {
        "amount": 4723,
        "currency": "CAD",
        "merchant_category": "7372",
        "quantities": {"tokens": 5},
        "now": {"__extn": {"fn": "datetime", "arg": "2025-12-01T12:00:00Z"}},
        "hour": 12,
        "weekday": 1,
        "mode": "live",
        "purpose": "hosting",
    }
    assert full.request.context == full.seen


def test_the_context_has_nothing_that_the_action_does_not_declare() -> None:
    """An amount that a policy cannot see counts for budgets all the same."""
    seen = question(tool_call(amount_minor=5, currency="CAD", merchant_category="7372")).seen
    assert seen == {}


def test_only_declared_quantities_are_seen() -> None:
    assert question(purchase(quantities={"tokens": 5, "watts": 9})).seen["quantities"] == {"tokens": 5}
    assert "quantities" not in question(purchase(quantities={"watts": 9})).seen


def test_a_callers_extension_value_becomes_one() -> None:
    seen = question(purchase(context={"since": "2025-01-01T00:00:00Z"})).seen
    assert seen["since"] == {"__extn": {"fn": "datetime", "arg": "2025-01-01T00:00:00Z"}}
    assert refused(purchase(context={"since": "yesterday"}))[1] == "context.since"


@pytest.mark.parametrize("mode", ["live", "test"])
def test_policies_see_the_tenants_mode(mode: Mode) -> None:
    assert question(purchase(), mode=mode).seen["mode"] == mode


@pytest.mark.parametrize(
    ("time_zone", "hour", "weekday"), [("UTC", 12, 1), ("America/Toronto", 7, 1), ("Pacific/Kiritimati", 2, 2)]
)
def test_hour_and_weekday_are_those_of_the_tenants_time_zone(time_zone: str, hour: int, weekday: int) -> None:
    seen = question(purchase(), time_zone=time_zone).seen
    assert (seen["hour"], seen["weekday"]) == (hour, weekday)


@given(INSTANTS)
def test_now_is_what_cedar_accepts_and_never_later_than_now(now_us: int) -> None:
    text = utc_milliseconds(now_us)
    assert check_extension("datetime", text)
    read = from_datetime(datetime.fromisoformat(text))
    assert (read, read % 1000) == (now_us // 1000 * 1000, 0)


@pytest.mark.parametrize(
    ("now_us", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (999, "1970-01-01T00:00:00Z"),
        (1_000, "1970-01-01T00:00:00.001Z"),
        (1_500_999, "1970-01-01T00:00:01.500Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_now_has_milliseconds_or_none(now_us: int, text: str) -> None:
    assert utc_milliseconds(now_us) == text


@given(INSTANTS, st.sampled_from(["America/Toronto", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Monrovia"]))
def test_hour_and_weekday_are_those_of_the_slow_way(now_us: int, name: str) -> None:
    """Instants of a second share one answer; before 1972 the clocks of Monrovia were 44 min 30 s behind."""
    for at_us in (now_us, now_us // 1_000_000 * 1_000_000, now_us // 1_000_000 * 1_000_000 + 999_999):
        seen = question(purchase(), now_us=at_us, time_zone=name).seen
        assert (seen["hour"], seen["weekday"]) == local_hour_and_weekday(at_us, zone(name))


def test_only_what_is_read_is_asked_with_and_always_of_the_same_moment() -> None:
    full = question(purchase(context={"purpose": "hosting"}), now_us=NOON_US + 1_500)
    for names in [(), ("amount",), ("merchant_category", "purpose"), ("currency", "now"), ("hour", "mode", "weekday")]:
        expected = {name: full.seen[name] for name in names if name in full.seen}
        assert full.asking(names) == msgspec.structs.replace(full.request, context=expected)
    assert full.asking(None) == full.request
    assert "merchant_category" not in full.seen
    assert question(tool_call()).asking(("hour", "now")).context == {}, "the action declares neither"


# --- Entities


def test_cedar_gets_the_whole_identity_chain_and_the_resource() -> None:
    made = question(purchase(attributes={"country": "CA"}, merchant_category="7372")).entities
    assert [each["uid"] for each in made] == [
        {"type": "Agent", "id": "bot"},
        {"type": "Team", "id": "team"},
        {"type": "User", "id": "boss"},
        {"type": "Merchant", "id": "AWS"},
    ]
    assert made[-1]["attrs"] == {"country": "CA", "merchant_category": "7372"}


def test_a_category_that_the_resource_does_not_declare_is_not_its_attribute() -> None:
    made = question(tool_call(merchant_category="7372")).entities
    assert made[-1] == {"uid": {"type": "Tool", "id": "search"}, "attrs": {}, "parents": []}


def test_an_identity_as_resource_comes_with_its_own_chain() -> None:
    other = identity("payee", parent_id="boss")
    made = question(purchase(resource=ResourceRef("agent", "payee")), (other, ROOT)).entities
    assert [each["uid"] for each in made] == [
        {"type": "Agent", "id": "bot"},
        {"type": "Team", "id": "team"},
        {"type": "User", "id": "boss"},
        {"type": "Agent", "id": "payee"},
    ]
    assert made[-1]["parents"] == [{"type": "User", "id": "boss"}]


def test_no_entity_is_given_twice() -> None:
    """Who pays itself is one entity."""
    made = question(purchase(resource=ResourceRef("agent", "bot")), CHAIN).entities
    assert len(made) == len(CHAIN)


# --- Tags that the caller claims --------------------------------------------------------------------------------------


def tags_of(asked: Question) -> dict[str, object]:
    """The tags that policies see, by entity."""
    return {cast("Any", entity["uid"])["id"]: entity.get("tags") for entity in asked.entities}


def test_claimed_tags_replace_stored_ones_of_the_acting_identity_for_this_request() -> None:
    acting = identity(metadata={"team": "red", "site": "a"})
    asked = posed(purchase(tags=ClaimedTags({"team": "blue"})), chain=(acting, TEAM, ROOT))
    assert isinstance(asked, Question)
    assert asked.is_claimed
    assert tags_of(asked)["bot"] == {"team": "blue", "site": "a"}
    assert acting.metadata == {"team": "red", "site": "a"}
    assert not question(purchase()).is_claimed


def test_tags_of_a_resource_are_claimed_where_it_is_an_identity() -> None:
    other = identity("peer", metadata={"team": "red"})
    request = purchase(resource=ResourceRef("agent", "peer"), merchant_category=None)
    asked = posed(msgspec.structs.replace(request, tags=ClaimedTags({"a": "1"}, {"team": "blue"})), (other, ROOT))
    assert isinstance(asked, Question)
    assert (tags_of(asked)["bot"], tags_of(asked)["peer"]) == ({"a": "1"}, {"team": "blue"})


def test_of_an_identity_that_acts_on_itself_counts_what_is_claimed_in_both_places() -> None:
    """It is one entity: what may be said of resources only would otherwise be said of who acts, and the reverse."""
    request = purchase(resource=ResourceRef("agent", "bot"), merchant_category=None)
    both = msgspec.structs.replace(request, tags=ClaimedTags({"a": "1", "b": "2"}, {"b": "2", "c": "3"}))
    chain = (identity(metadata={"a": "0", "c": "0"}), TEAM, ROOT)
    asked = posed(both, chain, chain=chain)
    assert isinstance(asked, Question)
    assert tags_of(asked)["bot"] == {"a": "0", "b": "2", "c": "0"}
    with pytest.raises(ValidationFailed, match="the tag `b` of one identity is claimed with two values"):
        posed(msgspec.structs.replace(request, tags=ClaimedTags({"b": "1"}, {"b": "2"})), CHAIN)

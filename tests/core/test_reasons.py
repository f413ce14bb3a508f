"""Reasons: which, in what order, and whether an agent could act on their words."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import reasons
from sidecar.core.instants import utc_text
from sidecar.core.model import AuthorizeRequest, Reason, ResourceRef
from sidecar.core.money import Major
from sidecar.core.policy import entity_slice
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_set import PolicySet
from sidecar.core.question import Circumstances, Question, pose
from sidecar.core.reasons import (
    CODES,
    blocked,
    exceeded,
    in_order,
    not_permitted,
    permitted,
    refused,
    stale,
    unbudgeted,
)
from sidecar.core.restrictions import RuleResource
from sidecar.core.rules import Alternative, Rules
from sidecar.core.ruling import Ruling
from sidecar.core.snapshot import PolicyRecord, TenantPolicies, compile_tenant
from sidecar.core.staleness import SKEW_MAX_US, Freshly
from sidecar.core.windows import PERIODS, zone
from tests.core.builders import (
    CHAIN,
    NOON_US,
    SCHEMA,
    budget,
    cedar_record,
    chain,
    check,
    compiled,
    purchase,
    rules_record,
)

PERMIT_ALL = '@id("all") permit (principal, action, resource);'
OVERFLOWING = """
@id("broken") forbid (principal, action == Action::"card.authorize", resource)
when { context.amount + 9223372036854775807 > 0 };
"""


def policies(*records: PolicyRecord, file: str = PERMIT_ALL) -> TenantPolicies:
    """What a tenant has of one file and of the API."""
    owned = [(record, None if record.identity_id is None else "User") for record in records]
    return compile_tenant(compiled(("policies/f.cedar", file)), "t_1", owned)


def answered(having: TenantPolicies, request: AuthorizeRequest) -> tuple[Reason, ...]:
    """The reasons that a request gets."""
    asked = pose(request, CHAIN, None, having.schema.forms, Circumstances(NOON_US, zone("UTC"), "live"))
    assert isinstance(asked, Question)
    ruling = having.policies.evaluate(asked.request, entity_slice(asked.entities, having.schema))
    if ruling.effect == "allow":
        return permitted(ruling, having.policies)
    return refused(ruling, having.policies, request, lambda: asked.seen)


def only(found: tuple[Reason, ...]) -> Reason:
    """The one reason there is."""
    (reason,) = found
    return reason


# --- Identities


def test_each_identity_that_blocks_is_named_a_revocation_first() -> None:
    found = blocked(chain(bot="suspended", team="revoked", boss="suspended"))
    assert [(reason.code, reason.identity_id) for reason in found] == [
        ("identity_revoked", "team"),
        ("identity_suspended", "bot"),
        ("identity_suspended", "boss"),
    ]
    assert found[0].message == "identity `team` (`Team`) is revoked"


def test_nothing_blocks_who_is_active() -> None:
    assert blocked(CHAIN) == ()


# --- Policies


def test_a_permit_names_each_policy_that_gave_it() -> None:
    found = answered(policies(file=PERMIT_ALL + '\n@id("more") permit (principal, action, resource);'), purchase())
    assert [(reason.verdict, reason.code, reason.policy_id, reason.source) for reason in found] == [
        ("permit", "permitted", "all", "policies/f.cedar:1"),
        ("permit", "permitted", "more", "policies/f.cedar:2"),
    ]
    assert found[0].message == "permitted by `all`"
    assert found[0].matched_rule is None


def test_a_grant_of_the_api_is_named_by_its_id() -> None:
    rules = rules_record("pol_1", Rules(actions=("card.authorize",)))
    reason = only(answered(policies(rules, file=""), purchase()))
    assert (reason.verdict, reason.policy_id, reason.matched_rule) == ("permit", "pol_1", None)


def test_a_linked_template_is_named_by_the_policy_that_it_belongs_to() -> None:
    template = '@id("mine") permit (principal in ?principal, action, resource);'
    reason = only(answered(policies(cedar_record("pol_1", template, "boss"), file=""), purchase()))
    assert (reason.policy_id, reason.source) == ("pol_1", "/v1/policies/pol_1:1")


def test_what_nothing_permits_says_who_wanted_what() -> None:
    reason = only(answered(policies(file=""), purchase()))
    assert reason.code == "not_permitted"
    assert reason.message == "no policy permits `card.authorize` on `merchant` `AWS` for identity `bot`"
    assert reason.policy_id is None


def test_a_request_that_no_policy_could_speak_of_is_not_permitted() -> None:
    assert not_permitted("the schema knows no action `x`") == Reason(
        verdict="deny", code="not_permitted", message="the schema knows no action `x`"
    )


def test_a_forbid_says_its_description_its_place_and_its_advice() -> None:
    text = f"""{PERMIT_ALL}
    @id("no-aws")
    @description("AWS is never paid")
    @advice("choose another merchant")
    forbid (principal, action, resource == Merchant::"AWS");"""
    reason = only(answered(policies(file=text), purchase()))
    assert (reason.verdict, reason.code, reason.message) == ("deny", "forbidden", "AWS is never paid")
    assert (reason.policy_id, reason.source, reason.advice) == (
        "no-aws",
        "policies/f.cedar:2",
        "choose another merchant",
    )
    assert reason.matched_rule is None


def test_a_forbid_without_a_description_is_named() -> None:
    reason = only(answered(policies(file="forbid (principal, action, resource);"), purchase()))
    assert (reason.message, reason.policy_id) == ("forbidden by `f.cedar#1`", "f.cedar#1")


def test_a_policy_that_fails_goes_before_one_that_forbids() -> None:
    text = '@id("no") forbid (principal, action, resource);' + OVERFLOWING
    found = answered(policies(file=text), purchase())
    assert [(reason.code, reason.policy_id) for reason in found] == [("policy_error", "broken"), ("forbidden", "no")]
    assert found[0].message.startswith("`broken` failed: ")
    assert "overflow" in found[0].message
    assert "\n" not in found[0].message


def test_a_policy_that_fails_denies_what_others_permit() -> None:
    text = PERMIT_ALL + OVERFLOWING
    assert [reason.code for reason in answered(policies(file=text), purchase())] == ["policy_error"]


# --- Rules

AT_AWS = RuleResource("merchant", "AWS")
ELSEWHERE = RuleResource("merchant", "GitHub")

RULES = [
    (Rules(max_amount=Major("47.22"), currency="CAD"), "max_amount", "amount at most 47.22 CAD", "`47.23 CAD`"),
    (Rules(currencies=("USD", "EUR")), "currencies", "currency one of USD, EUR", "`CAD`"),
    (Rules(currency="USD"), "currency", "currency one of USD", "`CAD`"),
    (Rules(allowed_mccs=("5411",)), "allowed_mccs", "merchant_category one of 5411", "`7372`"),
    (
        Rules(blocked_mccs=("7372",)),
        "blocked_mccs",
        "merchant_category given and not one of 7372",
        "`7372`",
    ),
    (Rules(allowed_hours=(13, 20)), "allowed_hours", "hour from 13 to 20", "`12`"),
    (Rules(allowed_days=(6, 7)), "allowed_days", "weekday one of 6, 7", "`1`"),
    (
        Rules(allowed_resources=(ELSEWHERE,)),
        "allowed_resources",
        "resource one of merchant GitHub",
        "`merchant` `AWS`",
    ),
    (Rules(blocked_resources=(AT_AWS,)), "blocked_resources", "resource not one of merchant AWS", "`merchant` `AWS`"),
]


@pytest.mark.parametrize(("rules", "key", "required", "seen"), RULES, ids=[row[1] for row in RULES])
def test_a_rule_that_failed_names_itself_what_it_requires_and_what_it_saw(
    rules: Rules, key: str, required: str, seen: str
) -> None:
    having = policies(rules_record("pol_1", rules))
    reason = only(answered(having, purchase(merchant_category="7372")))
    assert (reason.code, reason.policy_id, reason.matched_rule) == ("forbidden", "pol_1", key)
    assert reason.message == f"`{key}` of policy `pol_1` requires {required}, got {seen}"
    assert reason.source is not None
    assert reason.source.startswith("/v1/policies/pol_1:")


def test_every_rule_has_its_words() -> None:
    """A key that is added to the rules must say what it saw; `any` looks at several things."""
    keys = {key for _, key, _, _ in RULES}
    assert keys == set(Rules.__struct_fields__) - {"actions", "any"}


@pytest.mark.parametrize("key", ["allowed_mccs", "blocked_mccs"])
def test_a_category_that_was_left_out_is_said_to_be_missing(key: str) -> None:
    rules = Rules(allowed_mccs=("5411",)) if key == "allowed_mccs" else Rules(blocked_mccs=("5411",))
    reason = only(answered(policies(rules_record("pol_1", rules)), purchase()))
    assert reason.message.endswith(", got no `merchant_category`")


def test_alternatives_say_all_that_would_do() -> None:
    rules = Rules(any=(Alternative(currency="USD"), Alternative(allowed_days=(7,))))
    reason = only(answered(policies(rules_record("pol_1", rules)), purchase()))
    assert reason.matched_rule == "any"
    assert reason.message == "`any` of policy `pol_1` requires currency one of USD, or weekday one of 7"


def test_all_rules_that_failed_are_named() -> None:
    rules = Rules(currency="USD", allowed_days=(7,))
    found = answered(policies(rules_record("pol_1", rules), rules_record("pol_2", Rules(currency="EUR"))), purchase())
    assert [(reason.policy_id, reason.matched_rule) for reason in found] == [
        ("pol_1", "allowed_days"),
        ("pol_1", "currency"),
        ("pol_2", "currency"),
    ]


def test_the_amount_is_said_in_the_places_of_its_currency() -> None:
    rules = Rules(max_amount=Major("1000"), currency="JPY")
    reason = only(answered(policies(rules_record("pol_1", rules)), purchase(amount_minor=1001, currency="JPY")))
    assert reason.message == "`max_amount` of policy `pol_1` requires amount at most 1000 JPY, got `1001 JPY`"


# --- Budgets


def test_a_currency_that_was_never_budgeted_names_whose_it_is_and_what_is_known() -> None:
    reason = only(unbudgeted([budget(currency="EUR")], "CAD"))
    assert reason.code == "currency_not_budgeted"
    assert reason.message == "identity `bot` has no budget in `CAD`, expected `EUR`"
    assert (reason.identity_id, reason.budget_id, reason.currency) == ("bot", "bud_1", "CAD")


def test_a_card_without_a_budget_in_the_currency_is_called_a_card() -> None:
    reason = only(unbudgeted([budget(identity_id=None, card_id="card_1")], "EUR"))
    assert reason.message == "card `card_1` has no budget in `EUR`, expected `CAD`"
    assert reason.identity_id is None


def test_a_budget_says_what_was_asked_what_remains_and_when_to_try_again() -> None:
    reason = exceeded(check(), NOON_US)
    assert (reason.code, reason.budget_id, reason.identity_id) == ("budget_exceeded", "bud_1", "bot")
    assert reason.message == "budget `Bot, a day` allows 100 CAD a day, 47.23 CAD was asked and 35 CAD remains"
    assert (reason.requested, reason.remaining, reason.currency) == (4723, 3500, "CAD")
    assert reason.retry_at_us == NOON_US


def test_a_limit_per_transaction_is_never_over_later() -> None:
    reason = exceeded(check(period="per_transaction"), NOON_US)
    assert (reason.code, reason.retry_at_us) == ("per_transaction_limit", None)


@pytest.mark.parametrize(
    ("dimension", "currency", "figure"), [("tokens", None, "10000 tokens"), ("count", None, "10000 count")]
)
def test_a_quantity_is_said_in_its_own_name(dimension: str, currency: str | None, figure: str) -> None:
    reason = exceeded(check(dimension=dimension, currency=currency), None)
    assert f"allows {figure} a day" in reason.message


@pytest.mark.parametrize("period", PERIODS)
def test_every_period_has_its_words(period: str) -> None:
    assert "CAD" in exceeded(check(period=period), None).message


# --- Stale data


def test_data_that_is_fresh_enough_is_no_reason() -> None:
    assert stale(Freshly(60_000_000, 60_000_000, SKEW_MAX_US), "tool.call", NOON_US) == ()


def test_data_that_is_too_old_says_how_old_since_when_and_what_is_allowed() -> None:
    reason = only(stale(Freshly(75_000_001, 60_000_000), "card.authorize", NOON_US))
    assert (reason.verdict, reason.code) == ("deny", "replica_stale")
    assert reason.message == (
        "`card.authorize` may rest on data of at most 60 s, and this was confirmed 75.001 s ago, as of"
        f" `{utc_text(NOON_US - 75_000_001)}`"
    )
    assert reason.advice == "ask again once this server has heard from its control plane"
    assert reason.retry_at_us is None


def test_data_of_unknown_age_is_too_old() -> None:
    reason = only(stale(Freshly(None, 3_600_000_000), "tool.call", NOON_US))
    assert reason.message == "`tool.call` may rest on data of at most 3600 s, and nobody can say how old this is"


def test_a_fault_a_clock_that_is_off_and_age_are_reasons_each() -> None:
    found = stale(Freshly(5_000_000, 1_000_000, 7_200_000_000, "the log was forked"), "tool.call", NOON_US)
    assert [reason.message.partition(",")[0] for reason in found] == [
        "nothing is permitted here until someone has looked: the log was forked",
        "the time here is 7200 s behind the control plane's",
        "`tool.call` may rest on data of at most 1 s",
    ]
    ahead = only(stale(Freshly(0, 1_000_000, -60_000_001), "tool.call", NOON_US))
    assert ahead.message == "the time here is 60.001 s ahead of the control plane's, at most 60 s are allowed"


# --- Order


@given(st.lists(st.sampled_from(CODES), max_size=8))
def test_reasons_stand_in_the_order_of_codes_and_those_of_one_code_as_they_came(codes: list[str]) -> None:
    given_ = [Reason(verdict="deny", code=code, message=str(number)) for number, code in enumerate(codes)]
    expected = [reason for code in CODES for reason in given_ if reason.code == code]
    assert list(in_order(given_)) == expected


def test_codes_are_permanent() -> None:
    """The order of the wire contract; a code that is released never changes."""
    assert CODES == (
        "identity_revoked",
        "identity_suspended",
        "card_frozen",
        "card_closed",
        "policy_error",
        "forbidden",
        "not_permitted",
        "currency_not_budgeted",
        "budget_exceeded",
        "per_transaction_limit",
        "replica_stale",
    )


def test_the_reason_of_a_permit_is_made_once_for_each_set_of_policies() -> None:
    units = compile_statements('@id("a") permit(principal, action, resource);', "f.cedar", SCHEMA, shared=False)
    first, second = PolicySet(units, (), SCHEMA), PolicySet(units, (), SCHEMA)
    ruling = Ruling("allow", ("a",))
    reason = only(permitted(ruling, first))
    assert only(permitted(ruling, first)) is reason
    assert only(permitted(ruling, second)) is not reason
    assert permitted(ruling, second) == (reason,)


def test_every_code_that_is_given_is_in_the_list() -> None:
    given_ = [
        *blocked(chain(bot="suspended", team="revoked")),
        not_permitted("x"),
        *unbudgeted([budget()], "EUR"),
        exceeded(check(), None),
        exceeded(check(period="per_transaction"), None),
        *stale(Freshly(None, 1), "tool.call", NOON_US),
    ]
    assert {reason.code for reason in given_} <= set(reasons.CODES)
    assert {cast("str", reason.verdict) for reason in given_} == {"deny"}


def test_a_resource_is_said_as_the_caller_wrote_it() -> None:
    rules = rules_record("pol_1", Rules(allowed_resources=(ELSEWHERE,)))
    reason = only(answered(policies(rules), purchase(resource=ResourceRef("merchant", "Zoë's"))))
    assert reason.message.endswith("got `merchant` `Zoë's`")

"""A review tells everything that is wrong with a set of policy files, and an error exactly where the server refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.errors import PolicyInvalid, ValidationFailed
from sidecar.core.findings import Finding
from sidecar.core.inspection import TOGETHER, inspect
from sidecar.core.policy_files import check_files
from sidecar.core.snapshot import PolicyFiles, SourceFile
from tests.core.builders import files

CARD = 'principal is Agent, action == Action::"card.authorize", resource is Merchant'
GOOD = f'@id("good") permit ({CARD}) when {{ context.amount < 5 }};'


def review(*texts: str, **own: str) -> tuple[Finding, ...]:
    """What is found in policies for all tenants, and in one file of each tenant that is named."""
    shared = tuple((f"policies/{number}.cedar", text) for number, text in enumerate(texts))
    by_tenant = {tenant: (SourceFile(f"policies/{tenant}/own.cedar", text),) for tenant, text in own.items()}
    return inspect(files(*shared, by_tenant=by_tenant)).findings


def codes(*texts: str, **own: str) -> list[str]:
    """The rules that are broken."""
    return [each.code for each in review(*texts, **own)]


def test_good_policies_have_no_findings() -> None:
    """Nothing is said against nothing either, and each file is counted and told of."""
    told: list[None] = []
    wanted = files(("policies/a.cedar", GOOD), by_tenant={"t_1": (SourceFile("policies/t_1/b.cedar", "// none"),)})
    found = inspect(wanted, lambda: told.append(None))
    assert (found.findings, found.files, len(told)) == ((), 3, 2)


def test_all_that_is_wrong_is_told_in_the_order_of_the_places() -> None:
    """Breaks, policies that do not parse and policies that do not fit, of all files."""
    first = (
        f'{GOOD}\npermt (principal, action, resource);\n@id("a") permit ({CARD})\n'
        'when { context.purpose == "x" && context.amout > 3 };\npermit (principal;\n'
        '@id("good") forbid (principal is Agnt, action, resource);\n'
    )
    second = f'@id("b") permit ({CARD}) when {{ false }};'
    found = review(first, second)
    assert [(each.file[-7], each.line, each.code) for each in found] == [
        ("0", 2, "syntax_error"),
        ("0", 4, "unguarded_attribute"),
        ("0", 4, "unknown_name"),
        ("0", 5, "syntax_error"),
        ("0", 6, "duplicate_id"),
        ("0", 6, "unknown_name"),
        ("1", 1, "never_applies"),
    ]
    assert found[4].message == "the id `good` is taken: `policies/0.cedar:1:1` has it"


@pytest.mark.parametrize(
    "conditions",
    [
        "",
        " when { true } unless { false }",
        " when { context has amount }",
        " when { context.amount > 3 || true } when { 1 == 1 }",
        " unless { context has nothing }",
    ],
)
def test_spending_on_conditions_that_are_always_true_is_told(conditions: str) -> None:
    """They look as if something limited it; one that can be false is a condition, whatever is beside it."""
    policy = f'@id("a") permit ({CARD}){conditions}'
    assert codes(f"{policy};") == ["unconditional_spend"]
    assert codes(f"{policy} when {{ context.amount < 5 }};") == []
    assert codes(f"{policy};".replace("permit", "forbid")) == []


def test_only_the_permit_that_nothing_limits_is_told() -> None:
    """Of several in a file, at its place."""
    found = review(f'{GOOD}\n@id("all") permit (principal, action, resource);\n{GOOD.replace("good", "more")}')
    assert [(each.code, each.line) for each in found] == [("unconditional_spend", 2)]


def test_a_template_in_a_file_is_told() -> None:
    """Nothing links it; whether it has conditions does not matter then."""
    assert codes('@id("a") permit (principal in ?principal, action, resource);') == ["unlinked_template"]


@pytest.mark.parametrize(
    ("condition", "meant"),
    [
        ("context.amount > 1 && false", "false"),
        ("resource is Tool", "resource is Tool"),
        ("context has nothing", "context has nothing"),
        ("principal == resource && context.amount > 1", "principal == resource"),
        ("context.amount > 1 } unless { true", "true"),
    ],
)
def test_a_policy_that_is_false_for_every_request_is_told(condition: str, meant: str) -> None:
    """At the first piece that makes it so."""
    (found,) = review(f'@id("a") permit ({CARD}) when {{ {condition} }};')
    assert found.code == "never_applies"
    assert found.excerpt[found.column - 1 : found.end_column - 1] == meant


def test_one_that_depends_on_the_request_is_not() -> None:
    """What only arithmetic can tell is not told."""
    assert codes(f'@id("a") permit ({CARD}) when {{ context.amount > 2 && context.amount < 1 }};') == []
    assert codes('@id("a") permit (principal, action, resource) when { principal is User };') == []


def test_ids_are_taken_within_a_tenant() -> None:
    """By those for all tenants as well; two tenants may use the same."""
    assert codes(GOOD, t_1=GOOD, t_2=f"{GOOD}{GOOD}") == ["duplicate_id"] * 3
    assert codes(t_1=GOOD, t_2=GOOD) == []
    assert codes(GOOD, GOOD, t_1=GOOD.replace("good", "own")) == ["duplicate_id"]


def test_ids_must_be_ids() -> None:
    """One that is empty or has backticks is refused at its place."""
    (found,) = review(f"\n {GOOD.replace('good', '`')}")
    assert (found.code, found.line, found.column, found.end_column) == ("malformed_id", 2, 2, 5)


def test_entities_of_one_tenant_are_no_matter_of_all() -> None:
    """A tenant's own policy may look into them."""
    text = '@id("a") forbid (principal, action, resource) when { User::"ann".name == "Ann" };'
    (found,) = review(text)
    assert (found.code, found.excerpt[found.column - 1 : found.end_column - 1]) == ("literal_access", 'User::"ann"')
    assert codes(t_1=text) == []


def test_without_a_good_schema_policies_are_parsed_all_the_same() -> None:
    """What a schema is needed for is not said."""
    wanted = PolicyFiles(
        schemas=(SourceFile("schemas/s.cedarschema", "entity A = ;"),),
        shared=(SourceFile("policies/a.cedar", f"permt;\npermit ({CARD.replace('Agent', 'Agnt')});"),),
        by_tenant={},
    )
    assert [each.code for each in inspect(wanted).findings] == ["syntax_error", "missing_id", "schema_invalid"]


def test_policies_are_known_by_their_places_in_long_files() -> None:
    """Those that the validator is given later keep their lines."""
    good = [GOOD.replace("good", f"p{number}") for number in range(TOGETHER + 5)]
    good[TOGETHER + 2] = f'@id("x") permit ({CARD}) when {{ context.zzz }};'
    good[TOGETHER + 4] = f'@id("y") permit ({CARD}) when {{ false }};'
    found = review("\n".join(good))
    assert [(each.line, each.code) for each in found] == [
        (TOGETHER + 3, "unknown_name"),
        (TOGETHER + 5, "never_applies"),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                GOOD,
                GOOD.replace("good", "other"),
                GOOD.replace("good", ""),
                f"permit ({CARD});",
                "permit (principal, action, resource) when { (true };",
                'permit (principal, action, resource) when { "x };',
                "permit (principal, action",
                "permt (principal, action, resource);",
                f'forbid ({CARD}) when {{ context.purpose == "x" }};',
                f"forbid ({CARD}) when {{ false }};",
                'forbid (principal, action, resource) when { User::"ann".name == "Ann" };',
                "permit (principal == ?principal, action, resource);",
                "// a;\n",
            ]
        ),
        max_size=4,
    ).map("\n".join),
    st.sampled_from(["", GOOD, GOOD + GOOD, "permit (principal is Agnt, action, resource);"]),
)
def test_an_error_is_found_exactly_where_the_server_refuses(shared: str, own: str) -> None:
    """A file that passes the review is loaded, and one that does not is not."""
    wanted = files(("policies/a.cedar", shared), by_tenant={"t_1": (SourceFile("policies/t_1/b.cedar", own),)})
    try:
        check_files(wanted)
        refused = False
    except (PolicyInvalid, ValidationFailed):
        refused = True
    assert (inspect(wanted).errors > 0) == refused

"""Hints are what policies name where they look at amounts, currencies, categories, resources and hours."""

import pytest

from sidecar.core.hints import Hints, hints
from sidecar.core.model import ResourceRef
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_set import PolicySet
from tests.core.builders import SCHEMA

CARD = 'principal, action == Action::"card.authorize", resource is Merchant'


def named(text: str) -> Hints:
    """What the policies in ``text`` name."""
    policies = PolicySet(compile_statements(text, "f.cedar", SCHEMA, shared=False), (), SCHEMA)
    return hints(policies.entries, SCHEMA.model)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("context.amount <= 20000 && context.weekday == 7", Hints(amounts=(20_000,), hours=frozenset({0, 7}))),
        ('["CAD", "nope"].contains(context.currency)', Hints(currencies=("CAD",))),
        (
            'context has merchant_category && ["7372", "73"].contains(context.merchant_category)',
            Hints(merchant_categories=("7372",)),
        ),
        (
            'resource has merchant_category && resource.merchant_category == "5812"',
            Hints(merchant_categories=("5812",)),
        ),
        ("context.hour >= 9 && context.hour < 24", Hints(hours=frozenset({0, 9}))),
        ('context.now > datetime("2026-01-01")', Hints(hours=frozenset({0}))),
        ('resource == Merchant::"AWS"', Hints(resources=(ResourceRef("merchant", "AWS"),))),
        ('principal == Agent::"bot" && context.mode == "CAD"', Hints()),
    ],
)
def test_a_condition_names_what_it_compares_with(condition: str, expected: Hints) -> None:
    assert named(f"forbid({CARD}) unless {{ {condition} }};") == expected


def test_a_permit_names_the_actions_and_resources_of_its_scope() -> None:
    found = named('permit(principal, action in Action::"spend", resource == Merchant::"AWS");')
    assert (found.actions, found.resources) == (("card.authorize",), (ResourceRef("merchant", "AWS"),))
    assert named('forbid(principal, action in Action::"spend", resource == Merchant::"AWS");') == Hints()


def test_an_identity_is_no_hint() -> None:
    """It would have to be looked up, and may be out of the caller's reach."""
    assert named('permit(principal, action == Action::"card.authorize", resource == Agent::"bot");').resources == ()

"""Facts: the bytes by which a version of an identity or a budget is known."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.budget import Budget
from sidecar.core.directory import CardDefaults, Identity
from sidecar.core.facts import budget_fact, identity_fact
from tests.core.builders import budget, identity

METADATA = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.integers(-(2**53), 2**53))


@given(METADATA, st.sampled_from(["active", "suspended", "revoked"]))
def test_an_identity_can_be_read_back_from_its_fact(metadata: dict[str, int | None], status: str) -> None:
    kept = identity(metadata=metadata, status=status)
    assert msgspec.json.decode(identity_fact(kept), type=Identity) == kept


@given(st.integers(0, 10**15), st.lists(st.sampled_from(["spend", "tool.call"]), max_size=2).map(tuple))
def test_a_budget_can_be_read_back_from_its_fact(limit: int, actions: tuple[str, ...]) -> None:
    kept = budget(limit=limit, actions=actions)
    assert msgspec.json.decode(budget_fact(kept), type=Budget) == kept


@given(METADATA)
def test_the_order_in_which_metadata_were_written_makes_no_other_fact(metadata: dict[str, int | None]) -> None:
    turned = dict(reversed(metadata.items()))
    assert identity_fact(identity(metadata=metadata)) == identity_fact(identity(metadata=turned))


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "revoked"},
        {"name": "Other"},
        {"parent_id": "boss"},
        {"metadata": {"a": 1}},
        {"external_id": "x"},
        {"max_cards": 1},
        {"revision": 9},
        {"revoked_at_us": 1},
    ],
)
def test_another_version_of_an_identity_is_another_fact(changes: dict[str, object]) -> None:
    assert identity_fact(identity(**changes)) != identity_fact(identity())


@pytest.mark.parametrize(
    "changes", [{"limit": 1}, {"on_exceeded": "track"}, {"name": "Other"}, {"notify_at_bp": 1}, {"revision": 9}]
)
def test_another_version_of_a_budget_is_another_fact(changes: dict[str, object]) -> None:
    assert budget_fact(budget(**changes)) != budget_fact(budget())


def test_a_fact_is_canonical_json() -> None:
    text = identity_fact(identity(name="Zoë", metadata={"b": 1, "a": [True]})).decode()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_a_version_from_before_a_field_came_is_found_by_the_same_bytes() -> None:
    """What is unset is left out; what is set to nothing at all is not."""
    assert b"description" not in identity_fact(identity())
    assert b"card_defaults" not in identity_fact(identity())
    assert b"revoked_at_us" not in identity_fact(identity())
    assert b"account_id" not in budget_fact(budget())
    assert b'"description":""' in identity_fact(identity(description=""))


def test_what_came_later_is_read_back() -> None:
    kept = identity(description="Buys", card_defaults=CardDefaults(5_000, "CAD", "monthly"))
    assert msgspec.json.decode(identity_fact(kept), type=Identity) == kept
    limit = budget(account_id="acct_1")
    assert msgspec.json.decode(budget_fact(limit), type=Budget) == limit


def test_when_a_version_was_changed_is_part_of_it() -> None:
    assert b"updated_at_us" not in identity_fact(identity()) + budget_fact(budget())
    assert b'"updated_at_us":7' in identity_fact(identity(updated_at_us=7))
    assert b'"updated_at_us":7' in budget_fact(budget(updated_at_us=7))

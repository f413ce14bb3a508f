"""Identity chains, what blocks them, and what Cedar is told of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.directory import Identity, block_on, entities_of, entity_of, tag_text, walk
from sidecar.core.errors import NotFound, StoreUnusable
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.core.model import Json
from sidecar.core.policy import entity_slice
from tests.core.builders import AGENT, CHAIN, ROOT, SCHEMA, TEAM, chain, identity

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_é", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def line(depth: int) -> dict[str, Identity]:
    """A hierarchy of one identity below the other, the root called 0."""
    parents: list[str | None] = [None, *map(str, range(depth - 1))]
    return {str(number): identity(str(number), parent_id=parent) for number, parent in enumerate(parents)}


@given(st.integers(1, CHAIN_DEPTH_MAX))
def test_a_chain_goes_from_the_identity_to_the_root(depth: int) -> None:
    people = line(depth)
    found = walk(str(depth - 1), people.get)
    assert [each.identity_id for each in found] == [str(number) for number in reversed(range(depth))]
    assert found[-1].parent_id is None


def test_an_identity_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFound, match="unknown identity `nobody`") as caught:
        walk("nobody", dict[str, Identity]().get)
    assert caught.value.field == "identity_id"


def test_a_chain_with_a_missing_ancestor_is_a_broken_store() -> None:
    with pytest.raises(StoreUnusable, match="the chain of identity `bot` breaks at `team`"):
        walk("bot", {"bot": AGENT}.get)


def test_a_chain_longer_than_can_be_made_is_a_broken_store() -> None:
    with pytest.raises(StoreUnusable, match=f"breaks at `{0}`"):
        walk(str(CHAIN_DEPTH_MAX), line(CHAIN_DEPTH_MAX + 1).get)


def test_a_chain_that_bites_its_tail_is_a_broken_store() -> None:
    ring = {"a": identity("a", parent_id="b"), "b": identity("b", parent_id="a")}
    with pytest.raises(StoreUnusable):
        walk("a", ring.get)


def test_nothing_blocks_a_chain_that_is_active() -> None:
    assert block_on(CHAIN) is None


@pytest.mark.parametrize(
    ("statuses", "status", "who"),
    [
        ({"bot": "suspended"}, "suspended", "bot"),
        ({"boss": "revoked"}, "revoked", "boss"),
        ({"bot": "suspended", "boss": "revoked"}, "revoked", "boss"),
        ({"team": "suspended", "boss": "suspended"}, "suspended", "team"),
        ({"bot": "revoked", "team": "revoked"}, "revoked", "bot"),
    ],
)
def test_a_revocation_goes_before_a_suspension_and_the_nearest_of_a_kind_is_named(
    statuses: dict[str, str], status: str, who: str
) -> None:
    block = block_on(chain(**statuses))
    assert block is not None
    assert (block.status, block.identity.identity_id) == (status, who)


def test_an_identity_becomes_an_entity() -> None:
    made = entity_of(identity(external_id="crm-7", metadata={"cost_center": "7", "level": 3}), TEAM)
    assert made == {
        "uid": {"type": "Agent", "id": "bot"},
        "attrs": {"name": "Bot", "status": "active", "external_id": "crm-7"},
        "parents": [{"type": "Team", "id": "team"}],
        "tags": {"cost_center": "7", "level": "3"},
    }


def test_what_an_identity_has_not_is_left_out() -> None:
    assert entity_of(ROOT, None) == {
        "uid": {"type": "User", "id": "boss"},
        "attrs": {"name": "Boss", "status": "active"},
        "parents": [],
        "tags": {},
    }


def test_each_entity_of_a_chain_hangs_on_the_next() -> None:
    assert [each["parents"] for each in entities_of(CHAIN)] == [
        [{"type": "Team", "id": "team"}],
        [{"type": "User", "id": "boss"}],
        [],
    ]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_is_a_tag_as_it_is(text: str) -> None:
    assert tag_text(text) == text


@given(PLAIN.filter(lambda value: not isinstance(value, str)))
def test_any_other_value_is_a_tag_as_canonical_json(value: Json) -> None:
    assert json.loads(tag_text(value)) == value
    assert tag_text(value) == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@given(st.dictionaries(st.text("abc_é", max_size=3), PLAIN, max_size=3), st.none() | st.just("crm-7"))
def test_cedar_takes_whatever_an_identity_holds(metadata: dict[str, Json], external_id: str | None) -> None:
    described = identity(metadata=metadata, external_id=external_id)
    entity_slice(entities_of((described, TEAM, ROOT)), SCHEMA)

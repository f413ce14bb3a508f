"""Subtrees: a list of one is the subtree and nothing else, whole however it is cut, and costs what it shows."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.access import Caller
from sidecar.core.errors import ValidationFailed
from sidecar.service import paging
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.budgets import BudgetFilter
from sidecar.service.paging import PageRequest
from sidecar.service.subtrees import IdentityFilter, subtree
from tests.service.builders import OPERATOR, World, limit

ANYBODY = IdentityFilter()


def grow(world: World, parents: list[int]) -> list[str]:
    """Make the root and an identity below the n-th one before it for each of ``parents``; returns their ids."""
    names = ["root"]
    for number, parent in enumerate(parents, start=1):
        names.append(f"i{number}")
        world.identity(names[-1], names[parent % number])
    return names


def named(owner: str, name: str) -> BudgetDraft:
    """A budget that a list can be recognised by."""
    return msgspec.structs.replace(limit(10, owner), name=name)


def below(world: World, top: str) -> list[str]:
    """The subtree of ``top`` depth first, by the obvious recursion."""
    with world.look() as part:
        everybody = [listed.value for listed in part.identities.all()]

    def visit(name: str) -> list[str]:
        children = [each.identity_id for each in everybody if each.parent_id == name]
        return [name, *(found for child in children for found in visit(child))]

    return visit(top)


def listed(world: World, caller: Caller, limit_: int, wanted: IdentityFilter = ANYBODY) -> list[str]:
    """Whom a caller is shown, over all pages."""
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page = world.registry.listed(caller, None if caller.token else "t_one", wanted, PageRequest(after, limit_))
        assert len(page.values) <= limit_
        found += [described.identity.identity_id for described in page.values]
        after = page.next_after
    return found


def budgets(world: World, caller: Caller, limit_: int) -> list[str]:
    """Which budgets a caller is shown, over all pages."""
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        tenant_id = None if caller.token else "t_one"
        page = world.treasurer.listed(caller, tenant_id, BudgetFilter(), PageRequest(after, limit_), world.now_us)
        assert len(page.values) <= limit_
        found += [metered.budget.name for metered in page.values]
        after = page.next_after
    return found


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 5), st.integers(0, 12))
@settings(max_examples=15, deadline=None)
def test_an_agent_is_shown_its_subtree_once_however_the_list_is_cut(
    tmp_path_factory: pytest.TempPathFactory, parents: list[int], size: int, chosen: int
) -> None:
    with World(tmp_path_factory.mktemp("tree")) as world:
        world.found()
        names = grow(world, parents)
        top = names[chosen % len(names)]
        caller = world.token(top)
        assert listed(world, caller, size) == below(world, top)
        assert listed(world, OPERATOR, size) == names
        with world.look() as part:
            assert [each.value.identity_id for each in subtree(part.identities, top)] == below(world, top)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=6), st.integers(1, 4), st.integers(0, 6))
@settings(max_examples=15, deadline=None)
def test_an_agent_is_shown_the_budgets_of_its_subtree_identity_by_identity(
    tmp_path_factory: pytest.TempPathFactory, shape: list[tuple[int, int]], size: int, chosen: int
) -> None:
    with World(tmp_path_factory.mktemp("tree")) as world:
        world.found()
        names = grow(world, [parent for parent, _ in shape])
        owned: dict[str, list[str]] = {name: [] for name in names}
        for name, (_, count) in zip(names[1:], shape, strict=True):
            for number in range(count):
                owned[name].append(f"{name}/{number}")
                world.budget(named(name, f"{name}/{number}"))
        top = names[chosen % len(names)]
        expected = [budget for name in below(world, top) for budget in owned[name]]
        assert budgets(world, world.token(top), size) == expected
        assert budgets(world, OPERATOR, size) == [budget for name in names for budget in owned[name]]


@pytest.fixture
def org(world: World) -> World:
    """A team with ann, and bob beside it."""
    world.found()
    world.identity("team", type_name="team")
    world.identity("ann", "team", external_id="e-ann")
    world.identity("bob", external_id="e-bob")
    return world


def test_a_budget_that_was_deleted_between_two_pages_does_not_end_the_list(org: World) -> None:
    made = [org.budget(named("ann", f"b{number}")).budget for number in range(3)]
    caller = org.token("team")
    first = org.treasurer.listed(caller, None, BudgetFilter(), PageRequest(0, 1), org.now_us)
    org.run(org.treasurer.delete(OPERATOR, "t_one", made[0].budget_id, org.now_us))
    rest = org.treasurer.listed(caller, None, BudgetFilter(), PageRequest(first.next_after or 0, 5), org.now_us)
    assert [metered.budget.name for metered in rest.values] == ["b1", "b2"]


def test_a_subtree_without_budgets_is_looked_through_a_piece_at_a_time(
    org: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may be empty and still have a next one; what it costs is bounded."""
    for number in range(5):
        org.identity(f"i{number}", "team")
    org.budget(named("i4", "last"))
    monkeypatch.setattr(paging, "SCANNED_MAX", 3)
    caller, pages, after = org.token("team"), [], 0
    while (
        page := org.treasurer.listed(caller, None, BudgetFilter(), PageRequest(after, 5), org.now_us)
    ).next_after is not None:
        pages.append(len(page.values))
        after = page.next_after
    assert (pages, [metered.budget.name for metered in page.values]) == ([0, 0], ["last"])


@pytest.mark.parametrize("place", [10**6, 1, 2**70])
def test_a_place_outside_the_subtree_is_a_cursor_of_another_list(org: World, place: int) -> None:
    """The root's place as much as one that nobody has."""
    with pytest.raises(ValidationFailed) as refused:
        org.registry.listed(org.token("team"), None, ANYBODY, PageRequest(place))
    assert refused.value.field == "cursor"


@pytest.mark.parametrize("limit_", [1, 5])
def test_a_cursor_that_somebody_made_up_shows_nobody_elses_budgets(org: World, limit_: int) -> None:
    """A cursor is no secret: what it names is checked against the token before anything is shown."""
    org.budget(named("bob", "secret"))
    org.budget(named("bob", "secret too"))
    with org.look() as part:
        bob = part.identities.place_of("bob")
    for place in ((bob << 64), (bob << 64) + 1, 1, (10**6 << 64), (1 << 127)):
        with pytest.raises(ValidationFailed) as refused:
            org.treasurer.listed(org.token("team"), None, BudgetFilter(), PageRequest(place, limit_), org.now_us)
        assert refused.value.field == "cursor"


def test_an_external_id_is_looked_up_within_reach(org: World) -> None:
    team = org.token("team")
    by_ann, by_bob = IdentityFilter(external_id="e-ann"), IdentityFilter(external_id="e-bob")
    assert listed(org, team, 1, by_ann) == listed(org, OPERATOR, 1, by_ann) == ["ann"]
    assert (listed(org, team, 1, by_bob), listed(org, OPERATOR, 1, by_bob)) == ([], ["bob"])
    assert listed(org, OPERATOR, 1, IdentityFilter(external_id="e-none")) == []
    for change in ({"parent_id": "root"}, {"type": "team"}, {"status": "suspended"}):
        assert listed(org, OPERATOR, 1, IdentityFilter(external_id="e-ann", **change)) == []  # type: ignore[arg-type]
    page = org.registry.listed(OPERATOR, "t_one", by_ann, PageRequest(10**6))
    assert page == ((), None)


def test_a_token_that_reaches_nobody_is_shown_nothing(org: World) -> None:
    """As a follower's is that belongs to no identity."""
    token = org.token("ann").token
    assert token is not None
    stray = Caller("follower", msgspec.structs.replace(token, identity_id=None))
    org.budget(limit(10, "ann"))
    assert (listed(org, stray, 5), budgets(org, stray, 5)) == ([], [])

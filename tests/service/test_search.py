"""Searches: what is looked at, within whose reach, in pages; and that nothing is changed."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.errors import NotFound, ValidationFailed
from sidecar.service import ruling, search_plan
from sidecar.service import search as searching_module
from sidecar.service.search import PageAsked
from tests.service.builders import OPERATOR, World, limit, payment, replaced
from tests.service.searching import call, files, pages, results, search, searcher

NAMING = """
permit(principal, action, resource is Tool) when { [Tool::"saw", Tool::"axe", Tool::"a\\u{0}"].contains(resource) };
"""
EVERYBODY = "permit(principal, action, resource);"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[World]:
    """A team of three agents, one of them with an agent below it, and an agent beside the team."""
    with World(tmp_path, files=files(EVERYBODY)) as world:
        world.found()
        world.identity("team", type_name="team")
        for name in ("a", "b", "c"):
            world.identity(name, "team")
        world.identity("below", "b", metadata={"color": "red"})
        world.identity("beside")
        yield world
        assert world.faults() == []


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whom a search decided on."""
    seen: list[str] = []
    rule = ruling.rule

    def noting(*asked: object) -> object:
        seen.append(asked[2].identity_id)  # type: ignore[attr-defined]
        return rule(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(searching_module, "rule", noting)
    return seen


def test_who_may_is_listed_depth_first(office: World) -> None:
    assert results(office, search("subject", call())) == ["a", "b", "below", "c", "beside"]
    assert results(office, search("subject", call(), "user")) == ["root"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 200])
def test_pages_show_each_result_once(office: World, size: int) -> None:
    assert results(office, search("subject", call()), limit=size) == ["a", "b", "below", "c", "beside"]


def test_nobody_is_looked_at_where_no_policy_could_permit(office: World, evaluated: list[str]) -> None:
    office.load(files('permit(principal, action, resource) when { context has note && context.note == "x" };'))
    assert results(office, search("subject", call())) == []
    assert evaluated == []


def test_nobody_is_looked_at_where_all_are_forbidden(office: World, evaluated: list[str]) -> None:
    office.load(files(EVERYBODY, 'forbid(principal in User::"root", action == Action::"call", resource);'))
    assert results(office, search("subject", call())) == []
    assert results(office, search("resource", call("a", resource=("agent", "")))) == []
    assert evaluated == []


def test_no_resource_is_looked_at_where_all_are_forbidden(office: World, evaluated: list[str]) -> None:
    office.load(files(EVERYBODY, "forbid(principal, action, resource is Agent);"))
    assert results(office, search("resource", call("a", resource=("agent", "")))) == []
    assert results(office, search("resource", call("a", resource=("lamp", "")))) == ["green", "red"]
    office.load(files(EVERYBODY, "forbid(principal, action, resource);"))
    assert results(office, search("resource", call("a", resource=("lamp", "")))) == []
    assert "green" not in evaluated


def test_only_the_branches_that_policies_name_are_looked_at(office: World, evaluated: list[str]) -> None:
    office.load(
        files(
            'permit(principal in Agent::"b", action, resource);',
            'permit(principal in Agent::"below", action, resource);',
            'permit(principal == Agent::"c", action, resource);',
            'permit(principal == Agent::"below", action, resource);',
            'permit(principal in Agent::"nobody", action, resource);',
            'permit(principal in Team::"a", action, resource);',
        )
    )
    assert results(office, search("subject", call()), limit=1) == ["b", "below", "c"]
    assert set(evaluated) == {"b", "below", "c"}


def test_a_branch_that_is_blocked_or_forbidden_is_passed_over(office: World, evaluated: list[str]) -> None:
    office.load(
        files(
            'permit(principal in Agent::"b", action, resource);',
            'permit(principal in Agent::"beside", action, resource);',
            'permit(principal in Agent::"a", action, resource);',
            'forbid(principal in Agent::"b", action, resource);',
        )
    )
    office.revoke("beside")
    assert results(office, search("subject", call())) == ["a"]
    assert evaluated == ["a"]


def test_an_agent_is_shown_its_own_reach(office: World) -> None:
    caller = office.token("b")
    assert results(office, search("subject", call()), caller) == ["b", "below"]
    assert results(office, search("resource", call("b", resource=("agent", ""))), caller) == ["b", "below"]
    assert results(office, search("resource", call("a", resource=("agent", ""))), caller) == []
    assert results(office, search("action", call("a")), caller) == []
    office.load(files('permit(principal in Agent::"a", action, resource);'))
    assert results(office, search("subject", call()), caller) == []
    office.load(files('permit(principal in Team::"team", action, resource);'))
    assert results(office, search("subject", call()), caller) == ["b", "below"]


def test_a_caller_who_reaches_nobody_finds_nobody(office: World) -> None:
    follower = msgspec.structs.replace(office.token(None), kind="follower")
    assert results(office, search("subject", call()), follower) == []


def test_budgets_are_looked_at_as_a_dry_run_does(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.tenant()
        world.identity("rich")
        world.identity("poor")
        world.budget(limit("50.00", "rich"))
        world.budget(limit("5.00", "poor"))
        kinds = world.kinds()
        assert results(world, search("subject", payment("10.00"))) == ["rich"]
        assert world.kinds() == kinds


def test_resources_that_are_not_stored_are_those_that_policies_name(office: World) -> None:
    tools = search("resource", call("a"))
    assert results(office, tools) == []
    office.load(
        files(
            'permit(principal, action, resource == Tool::"hammer");',
            NAMING,
            'permit(principal, action, resource is Tool) when { resource has server && resource.server == "x" };',
            'forbid(principal, action, resource == Tool::"axe");',
        )
    )
    assert results(office, tools) == ["hammer", "saw"]
    office.load(files('permit(principal, action, resource == Tool::"hammer");'))
    assert results(office, tools) == ["hammer"]


def test_actions_are_those_that_the_schema_declares_and_a_dry_run_permits(office: World) -> None:
    actions = search("action", call("a"))
    assert results(office, actions) == ["call"]
    assert results(office, search("action", replaced(call("a"), context={"note": "x"}))) == ["call", "stop"]
    assert results(office, search("action", replaced(call("a"), amount_minor=1, currency="CAD"))) == ["buy", "call"]


@pytest.mark.parametrize(
    "asked",
    [
        search("subject", call(), "moon"),
        search("subject", call(action="fly")),
        search("subject", call(resource=("moon", "luna"))),
        search("subject", call(resource=("agent", "nobody"))),
        search("subject", call(resource=("agent", "team"))),
        search("resource", call("nobody")),
        search("resource", call("team")),
        search("resource", call("root")),
        search("resource", call("a", resource=("moon", ""))),
        search("action", call("nobody")),
        search("action", call("a", resource=("moon", "luna"))),
        search("action", call("a", resource=("agent", "nobody"))),
    ],
)
def test_who_or_what_nobody_knows_has_no_results(office: World, asked: search_plan.Search) -> None:
    assert results(office, asked) == []


def test_a_blocked_identity_may_do_nothing(office: World) -> None:
    office.revoke("team")
    assert results(office, search("action", call("a"))) == []
    assert results(office, search("subject", call())) == ["beside"]


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        (search("subject", replaced(call(), context={"zz": 1})), "context.zz"),
        (search("subject", call(action="stop")), "context.note"),
        (
            search("subject", replaced(call(), resource=call(resource=("agent", "a")).resource, attributes={"x": 1})),
            "resource.attributes",
        ),
        (search("resource", replaced(call("a", resource=("agent", "")), attributes={"x": 1})), "resource.attributes"),
        (search("resource", call("a", action="buy")), "resource.amount"),
    ],
)
def test_a_request_that_never_fits_is_refused(office: World, asked: search_plan.Search, place: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        results(office, asked)
    assert raised.value.field == place


def test_a_page_ends_after_so_many_candidates_and_reads(office: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ["a", "b", "below", "c", "beside"]
    monkeypatch.setattr(searching_module, "EVALUATED_MAX", 2)
    found = pages(office, search("subject", call()))
    assert [each for page in found for each in page] == whole
    assert max(map(len, found)) == 2
    monkeypatch.setattr(searching_module, "SCANNED_MAX", 1)
    found = pages(office, search("subject", call()))
    assert [each for page in found for each in page] == whole
    assert () in found


def test_a_page_is_read_in_slices(office: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching_module, "EVALUATED_AT_ONCE", 1)
    monkeypatch.setattr(searching_module, "SCANNED_AT_ONCE", 2)
    assert results(office, search("subject", call())) == ["a", "b", "below", "c", "beside"]


def test_a_token_leads_on_in_its_own_search_only(office: World) -> None:
    asked = search("subject", call())
    found = office.run(searcher(office).search(OPERATOR, "t_one", asked, PageAsked(2), office.now_us))
    for other, caller in (
        (search("subject", call(action="use")), OPERATOR),
        (search("subject", call(), "user"), OPERATOR),
        (search("action", call("a")), OPERATOR),
        (asked, office.token("b")),
    ):
        page = PageAsked(2, found.next_token)
        with pytest.raises(ValidationFailed, match="not one of this search"):
            office.run(searcher(office).search(caller, None if caller.token else "t_one", other, page, office.now_us))


def test_an_unknown_tenant_is_not_found(office: World) -> None:
    with pytest.raises(NotFound):
        office.run(searcher(office).search(OPERATOR, "t_two", search("subject", call()), PageAsked(), office.now_us))


def test_a_walk_goes_on_where_policies_changed_between_pages(office: World) -> None:
    asked, by = search("subject", call()), searcher(office)
    first = office.run(by.search(OPERATOR, "t_one", asked, PageAsked(2), office.now_us))
    office.load(files('permit(principal == Agent::"c", action, resource);'))
    rest = office.run(by.search(OPERATOR, "t_one", asked, PageAsked(9, first.next_token), office.now_us))
    assert first.results == ("a", "b")
    assert set(rest.results) <= {"c"}


def test_one_who_reaches_too_many_identities_is_no_result(office: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruling, "REACHED_MAX", 0)
    office.load(files('permit(principal, action, resource) when { Agent::"below".hasTag("color") };'))
    assert "a" not in results(office, search("subject", call()))


def test_views_that_others_need_stay(office: World) -> None:
    office.decide(call("a"))
    kept = office.snapshots.kept
    assert len(results(office, search("subject", call()))) == 5
    assert office.snapshots.kept == kept

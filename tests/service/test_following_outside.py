"""A follower of a subtree knows beyond it whom policies look into, and nobody any more who was looked into once."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.directory import Identity
from sidecar.core.feed import Change, FeedRefused
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.core.snapshot import SourceFile
from sidecar.service.scope import Bounds
from tests.service.builders import World, only_schemas
from tests.service.followers import Follower, follower_token, forget_changes
from tests.service.mirror import LOOKS, delete_policy

FILE = '@id("looks") forbid (principal, action, resource) when {{ Agent::"{0}".status == "suspended" }};'
SOMEBODY = Identity(identity_id="a", parent_id="b", type="agent", name="a", created_at_us=1, revision=1)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[World]:
    """A control plane with an agent to follow, and a team with another one beside it."""
    with World(tmp_path / "control") as made:
        made.tenant()
        for name, parent in (("bob", "root"), ("ops", "root"), ("cleo", "ops"), ("dan", "ops")):
            made.identity(name, parent)
        yield made
        assert made.faults() == []


@pytest.fixture
def follower(tmp_path: Path, control: World) -> Iterator[Follower]:
    """A follower of the one agent."""
    with Follower(tmp_path / "follower", control, "bob") as made:
        yield made
        assert made.faults() == []


def known(follower: Follower) -> set[str]:
    """Sync, and return the identities that are there then."""
    follower.sync()
    with follower.look() as part:
        return {each.value.identity_id for each in part.identities.all()}


def test_who_is_looked_into_no_more_goes(follower: Follower) -> None:
    """With the page that tells that the policy is gone; those above go with the last of theirs."""
    control = follower.control
    first = control.cedar(LOOKS.format("cleo"), "bob")
    second = control.cedar(LOOKS.format("dan"), "bob")
    assert known(follower) == {"root", "bob", "ops", "cleo", "dan"}
    delete_policy(control, first)
    assert known(follower) == {"root", "bob", "ops", "dan"}
    control.identity("eve", "bob")
    assert known(follower) == {"root", "bob", "ops", "dan", "eve"}
    delete_policy(control, second)
    assert known(follower) == {"root", "bob", "eve"}


def test_who_files_look_into_no_more_goes(follower: Follower) -> None:
    """Files are of no revision."""
    own = {"t_one": (SourceFile("policies/t_one/own.cedar", FILE.format("cleo")),)}
    follower.control.load(msgspec.structs.replace(only_schemas(), by_tenant=own))
    assert known(follower) == {"root", "bob", "ops", "cleo"}
    follower.control.load(only_schemas())
    assert known(follower) == {"root", "bob"}


def test_who_is_told_and_looked_into_no_more_before_the_last_page_never_comes(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.service.feed_page.PAGE_RECORDS_MAX", 1)
    monkeypatch.setattr("sidecar.service.feed_page.ROUND_ENTRIES", 1)
    control = follower.control
    follower.sync()
    policy = control.cedar(LOOKS.format("cleo"), "bob")
    control.identity("eve", "bob")
    page = follower.page()
    assert {"cleo", "ops"} <= {change.id for change in page.changes}
    assert follower.take(page) == "staged"
    delete_policy(control, policy)
    assert known(follower) == {"root", "bob", "eve"}


def test_a_snapshot_leaves_nobody_behind_either(follower: Follower) -> None:
    """Nor does it lose whom policies still look into: the page behind it names them again."""
    control = follower.control
    first = control.cedar(LOOKS.format("cleo"), "bob")
    second = control.cedar(LOOKS.format("dan"), "bob")
    follower.sync()
    delete_policy(control, first)
    forget_changes(control)
    assert follower.take(follower.page()) == "compacted"
    assert known(follower) == {"root", "bob", "ops", "dan"}
    delete_policy(control, second)
    assert known(follower) == {"root", "bob"}


def test_another_scope_has_others_outside(follower: Follower) -> None:
    """Who was inside before is not taken for one that belongs here."""
    control = follower.control
    policy = control.cedar(LOOKS.format("bob"), "dan")
    control.cedar(LOOKS.format("dan"), "bob")
    follower.sync()
    follower.caller = follower_token(control, "dan")
    assert follower.take(follower.page()) == "compacted"
    assert known(follower) == {"root", "ops", "dan", "bob"}
    delete_policy(control, policy)
    assert known(follower) == {"root", "ops", "dan"}


def test_who_came_to_be_outside_is_no_reason_any_more(follower: Follower) -> None:
    """A policy about somebody who may come to be inside is followed with whom it looks into, until that is known."""
    control = follower.control
    control.cedar(LOOKS.format("cleo").replace("in ?principal", '== Agent::"zed"'))
    assert known(follower) == {"root", "bob", "ops", "cleo"}
    control.identity("zed", "ops")
    assert known(follower) == {"root", "bob"}


def test_who_is_not_told_although_looked_into_is_missed(follower: Follower) -> None:
    follower.sync()
    follower.control.cedar(LOOKS.format("cleo"), "bob")
    page = follower.page()
    without = tuple(each for each in page.changes if each.id != "cleo")
    with pytest.raises(FeedRefused, match="policies look into identity `cleo`, which is not told"):
        follower.take(msgspec.structs.replace(page, changes=without))
    assert known(follower) == {"root", "bob", "ops", "cleo"}


def test_a_chain_without_an_end_is_left_to_whoever_looks_at_chains() -> None:
    """Nobody is dropped for it, and nothing turns in circles."""
    with_parent = {"a": "b", "b": "a"} | {f"n{each}": f"n{each + 1}" for each in range(CHAIN_DEPTH_MAX + 1)}

    def find(identity_id: str) -> Identity | None:
        parent = with_parent.get(identity_id)
        return None if parent is None else msgspec.structs.replace(SOMEBODY, identity_id=identity_id, parent_id=parent)

    bounds = Bounds("top", ["root"])
    assert bounds.is_inside("a", find)
    assert bounds.is_inside("n0", find)
    assert bounds.is_inside("nobody", find)


def test_a_circle_above_the_scope_is_refused(follower: Follower) -> None:
    follower.take_lines(follower.wanted_lines())
    page = follower.page()
    root = msgspec.structs.replace(SOMEBODY, identity_id="root", parent_id="bob", revision=page.head)
    told = Change(kind="identity", id="root", revision=page.head, place=1, owner="bob", value=root)
    with pytest.raises(FeedRefused, match="the chain of identity `bob` has more than"):
        follower.take(msgspec.structs.replace(page, changes=(told,)))

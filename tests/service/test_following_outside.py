"""A follower of a subtree knows beyond it whom policies look into, and nobody any more who was looked into once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.feed import Change
from tests.service.builders import World
from tests.service.followers import Follower, follower_token, forget_changes
from tests.service.mirror import LOOKS, delete_policy

FILE = '@id("looks") forbid (principal, action, resource) when {{ Agent::"{0}".status == "suspended" }};'


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
    first = control.policy(LOOKS.format("cleo"), identity_id="bob")
    second = control.policy(LOOKS.format("dan"), identity_id="bob")
    assert known(follower) == {"root", "bob", "ops", "cleo", "dan"}
    delete_policy(control, first)
    assert known(follower) == {"root", "bob", "ops", "dan"}
    control.identity("eve", "bob")
    assert known(follower) == {"root", "bob", "ops", "dan", "eve"}
    delete_policy(control, second)
    assert known(follower) == {"root", "bob", "eve"}

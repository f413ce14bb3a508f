"""What a decision tells of its course: in order, once, and only of what is new and on disk."""

import pytest

from sidecar.core.errors import NotFound
from sidecar.core.model import Decision
from sidecar.service.authorize import Authorizer
from tests.service.builders import OPERATOR, World, key_for, payment


class Diary:
    """Implements ``Observer`` and ``Course`` and writes everything down."""

    def __init__(self) -> None:
        """Begin with a blank page."""
        self.told: list[object] = []

    def course(self) -> "Diary":
        """Note a beginning."""
        self.told.append("begun")
        return self

    def ruled(self) -> None:
        """Note a ruling."""
        self.told.append("ruled")

    def decided(self, *decisions: Decision) -> None:
        """Note decisions."""
        self.told.extend(decisions)


@pytest.fixture
def diary(world: World) -> Diary:
    """What the authorizer of a world with a tenant tells."""
    made = Diary()
    world.tenant()
    world.authorizer = Authorizer(world.store, world.snapshots, world.ids, made)
    return made


def test_a_decision_is_told_of_after_its_ruling(world: World, diary: Diary) -> None:
    decision = world.decide(payment())
    assert diary.told == ["begun", "ruled", decision]


def test_a_stored_answer_is_not_told_of_again(world: World, diary: Diary) -> None:
    request = payment()
    decision = world.authorize(request, key_for(request)).decision
    assert world.authorize(request, key_for(request)).replayed
    assert diary.told == ["begun", "ruled", decision, "begun"]


def test_of_two_at_once_with_one_key_one_is_told_of(world: World, diary: Diary) -> None:
    """The second one learns of the first inside of its transaction."""
    request = payment()
    calls = [world.authorizer.authorize(OPERATOR, "t_one", request, key_for(request), world.now_us) for _ in range(2)]
    world.together(*calls)
    assert [type(told) for told in diary.told].count(Decision) == 1


def test_a_request_that_cannot_be_decided_is_begun_only(world: World, diary: Diary) -> None:
    with pytest.raises(NotFound):
        world.decide(payment(identity_id="nobody"))
    assert diary.told == ["begun"]


def test_a_dry_run_is_not_told_of(world: World, diary: Diary) -> None:
    world.authorizer.rehearse(OPERATOR, "t_one", payment(), world.now_us)
    assert diary.told == []

"""Only the operator has policy files loaded; refused ones are a conflict, a repeated call gets the first answer."""

import pytest

from sidecar.core.errors import Conflict, Forbidden, IdempotencyConflict
from sidecar.core.idempotency import idempotency_key
from sidecar.service.policy_store import LastReload, Tried
from sidecar.service.reload import Reloaded, Reloading
from tests.service.builders import OPERATOR, World

KEY = idempotency_key("operator", "reload", "k", b"{}")
OTHER = idempotency_key("operator", "reload", "k", b"{1}")
GOOD = Reloaded("loaded", "sha256:02", "sha256:01", 4, 0.5)
BAD = Reloaded("refused", "sha256:01", "sha256:01", 0, 0.5, "policies/a.cedar:1:4: no")


class Loads:
    """In place of what loads: gives what it was told to, and counts."""

    def __init__(self, *outcomes: Reloaded) -> None:
        """Give ``outcomes`` in turn."""
        self.left = list(outcomes)
        self.by: list[str] = []

    async def __call__(self, by: str, /) -> Reloaded:
        """Give the next one."""
        self.by.append(by)
        return self.left.pop(0)


def test_only_the_operator_may(world: World) -> None:
    world.tenant()
    loads = Loads()
    with pytest.raises(Forbidden):
        world.run(Reloading(world.store, loads).reload(world.token(None), world.now_us))
    assert loads.by == []


def test_what_became_of_the_files_is_answered(world: World) -> None:
    loads = Loads(GOOD, GOOD)
    reloading = Reloading(world.store, loads)
    for _ in range(2):
        done = world.run(reloading.reload(OPERATOR, world.now_us))
        assert (done.value, done.replayed) == (GOOD, False)
    assert loads.by == ["operator", "operator"]


def test_refused_files_are_a_conflict_that_says_why_and_is_not_kept(world: World) -> None:
    loads = Loads(BAD, GOOD)
    reloading = Reloading(world.store, loads)
    with pytest.raises(Conflict, match=r"the last good ones still hold: policies/a\.cedar:1:4: no"):
        world.run(reloading.reload(OPERATOR, world.now_us, KEY))
    assert world.run(reloading.reload(OPERATOR, world.now_us, KEY)).value == GOOD


def test_a_repeated_call_gets_the_first_answer_and_loads_nothing(world: World) -> None:
    loads = Loads(GOOD)
    reloading = Reloading(world.store, loads)
    assert not world.run(reloading.reload(OPERATOR, world.now_us, KEY)).replayed
    again = world.run(reloading.reload(OPERATOR, world.now_us, KEY))
    assert (again.value, again.replayed, len(loads.by)) == (GOOD, True, 1)
    with pytest.raises(IdempotencyConflict):
        world.run(reloading.reload(OPERATOR, world.now_us, OTHER))


def test_of_two_calls_at_once_both_get_the_answer_that_is_kept(world: World) -> None:
    reloading = Reloading(world.store, Loads(GOOD, GOOD))
    both = world.together(*(reloading.reload(OPERATOR, world.now_us, KEY) for _ in range(2)))
    assert [done.replayed for done in both if not isinstance(done, BaseException)] == [False, True]


def test_which_files_hold_is_told_with_how_the_newest_reload_ended(world: World) -> None:
    reloading = Reloading(world.store, Loads())
    state = reloading.state()
    assert state.revision is not None
    assert state.last is None
    last = LastReload(world.now_us, "refused", "watch", "no")
    world.write(lambda txn: txn.keep_policies_tried(Tried(b"x", last)))
    world.write(lambda txn: txn.keep_policy_files_since(7))
    assert reloading.state() == type(state)(state.revision, 7, last)
    txn = world.environment.begin_write()
    txn.delete(b"policy_files_digest", db=world.environment.tables["meta"])
    txn.commit()
    assert reloading.state().revision is None

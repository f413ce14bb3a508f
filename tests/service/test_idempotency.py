"""Calls that can be repeated: the stored answer comes back, with its type, until its day is over."""

import msgspec
import pytest

from sidecar.core.errors import IdempotencyConflict
from sidecar.core.idempotency import idempotency_key
from sidecar.service.idempotency import Done, once, replayed
from tests.service.builders import DAY, World


class Answer(msgspec.Struct, frozen=True):
    """Something that is answered."""

    number: int


KEY = idempotency_key("operator", "call", "k1", b"content")


@pytest.fixture
def calls(world: World) -> list[int]:
    """What ran."""
    world.found()
    return []


def call(world: World, calls: list[int], key: object = KEY, content: bytes = b"content") -> Done[Answer]:
    """Make a call that answers how often it ran."""
    used = None if key is None else idempotency_key("operator", "call", "k1", content)

    def run() -> Answer:
        calls.append(1)
        return Answer(len(calls))

    with world.look() as part:
        tenant = part.tenant
    return world.write(lambda txn: once(txn.of(tenant), used, world.now_us, Answer, run))


def test_the_answer_of_the_first_call_is_the_answer(world: World, calls: list[int]) -> None:
    assert call(world, calls) == Done(Answer(1), replayed=False)
    assert call(world, calls) == Done(Answer(1), replayed=True)
    assert calls == [1]


def test_without_a_key_every_call_runs(world: World, calls: list[int]) -> None:
    assert [call(world, calls, None).value.number for _ in range(3)] == [1, 2, 3]


def test_other_content_is_a_conflict_and_does_not_run(world: World, calls: list[int]) -> None:
    call(world, calls)
    with pytest.raises(IdempotencyConflict):
        call(world, calls, content=b"other")
    assert calls == [1]


def test_after_a_day_the_call_runs_again(world: World, calls: list[int]) -> None:
    call(world, calls)
    world.now_us += DAY - 1
    assert call(world, calls).replayed
    world.now_us += 1
    assert call(world, calls) == Done(Answer(2), replayed=False)


def test_what_may_not_be_stored_is_answered_once_and_left_out_of_the_replay(world: World, calls: list[int]) -> None:
    def run() -> Answer:
        calls.append(1)
        return Answer(7)

    def work() -> Done[Answer]:
        return world.write(lambda txn: once(txn, KEY, world.now_us, Answer, run, kept=lambda _: Answer(0)))

    assert work() == Done(Answer(7), replayed=False)
    assert work() == Done(Answer(0), replayed=True)
    assert calls == [1]


def test_a_call_that_belongs_to_no_tenant_shares_its_key_with_no_tenant(world: World, calls: list[int]) -> None:
    assert call(world, calls) == Done(Answer(1), replayed=False)
    whole = world.write(lambda txn: once(txn, KEY, world.now_us, Answer, lambda: Answer(9)))
    assert whole == Done(Answer(9), replayed=False)
    assert call(world, calls) == Done(Answer(1), replayed=True)


def test_what_raised_is_stored_nowhere(world: World, calls: list[int]) -> None:
    def fail() -> Answer:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- no message is the point
        world.write(lambda txn: once(txn, KEY, world.now_us, Answer, fail))
    assert world.write(lambda txn: once(txn, KEY, world.now_us, Answer, lambda: Answer(1))).replayed is False
    assert calls == []


class Older(msgspec.Struct, frozen=True):
    """What an older version answered: a field is missing, and one is there that is gone by now."""

    number: int
    gone: str


class Newer(msgspec.Struct, frozen=True):
    """The same answer of this version."""

    number: int
    added: str | None = None


def test_an_answer_of_an_older_version_is_read_by_a_newer_one(world: World) -> None:
    """What is stored names its fields, so one that is added with a default costs no retry."""
    world.write(lambda txn: once(txn, KEY, world.now_us, Older, lambda: Older(1, "x")))
    with world.store.read() as txn:
        assert replayed(txn, KEY, world.now_us, Newer) == Done(Newer(1, None), replayed=True)
        assert replayed(txn, None, world.now_us, Newer) is None

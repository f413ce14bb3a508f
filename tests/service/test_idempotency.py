"""Calls that can be repeated: the stored answer comes back, with its type, until its day is over."""

import msgspec
import pytest

from sidecar.core.errors import IdempotencyConflict
from sidecar.core.idempotency import idempotency_key
from sidecar.service.idempotency import Done, once
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

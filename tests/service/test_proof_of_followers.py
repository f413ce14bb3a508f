"""What a follower denied because its data was old is proven from its record, and found where the record was changed."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.builders import HOUR, SECOND, World, key_for, limit, only_schemas, payment, tool_call
from tests.service.following import Follower
from tests.service.histories import Doctored, chronicle, prove, retried

MINUTE = 60 * SECOND


@pytest.fixture
def cut_off(world: World) -> Iterator[World]:
    """Decisions of a follower: fresh, too old, of a group that may be older, by a clock that is off, with a fault."""
    world.tenant()
    world.budget(limit("100"))
    follower = Follower(world)
    follower.hear()
    world.decide(payment("20"))
    follower.wait(MINUTE + 1)
    world.decide(payment("30"))
    world.decide(tool_call())
    follower.true_us += 5 * HOUR
    follower.hear()
    world.decide(tool_call())
    follower.true_us -= 5 * HOUR
    follower.hear()
    follower.fail("the log was forked")
    world.decide(tool_call())
    yield world
    assert world.faults() == []


def decisions(world: World) -> list[dict[str, Any]]:
    """The records of all decisions."""
    return [dict(body) for body in world.bodies() if body["type"] == "decision"]


def test_stale_denials_are_proven(cut_off: World) -> None:
    assert [body["verdict"] for body in decisions(cut_off)] == ["allow", "deny", "allow", "deny", "deny"]
    proof = prove(chronicle(cut_off))
    assert proof.difference is None, proof.difference.sentence
    assert proof.decisions == 5


def test_ages_over_restarts_and_denied_repetitions_are_proven(world: World) -> None:
    world.tenant()
    follower = Follower(world)
    world.decide(payment("5"))
    follower.hear()
    request = payment("5")
    world.authorize(request, key_for(request))
    follower.restart(HOUR, -2 * HOUR)
    world.authorize(request, key_for(request))
    world.batch(tool_call(), request)
    assert [body.get("age_ms") for body in decisions(world)] == [None, 0, None, None, None]
    assert prove(chronicle(world)).is_exact


@pytest.mark.parametrize(
    ("index", "fields", "field"),
    [
        (0, {"age_ms": 60_001}, "verdict"),
        (0, {"age_ms": None}, "verdict"),
        (0, {"skew_ms": -60_001}, "verdict"),
        (0, {"fault": True}, "verdict"),
        (1, {"age_ms": 60_000}, "verdict"),
        (1, {"stale_after_ms": 61_000}, "verdict"),
        (1, {"stale_after_ms": None}, "verdict"),
        (1, {"verdict": "allow"}, "verdict"),
        (1, {"codes": ["forbidden"]}, "codes"),
        (2, {"stale_after_ms": None}, "age_ms"),
        (3, {"skew_ms": 60_000}, "verdict"),
        (4, {"fault": None}, "verdict"),
    ],
)
def test_a_changed_age_that_would_have_decided_otherwise_is_found(
    cut_off: World, index: int, fields: dict[str, object], field: str
) -> None:
    seq = decisions(cut_off)[index]["i"]

    def edit(record: dict[str, Any]) -> None:
        if record["i"] == seq:
            for name, value in fields.items():
                record[name] = value
                if value is None:
                    del record[name]

    difference = prove(Doctored(chronicle(cut_off), edit=edit)).difference
    assert difference is not None
    assert (difference.seq, difference.field) == (seq, field)


def test_other_policies_would_have_been_as_stale(cut_off: World) -> None:
    """Only what was decided on its merits comes out differently."""
    forbid = '@id("none") forbid (principal, action, resource);'
    found = retried(chronicle(cut_off), only_schemas(forbid))
    assert [flip.seq for flip in found.flips] == [decisions(cut_off)[0]["i"], decisions(cut_off)[2]["i"]]
    assert retried(chronicle(cut_off), only_schemas()).flips == ()

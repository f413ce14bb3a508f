"""The log of a follower proves and replays like any other; what was changed or erased in it is named."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from sidecar.core.audit import encode_hash, fact_hash
from sidecar.core.feed import Page
from sidecar.core.history import digest
from sidecar.core.money import Major
from sidecar.service.card_drafts import CardDraft
from sidecar.service.identities import IdentityPatch
from sidecar.service.proof import joined, verify_chain
from sidecar.service.treasury import CardDesk
from tests.service.builders import OPERATOR, World, limit, payment, replaced, shipped_files, tool_call
from tests.service.followers import Follower, follower_token
from tests.service.histories import Doctored, chronicle, prove, retried


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Follower]:
    """A follower that decided before and after each of some changes."""
    with World(tmp_path / "control") as control:
        control.tenant()
        control.identity("bob")
        kept = control.budget(limit("100", "bob")).budget.budget_id
        desk = CardDesk(control.store, control.treasurer, control.ids)
        draft = CardDraft(identity_id="bob", currency="CAD", spend_limit_daily=Major("50"))
        card = control.run(desk.create(OPERATOR, "t_one", draft, None, control.now_us)).value.card.card_id
        with Follower(tmp_path / "follower", control) as made:
            made.sync()
            made.decide(replaced(payment("10", "bob"), card_id=card))
            made.decide(tool_call("bob"))
            control.run(control.registry.change(OPERATOR, "t_one", "bob", IdentityPatch(name="Robert"), control.now_us))
            control.run(control.treasurer.delete(OPERATOR, "t_one", kept, control.now_us))
            rule = control.cedar("permit (principal in ?principal, action, resource);", "bob")
            made.sync()
            made.decide(payment("20", "bob"))
            control.run(control.legislator.delete(OPERATOR, "t_one", rule, control.now_us))
            made.sync()
            made.decide(payment("30", "bob"))
            yield made
            assert made.faults() == []


def lists(follower: Follower) -> list[tuple[dict[str, Any], list[list[Any]]]]:
    """Each record of what was followed, with its list."""
    found = []
    for body in follower.bodies():
        if body["type"] == "followed":
            with follower.look() as part:
                content = part.audit.fact(digest(str(body["changes"])), 0) or b""
            found.append((dict(body), orjson.loads(content)))
    return found


def entry(follower: Follower, kind: str) -> list[Any]:
    """What the first list tells of the first record of a kind."""
    return next(each for each in lists(follower)[0][1] if each[0] == kind)


def test_the_log_of_a_follower_proves_and_replays(told: Follower) -> None:
    proof = joined(verify_chain(chronicle(told), lambda _: None), prove(chronicle(told)))
    assert proof.difference is None, proof.difference.sentence
    assert (proof.decisions, proof.missing_count) == (4, 0)
    found = retried(chronicle(told), shipped_files())
    assert (found.decisions, found.flips, found.missing_count) == (4, (), 0)


def test_what_goes_with_a_scope_is_gone_in_the_past_too(told: Follower) -> None:
    """Identities, budgets and cards that a follower is not told of any more."""
    control = told.control
    control.identity("ann")
    told.caller = follower_token(control, "ann")
    told.sync()
    told.decide(tool_call("ann"))
    assert {(each[0], each[3]) for each in lists(told)[-1][1]} >= {("identity", None), ("card", None), ("budget", None)}
    assert prove(chronicle(told)).is_exact


def late(told: Follower, key: str) -> Page:
    """Take the page that is wanted without one of its records, and return the next one with it."""
    page = told.page()
    (withheld,) = [change for change in page.changes if change.id == key]
    others = tuple(change for change in page.changes if change is not withheld)
    assert told.take(msgspec.structs.replace(page, changes=others)) == "applied"
    told.decide(payment("1", "ann"))
    told.control.identity("cat")
    following = told.page()
    return msgspec.structs.replace(following, changes=(*following.changes, withheld))


def test_a_budget_that_comes_late_stands_where_it_stands_there(told: Follower) -> None:
    """Budgets are claimed in the order of their creation, also where an older one is told of after a newer."""
    told.control.identity("ann")
    first, second = (told.control.budget(limit(most, "ann")).budget.budget_id for most in ("90", "80"))
    assert told.take(late(told, first)) == "applied"
    assert [check.budget_id for check in told.decide(payment("1", "ann")).budget_checks] == [first, second]
    assert prove(chronicle(told)).is_exact


def test_a_policy_that_comes_late_stands_where_it_stands_there(told: Follower) -> None:
    """The set is the same one as where all came in order, in each process."""
    told.control.identity("ann")
    first, _ = (told.control.grant(identity_id="ann") for _ in range(2))
    assert told.take(late(told, first)) == "applied"
    here, there = (world.decide(tool_call("ann")).policy_revision for world in (told, told.control))
    assert here == there
    told.restart()
    assert told.decide(tool_call("ann")).policy_revision == there
    told.sync()
    assert prove(chronicle(told)).is_exact


def test_policies_are_read_anew_where_the_newest_of_them_is_gone(told: Follower) -> None:
    told.control.identity("ann")
    rules = [told.control.grant(identity_id="ann") for _ in range(3)]
    told.sync()
    told.decide(tool_call("ann"))
    told.control.grant(identity_id="ann")
    told.control.run(told.control.legislator.delete(OPERATOR, "t_one", rules[-1], told.control.now_us))
    told.sync()
    here, there = (world.decide(tool_call("ann")).policy_revision for world in (told, told.control))
    assert here == there


def test_a_list_that_was_changed_is_named(told: Follower) -> None:
    body, records = lists(told)[1]
    other = orjson.dumps(records[:-1])
    proof = prove(Doctored(chronicle(told), changed={body["changes"]: other}))
    assert proof.difference is not None
    assert "its content has another hash" in proof.difference.sentence

    def shorter(record: dict[str, Any]) -> None:
        if record["i"] == body["i"]:
            record["changes"] = encode_hash(fact_hash(other))

    edited = Doctored(chronicle(told), edit=shorter, changed={encode_hash(fact_hash(other)): other})
    difference = prove(edited).difference
    assert difference is not None
    assert difference.seq == body["i"]
    assert "is recorded as" in difference.sentence


def test_a_list_that_says_other_than_its_facts_is_named(told: Follower) -> None:
    body, records = lists(told)[0]
    for kind in ("identity", "budget", "card"):
        wrong = [[*each[:2], each[2] + 1, *each[3:]] if each[0] == kind else each for each in records]
        other = orjson.dumps(wrong)

        def exchange(record: dict[str, Any], other: bytes = other) -> None:
            if record["i"] == body["i"]:
                record["changes"] = encode_hash(fact_hash(other))

        edited = Doctored(chronicle(told), edit=exchange, changed={encode_hash(fact_hash(other)): other})
        difference = prove(edited).difference
        assert difference is not None
        assert "is recorded as" in difference.sentence


def test_without_a_list_nothing_is_known_from_then_on(told: Follower) -> None:
    """All decisions behind it are missing, none is decided by what held before."""
    body, _ = lists(told)[1]
    erased = Doctored(chronicle(told), erased={body["changes"]})
    proof = prove(erased)
    assert (proof.is_exact, proof.decisions, proof.missing_count) == (True, 2, 3)
    assert {each.what for each in proof.missing} == {f"the list of what was followed up to revision {body['to']}"}
    found = retried(erased, shipped_files())
    assert (found.decisions, found.missing_count) == (2, 3)


@pytest.mark.parametrize(("kind", "decisions"), [("identity", 0), ("budget", 0), ("card", 3)])
def test_a_version_that_was_erased_is_named(told: Follower, kind: str, decisions: int) -> None:
    """Until a later version tells it again, or for good what a budget had used."""
    each = next(each for each in lists(told)[0][1] if each[0] == kind and each[1] != "root")
    proof = prove(Doctored(chronicle(told), erased={each[3]}))
    assert proof.is_exact
    assert f"{kind} `{each[1]}` at revision {each[2]}" in {missing.what for missing in proof.missing}
    assert proof.decisions >= decisions

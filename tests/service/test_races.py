"""What changes between the ruling and the commit is seen by the commit, so no decision rests on an older state."""

from pathlib import Path

import pytest

from sidecar.core.errors import Conflict, StoreUnusable, Unauthenticated
from sidecar.core.rules import Rules
from sidecar.service import snapshots
from sidecar.service.authorize import Answered
from sidecar.service.policies import TRIES_MAX, PolicyDraft
from tests.service.builders import OPERATOR, World, codes, key_for, limit, payment


def answered(result: object) -> Answered:
    assert isinstance(result, Answered), result
    return result


def test_a_revocation_earlier_in_the_same_batch_denies(world: World) -> None:
    world.tenant()
    world.identity("buyer")
    _, decision = world.together(
        world.registry.revoke(OPERATOR, "t_one", "buyer", world.now_us),
        world.authorizer.authorize(OPERATOR, "t_one", payment(identity_id="buyer"), None, world.now_us),
    )
    assert codes(answered(decision).decision) == ["identity_revoked"]


def test_a_budget_made_earlier_in_the_same_batch_is_claimed(world: World) -> None:
    world.tenant()
    _, decision = world.together(
        world.treasurer.create(OPERATOR, "t_one", limit(5), world.now_us),
        world.authorizer.authorize(OPERATOR, "t_one", payment("10.00"), None, world.now_us),
    )
    assert codes(answered(decision).decision) == ["budget_exceeded"]


def test_a_policy_made_earlier_in_the_same_batch_is_asked(world: World) -> None:
    world.tenant()
    draft = PolicyDraft("narrow", None, Rules(currencies=("USD",)), "{}", None)
    _, decision = world.together(
        world.legislator.create(OPERATOR, "t_one", draft, world.now_us),
        world.authorizer.authorize(OPERATOR, "t_one", payment("10.00"), None, world.now_us),
    )
    assert codes(answered(decision).decision) == ["forbidden"]


def test_the_last_of_a_limit_is_given_once_in_a_batch(world: World) -> None:
    world.tenant()
    world.budget(limit(15))
    results = world.together(
        *(world.authorizer.authorize(OPERATOR, "t_one", payment("10.00"), None, world.now_us) for _ in range(3))
    )
    assert sorted(answered(result).decision.allowed for result in results) == [False, False, True]


def test_a_token_deleted_earlier_in_the_same_batch_decides_nothing(world: World) -> None:
    world.tenant()
    minted = world.minted(None)
    caller = world.desk.authenticate(minted.text, world.now_us)
    _, refused = world.together(
        world.desk.revoke(OPERATOR, "t_one", minted.token.token_id, world.now_us),
        world.authorizer.authorize(caller, None, payment(), None, world.now_us),
    )
    assert isinstance(refused, Unauthenticated)
    assert "decision" not in world.kinds()


def test_one_key_twice_in_a_batch_is_one_decision(world: World) -> None:
    world.tenant()
    request = payment()
    calls = [world.authorizer.authorize(OPERATOR, "t_one", request, key_for(request), world.now_us) for _ in range(2)]
    first, second = (answered(result) for result in world.together(*calls))
    assert first.decision == second.decision
    assert [first.replayed, second.replayed] == [False, True]
    assert world.kinds().count("decision") == 1


def test_of_two_policies_made_at_once_both_are_stored(world: World) -> None:
    world.tenant()
    drafts = [PolicyDraft(name, None, Rules(), "{}", None) for name in ("one", "two")]
    made = world.together(*(world.legislator.create(OPERATOR, "t_one", draft, world.now_us) for draft in drafts))
    assert not any(isinstance(result, BaseException) for result in made)
    assert world.kinds().count("policy_created") == 3


def test_a_policy_that_never_meets_a_quiet_moment_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tenant()
    tries = []

    def never(*_args: object, **_names: object) -> None:
        tries.append(1)

    monkeypatch.setattr("sidecar.service.policies._keep", never)
    with pytest.raises(Conflict, match="change all the time"):
        world.grant()
    assert len(tries) == TRIES_MAX


def test_before_policy_files_were_loaded_nothing_is_decided(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.tenant()
        txn = world.environment.begin_write()
        txn.delete(b"policy_files", db=world.environment.tables["meta"])
        txn.commit()
        world.snapshots = snapshots.Snapshots()
        with pytest.raises(Exception, match="no policy files were loaded"), world.store.read() as reading:
            world.snapshots.files(reading)


def test_a_hold_that_is_due_and_missing_means_a_broken_store(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.tenant()
        txn = world.environment.begin_write()
        txn.put(bytes(8) + (99).to_bytes(4) + bytes(16), b"", db=world.environment.tables["expiry"])
        txn.commit()
        with pytest.raises(StoreUnusable, match="is due and does not exist"):
            world.expire()


def test_an_answer_that_is_gone_means_a_broken_store(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.tenant()
        request = payment()
        world.authorize(request, key_for(request))
        txn = world.environment.begin_write()
        with txn.cursor(db=world.environment.tables["decisions"]) as cursor:
            assert cursor.first()
            cursor.delete()
        txn.commit()
        with pytest.raises(StoreUnusable, match="does not exist"):
            world.authorize(request, key_for(request))

"""Answers that were given: decisions for ever, outcomes of idempotency keys for a day."""

from pathlib import Path

import msgspec
import pytest

from sidecar.core.errors import StoreUnusable
from sidecar.core.idempotency import Replay
from sidecar.core.ids import id_of
from sidecar.core.model import Decision
from sidecar.state import answers as module
from tests.state.builders import a_tenant, reading, rows, store_in, writing

DECISION_ID = id_of("dec", bytes(16))


def decision(decision_id: str | None = DECISION_ID) -> Decision:
    """A denial."""
    return Decision(
        decision_id=decision_id,
        identity_id="root",
        action="tool.call",
        allowed=False,
        reasons=(),
        budget_checks=(),
        reserved_minor=None,
        currency=None,
        reserved_quantities={},
        expires_at_us=None,
        evaluated_at_us=1,
        policy_revision="sha256:0",
        entity_revision=1,
        audit=None,
    )


def replay(scope: str = "caller\ncall\nkey", expires_at_us: int = 100, answer: bytes = b"{}") -> Replay:
    """A stored outcome."""
    return Replay(scope=scope, fingerprint=b"f", answer=answer, expires_at_us=expires_at_us)


def test_a_decision_is_found_by_id_in_its_own_tenant_only(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant()).answers.keep_decision(decision())
        with reading(environment) as txn:
            assert txn.of(a_tenant(1)).answers.decision(DECISION_ID) == decision()
            assert txn.of(a_tenant(2)).answers.decision(DECISION_ID) is None


@pytest.mark.parametrize("text", ["", "x", "dec_", "dec_00000000000000000000000000x", "bud_" + DECISION_ID[4:]])
def test_a_text_that_is_no_id_of_a_decision_is_unknown(tmp_path: Path, text: str) -> None:
    with store_in(tmp_path) as environment, reading(environment) as txn:
        assert txn.of(a_tenant()).answers.decision(text) is None


@pytest.mark.parametrize("decision_id", [None, "x"])
def test_only_a_decision_with_an_id_of_ours_is_kept(tmp_path: Path, decision_id: str | None) -> None:
    refused = pytest.raises(StoreUnusable, match="is no id of a decision")
    with store_in(tmp_path) as environment, writing(environment) as txn, refused:
        txn.of(a_tenant()).answers.keep_decision(decision(decision_id))


def test_a_decision_of_an_older_version_is_read() -> None:
    """What came later, how old the data was, is unset in it."""
    later = {"data_age_us"}
    stored = msgspec.msgpack.encode({k: v for k, v in msgspec.structs.asdict(decision()).items() if k not in later})
    assert msgspec.msgpack.decode(stored, type=Decision) == decision()


def test_an_outcome_is_found_until_its_day_is_over(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant()).answers.keep_replay(replay())
        with reading(environment) as txn:
            answers = txn.of(a_tenant()).answers
            assert answers.replay(replay().scope, 99) == replay()
            assert answers.replay(replay().scope, 100) is None
            assert answers.replay("another", 99) is None
            assert txn.of(a_tenant(2)).answers.replay(replay().scope, 99) is None


def test_an_outcome_that_belongs_to_no_tenant_is_kept_apart_from_every_tenants(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        txn.answers.keep_replay(replay())
        assert txn.answers.replay(replay().scope, 99) == replay()
        assert txn.of(a_tenant()).answers.replay(replay().scope, 99) is None
        assert txn.prune_replays(100, 10) == 1
        assert txn.answers.replay(replay().scope, 99) is None


def test_two_scopes_that_share_a_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 18: a key that collides must never bring somebody else's answer."""
    monkeypatch.setattr(module, "short_hash", lambda _: b"all the same")
    with store_in(tmp_path) as environment, writing(environment) as txn:
        answers = txn.of(a_tenant()).answers
        answers.keep_replay(replay("mine"))
        assert answers.replay("mine", 0) is not None
        assert answers.replay("yours", 0) is None


def test_pruning_forgets_what_is_over_and_nothing_else_some_at_a_time(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            assert txn.prune_replays(10**9, 10) == 0
            for number in range(5):
                txn.of(a_tenant(1 + number % 2)).answers.keep_replay(replay(f"s{number}", 100 + number))
        with writing(environment) as txn:
            assert txn.prune_replays(99, 10) == 0
            assert txn.prune_replays(103, 3) == 3
            assert txn.prune_replays(103, 3) == 1
            assert txn.prune_replays(103, 3) == 0
        assert len(rows(environment, "idempotency")) == len(rows(environment, "idempotency_expiry")) == 1
        with reading(environment) as txn:
            assert txn.of(a_tenant(1)).answers.replay("s4", 0) is not None


def test_a_key_that_was_used_again_lives_as_long_as_its_newest_outcome(tmp_path: Path) -> None:
    """The row that told of the first one's end must not take the second one with it."""
    with store_in(tmp_path) as environment, writing(environment) as txn:
        answers = txn.of(a_tenant()).answers
        answers.keep_replay(replay(expires_at_us=100))
        answers.keep_replay(replay(expires_at_us=200, answer=b"[]"))
        assert txn.prune_replays(150, 10) == 1
        assert answers.replay(replay().scope, 150) == replay(expires_at_us=200, answer=b"[]")
        assert txn.prune_replays(200, 10) == 1
        assert answers.replay(replay().scope, 199) is None


def test_a_row_whose_outcome_is_gone_is_pruned_too(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant()).answers.keep_replay(replay())
        raw = environment.begin_write()
        raw.drop(environment.tables["idempotency"], delete=False)
        raw.commit()
        with writing(environment) as txn:
            assert txn.prune_replays(100, 10) == 1
        assert rows(environment, "idempotency_expiry") == []


def test_a_stored_outcome_has_no_place_for_a_secret() -> None:
    """Rule 11: what is kept is an id or an answer; the answers with secrets in them are never kept."""
    assert {field.name for field in msgspec.structs.fields(Replay)} == {
        "scope",
        "fingerprint",
        "decision_id",
        "answer",
        "expires_at_us",
    }

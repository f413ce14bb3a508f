"""What a follower keeps beside the records lies as it was kept; what was changed by hand is named."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.core.feed import Change
from sidecar.core.staleness import Contact, Instant
from sidecar.service.feed_store import Replica
from sidecar.service.following import WantsSnapshot
from sidecar.state.codec import U64, encode
from sidecar.state.environment import Table, Txn
from tests.service.builders import World, limit, payment
from tests.service.followers import Follower

Break = Callable[[Txn, dict[str, Table]], object]


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    """A follower that has applied a state, and staged the next one."""
    with World(tmp_path / "control") as control:
        control.tenant()
        control.identity("bob")
        control.budget(limit("100", "bob"))
        control.minted("bob")
        with Follower(tmp_path / "follower", control) as made:
            made.sync()
            made.run(made.following.begin_anew())
            made.take_lines(made.wanted_lines())
            made.decide(payment("1", "bob"))
            yield made


def test_what_is_kept_is_found(follower: Follower) -> None:
    """Faults come and go, the shipped index grows, and staged changes are found one by one, the newer of two."""
    assert follower.faults() == []

    def work(replica: Replica) -> None:
        assert (replica.fault(), replica.shipped()) == (None, 0)
        replica.keep_fault("a fork")
        replica.keep_shipped(2)
        assert (replica.fault(), replica.shipped()) == ("a fork", 2)
        replica.keep_fault(None)
        assert replica.fault() is None
        older = Change(kind="identity", id="bob", revision=1)
        replica.stage([older])
        staged = replica.staged_one("identity", "bob")
        assert staged is not None
        assert staged.value is not None
        newer = Change(kind="identity", id="bob", revision=staged.revision)
        replica.stage([newer])
        assert replica.staged_one("identity", "bob") == newer
        assert replica.staged_one("identity", "nobody") is None
        assert replica.clear_staged(1) == 1
        assert replica.clear_staged(1_000) > 1
        assert replica.staged(b"", 10) == ([], b"")

    follower.write(lambda txn: work(txn.replica))
    assert follower.faults() == []


def test_an_unknown_record_that_is_gone_is_let_pass(follower: Follower) -> None:
    follower.write(lambda txn: txn.of(follower.own()).feed.adopt(Change(kind="card", id="c", revision=1), 99))
    assert follower.faults() == []


def put(key: bytes, value: bytes) -> Break:
    return lambda txn, tables: txn.put(key, value, db=tables["replica"])


def contact(head: int) -> bytes:
    return encode(Contact(Instant("boot", 1, 1), head))


def drop_tenant(txn: Txn, tables: dict[str, Table]) -> None:
    txn.delete(b"t_one", db=tables["tenant_ids"])


def drop_state(txn: Txn, tables: dict[str, Table]) -> None:
    txn.delete(b"state", db=tables["replica"])


def stage(key: bytes, value: bytes) -> Break:
    return lambda txn, tables: txn.put(key, value, db=tables["staged"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (put(b"more", b""), "the row `more` of the replica is not known"),
        (put(b"state", b"x"), "the row `state` of the replica cannot be read"),
        (put(b"contact", b"x"), "the row `contact` of the replica cannot be read"),
        (put(b"staging", b"x"), "the row `staging` of the replica cannot be read"),
        (put(b"link", b"x"), "the row `link` of the replica cannot be read"),
        (put(b"fault", b"\xff"), "the row `fault` of the replica cannot be read"),
        (put(b"shipped", b"x"), "the row `shipped` of the replica cannot be read"),
        (put(b"outside", b"x"), "the row `outside` of the replica cannot be read"),
        (put(b"outside", encode(["zed"])), "knows identity `zed` from outside, which is not there"),
        (put(b"shipped", U64.pack(99)), "the replica has shipped 99 records, its log has 3"),
        (put(b"contact", contact(99)), "the replica was confirmed revision 99, and is at"),
        (drop_state, "the replica follows nothing, and tells of a contact"),
        (drop_tenant, "the replica follows tenant `t_one`, which is not there"),
        (stage(b"\x01bob", b"x"), "the staged record `bob` cannot be read"),
        (stage(b"\x02cat", b'{"id":"cat","kind":"identity","revision":1}'), "the staged record `cat` is filed under"),
        (
            lambda txn, tables: txn.put(b"policy_files_digest", b"other", db=tables["meta"]),
            "the replica has other policy files than those that hold",
        ),
        (
            lambda txn, tables: txn.put(b"\0\0\0\1", U64.pack(99) * 2, db=tables["revisions"]),
            "tenant `t_one` at 99",
        ),
    ],
)
def test_what_was_changed_by_hand_is_named(follower: Follower, change: Break, sentence: str) -> None:
    txn = follower.environment.begin_write()
    change(txn, follower.environment.tables)
    txn.commit()
    assert any(sentence in fault for fault in follower.faults()), follower.faults()


def test_a_follower_that_knows_nothing_holds_together(tmp_path: Path) -> None:
    with World(tmp_path / "control") as control:
        control.tenant()
        with Follower(tmp_path / "follower", control) as made:
            assert made.following.wanted() == WantsSnapshot(None)
            assert made.faults() == []


def test_a_record_that_was_changed_behind_the_log_is_named(follower: Follower) -> None:
    """A follower's own log tells of each record, as that of any other store does."""

    def rename(txn: Txn, tables: dict[str, Table]) -> None:
        with txn.cursor(db=tables["records"]) as cursor:
            assert cursor.first()
            key, value = bytes(cursor.key()), bytes(cursor.value())
        txn.put(key, value.replace(b"Bob", b"Rob"), db=tables["records"])

    def lose(txn: Txn, tables: dict[str, Table]) -> None:
        with txn.cursor(db=tables["facts"]) as cursor:
            for key, value in cursor:
                if bytes(value).startswith(b"[["):
                    txn.delete(bytes(key), db=tables["facts"])
                    return

    txn = follower.environment.begin_write()
    rename(txn, follower.environment.tables)
    txn.commit()
    assert [fault for fault in follower.faults() if "is not what its newest record in the log tells" in fault]
    txn = follower.environment.begin_write()
    lose(txn, follower.environment.tables)
    txn.commit()
    assert any("the list of what was followed with record 1 is missing" in fault for fault in follower.faults())


def test_a_fact_of_what_was_followed_that_was_changed_is_named(follower: Follower) -> None:
    def change(txn: Txn, tables: dict[str, Table]) -> None:
        with txn.cursor(db=tables["facts"]) as cursor:
            rows = [(bytes(key), bytes(value)) for key, value in cursor]
        for key, value in rows:
            if b'"Bob"' in value:
                txn.put(key, value.replace(b'"Bob"', b'"Rob"'), db=tables["facts"])

    txn = follower.environment.begin_write()
    change(txn, follower.environment.tables)
    txn.commit()
    assert any("the fact of identity `bob` behind record 1 was changed" in fault for fault in follower.faults())

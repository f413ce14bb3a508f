"""How a follower stands with its control plane, as its store says it: the same for every process that asks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.core.errors import Unavailable
from sidecar.core.staleness import Contact, Instant
from sidecar.service.feed_store import Link, ReplicaState, Staging
from sidecar.service.replication import Replication
from sidecar.state.transaction import Transaction
from tests.service.builders import SECOND, World

URL = "https://plane.test"
ASKED = Instant("boot", 100 * SECOND, 5_000 * SECOND)
LATER = Instant("boot", 107 * SECOND, 5_009 * SECOND)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A store whose notes are a test's alone: no follower would have left them so."""
    with World(tmp_path) as made:
        yield made


@pytest.fixture
def replication(world: World) -> Replication:
    """What is said seven seconds after a contact, during which the wall clock went on by nine."""
    return Replication(world.store, world.snapshots, lambda: LATER, URL)


def a_state(tenant_id: str, revision: int = 4) -> ReplicaState:
    """The state of a follower."""
    return ReplicaState(
        tenant_id=tenant_id, origin="log", follower_id="tok_1", scope=None, revision=revision, files_digest="ab"
    )


def test_a_server_that_never_followed_knows_nothing_and_says_so(replication: Replication) -> None:
    standing, policies = replication.told()
    assert standing == replication.standing()
    assert (standing.state, standing.revision, policies) == (None, None, None)
    assert (standing.head, standing.lag_revisions, standing.age_us, standing.skew_us) == (0, 0, None, None)
    assert (standing.records, standing.shipped, standing.backlog) == (0, 0, 0)
    assert standing.link == replication.link() == Link(is_connected=False)
    assert not replication.is_synced()


def test_age_skew_and_lag_are_as_of_now(world: World, replication: Replication) -> None:
    """The age counts from the asking; a jump of the wall clock since then counts as skew."""
    tenant = world.found().tenant

    def keep(txn: Transaction) -> None:
        txn.replica.keep_state(a_state(tenant.tenant_id))
        txn.replica.keep_contact(Contact(ASKED, head=4, skew_us=SECOND))
        txn.replica.acknowledge(a_state(tenant.tenant_id).follower_id)
        txn.replica.keep_shipped(1)

    world.write(keep)
    standing, policies = replication.told()
    assert (standing.age_us, standing.skew_us) == (7 * SECOND, -SECOND)
    assert (standing.revision, standing.head, standing.lag_revisions) == (4, 4, 0)
    assert standing.records > 1
    assert (standing.shipped, standing.backlog) == (1, standing.records - 1)
    assert policies is not None
    assert policies.startswith("sha256:")
    world.run(replication.keep_link(Link(is_connected=True, error="a gap", head=9)))
    standing = replication.standing()
    assert (standing.head, standing.lag_revisions) == (9, 5)
    assert standing.link.error == "a gap"
    assert replication.is_synced()
    replication.require_ready()


def test_a_log_that_was_shipped_further_than_it_goes_has_no_backlog(world: World, replication: Replication) -> None:
    """As after a restored backup; that it is one is for others to find."""
    tenant = world.found().tenant

    def keep(txn: Transaction) -> None:
        txn.replica.keep_state(a_state(tenant.tenant_id))
        txn.replica.keep_shipped(1_000)

    world.write(keep)
    assert replication.standing().backlog == 0


def test_a_snapshot_on_its_way_is_counted(world: World, replication: Replication) -> None:
    staging = Staging(origin="log", tenant_id="t_one", scope=None, is_snapshot=True, began=3, since=3, records=1_500)
    world.write(lambda txn: txn.replica.keep_staging(staging))
    assert replication.standing().staged == 1_500


def test_readiness_says_what_is_missing(world: World, replication: Replication) -> None:
    with pytest.raises(Unavailable, match=r"has nothing of its control plane yet$"):
        replication.require_ready()
    world.run(replication.keep_link(Link(is_connected=True)))
    with pytest.raises(Unavailable, match=r"yet$"):
        replication.require_ready()
    world.run(replication.keep_link(Link(is_connected=False, error="the control plane answers 401")))
    with pytest.raises(Unavailable, match=r"yet: the control plane answers 401$"):
        replication.require_ready()
    world.write(lambda txn: txn.replica.keep_state(a_state("t_gone")))
    for _ in range(2):
        with pytest.raises(Unavailable, match="has not taken the audit log of this server yet"):
            replication.require_ready()
        assert not replication.is_synced()
        world.write(lambda txn: txn.replica.acknowledge("tok_of_before"))
    world.write(lambda txn: txn.replica.acknowledge(a_state("t_gone").follower_id))
    replication.require_ready()
    assert replication.told()[1] is None
    world.write(lambda txn: txn.replica.keep_fault("the log was set back"))
    with pytest.raises(Unavailable, match="until someone has looked: the log was set back"):
        replication.require_ready()
    assert replication.standing().fault == "the log was set back"

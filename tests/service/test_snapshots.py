"""What is kept between decisions is bound to the revision it was read at; what is not committed is never kept."""

from collections.abc import Callable

import pytest

from sidecar.core.errors import NotFound, Unavailable
from sidecar.core.log_entries import digest_of
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyFiles
from sidecar.service import snapshots
from sidecar.service.snapshots import Snapshots, View
from sidecar.state.transaction import Transaction
from tests.service.builders import OPERATOR, World, codes, limit, only_schemas, payment, shipped_files, tool_call

PERMIT_ALL = only_schemas("permit (principal, action, resource);")


def current(world: World, identity_id: str = "root", tenant_id: str = "t_one") -> View:
    """The committed view of an identity."""
    with world.store.read() as txn:
        tenant = txn.tenants.find(tenant_id)
        assert tenant is not None
        return world.snapshots.current(txn, txn.of(tenant), identity_id)


def test_a_view_is_the_same_object_while_nothing_changes(world: World) -> None:
    world.tenant()
    assert current(world) is current(world)
    world.decide(payment())
    assert current(world) is current(world)


def test_every_change_of_the_tenant_makes_a_new_view_and_leaves_its_policies_alone(world: World) -> None:
    world.tenant()
    before = current(world)
    world.identity("ann")
    after = current(world)
    assert after.revisions != before.revisions
    assert after.policies is before.policies


def test_a_change_elsewhere_in_the_tenant_leaves_what_a_view_was_made_of(world: World) -> None:
    """Only what it says of the revision moves: nothing is parsed, compiled or hashed again."""
    world.tenant()
    before = current(world)
    blocks = before.blocks
    world.identity("ann")
    after = current(world)
    assert after.entity_revision > before.entity_revision
    assert after.asker is before.asker
    assert after.chain is before.chain
    assert after.identity_versions is before.identity_versions
    assert after.blocks is blocks


def test_a_new_budget_leaves_how_policies_see_the_chain(world: World) -> None:
    world.tenant()
    before = current(world)
    world.budget(limit(10, "root"))
    after = current(world)
    assert len(after.budgets) == len(before.budgets) + 1
    assert after.asker is before.asker


def test_a_changed_chain_or_policy_is_seen_anew(world: World) -> None:
    world.tenant()
    world.identity("ann")
    before = current(world, "ann")
    assert before.blocks == ()
    world.revoke("ann")
    revoked = current(world, "ann")
    assert revoked.asker is not before.asker
    assert [reason.code for reason in revoked.blocks] == ["identity_revoked"]
    world.grant()
    assert current(world, "ann").asker is not revoked.asker


def test_a_view_after_any_change_is_what_reading_anew_gives(world: World) -> None:
    world.tenant()
    world.identity("ann")
    kept = world.snapshots
    changes: list[Callable[[], object]] = [
        lambda: world.identity("bob"),
        lambda: world.budget(limit(10, "ann")),
        world.grant,
        lambda: world.load(PERMIT_ALL),
        lambda: world.revoke("ann"),
    ]
    for change in changes:
        change()
        view = current(world, "ann")
        world.snapshots = Snapshots()
        anew = current(world, "ann")
        world.snapshots = kept
        for name in ("revisions", "chain", "card", "budgets", "identity_versions", "budget_versions", "zone", "blocks"):
            assert getattr(view, name) == getattr(anew, name), name
        assert view.policies.manifest == anew.policies.manifest


def test_only_so_many_views_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted by the identities on their chains, of which each of these has two."""
    monkeypatch.setattr(snapshots, "VIEWED_MAX", 8)
    world.tenant()
    names = [f"agent_{number}" for number in range(12)]
    for name in names:
        world.identity(name)
    world.snapshots = Snapshots()
    for name in (*names, *names):
        assert [identity.identity_id for identity in current(world, name).chain] == [name, "root"]
        assert world.snapshots.kept <= 5


def test_a_change_of_policies_compiles_them_anew(world: World) -> None:
    world.tenant()
    before = current(world)
    world.grant()
    assert current(world).policies.revision != before.policies.revision


def test_a_change_in_one_tenant_leaves_the_views_of_others(world: World) -> None:
    world.tenant()
    world.tenant("t_two")
    before = current(world)
    world.grant("t_two")
    assert current(world) is before
    assert current(world, tenant_id="t_two") is not before


def test_new_policy_files_hold_in_every_tenant(world: World) -> None:
    world.found()
    world.found("t_two")
    assert codes(world.decide(payment())) == ["not_permitted"]
    world.load(PERMIT_ALL)
    assert world.decide(payment()).allowed
    assert world.authorize(payment(), tenant_id="t_two").decision.allowed


def test_a_view_shows_the_chain_and_the_budgets_on_it(world: World) -> None:
    world.tenant()
    world.identity("team", type_name="team")
    world.identity("ann", "team")
    budgets = [world.budget(limit(10, name)).budget.budget_id for name in ("root", "ann", "team")]
    world.budget(limit(10, "root"), "t_one")
    view = current(world, "ann")
    assert [identity.identity_id for identity in view.chain] == ["ann", "team", "root"]
    assert [budget.budget_id for budget in view.budgets][:3] == [budgets[1], budgets[2], budgets[0]]
    assert set(view.budget_versions) == {budget.budget_id for budget in view.budgets}
    assert view.entity_revision == view.revisions[0].entities
    with world.look() as part:
        versions = (*view.identity_versions, *view.budget_versions.values())
        assert all(part.audit.has_fact(digest_of(fact) or b"") for _, _, fact in versions)


def test_nobody_has_a_view_who_does_not_exist(world: World) -> None:
    world.tenant()
    with pytest.raises(NotFound):
        current(world, "nobody")


def undone(world: World, files: PolicyFiles) -> None:
    """Load files and compile them in a transaction that is then undone."""

    class UndoneError(Exception):
        """Nothing of it is kept."""

    def work(txn: Transaction) -> None:
        txn.keep_policy_files(files)
        world.registry.require_type(txn, "agent")
        raise UndoneError

    with pytest.raises(UndoneError):
        world.write(work)


def test_policy_files_that_were_never_committed_decide_nothing(world: World) -> None:
    """Their revision is given again to the next ones, so nothing may be kept under it."""
    world.found()
    undone(world, PERMIT_ALL)
    world.load(shipped_files())
    assert codes(world.decide(payment())) == ["not_permitted"]


def test_a_policy_that_was_never_committed_decides_nothing(world: World) -> None:
    """The same for a tenant's own policies: a ruling under the writer lock keeps nothing."""
    world.found()

    class UndoneError(Exception):
        """Nothing of it is kept."""

    def work(txn: Transaction) -> View:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        txn.tenants.advance(tenant.number, policies=True)
        stale = world.snapshots.fresh(txn, txn.of(tenant), before)
        assert stale.revisions != before.revisions
        raise UndoneError

    before = current(world)
    with pytest.raises(UndoneError):
        world.write(work)
    assert current(world) is before
    world.grant()
    assert world.decide(payment()).allowed


def test_a_fresh_view_keeps_compiled_policies_unless_they_have_changed(world: World) -> None:
    """Whatever the revision says: what is made of the same is not compiled again, by whoever asks next."""
    world.tenant()
    policy_id = world.grant()
    before = current(world)

    def work(txn: Transaction) -> list[View]:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        part = txn.of(tenant)
        txn.tenants.advance(tenant.number)
        views = [world.snapshots.fresh(txn, part, before)]
        txn.tenants.advance(tenant.number, policies=True)
        views.append(world.snapshots.fresh(txn, part, before))
        part.policies.remove(policy_id, txn.tenants.advance(tenant.number, policies=True))
        part.audit.append("policy_deleted", world.now_us, {"policy": policy_id})
        return [*views, world.snapshots.fresh(txn, part, before)]

    same, again, other = world.write(work)
    assert same.policies is again.policies is before.policies
    assert other.policies.revision != before.policies.revision
    assert current(world).policies is other.policies


def test_without_policy_files_nothing_can_be_ruled(world: World) -> None:
    world.found()
    for key in (b"policy_files", b"policy_files_digest"):
        txn = world.environment.begin_write()
        txn.delete(key, db=world.environment.tables["meta"])
        txn.commit()
        with world.store.read() as reading, pytest.raises(Unavailable, match="no policy files were loaded"):
            Snapshots().files(reading)
    world.load(shipped_files())


def test_the_policy_revision_names_what_decides_and_nothing_else(world: World) -> None:
    """Two tenants without policies of their own have the same; a name is no part of it, a text is."""
    world.found()
    world.found("t_two")
    assert current(world).policies.revision == current(world, tenant_id="t_two").policies.revision
    world.grant(rules=Rules(currencies=("CAD",)))
    assert current(world).policies.revision != current(world, tenant_id="t_two").policies.revision
    assert world.decide(tool_call()).policy_revision == current(world).policies.revision


def test_a_new_identity_is_known_to_the_next_decision(world: World) -> None:
    world.tenant()
    with pytest.raises(NotFound):
        world.decide(tool_call("ann"))
    world.identity("ann")
    assert world.decide(tool_call("ann")).allowed
    assert world.authorizer.rehearse(OPERATOR, "t_one", tool_call("ann"), world.now_us).decision.allowed

"""What a control plane tells its followers: all that changed, each record once and as it is, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.feed import FollowedToken, files_digest, write_page
from sidecar.core.snapshot import SourceFile
from sidecar.service import compaction, feed, feed_page
from sidecar.service.accounts import AccountDraft, Bank
from sidecar.service.store import Transaction
from tests.service.builders import OPERATOR, World, limit, only_schemas
from tests.service.mirror import (
    LOOKS,
    Desk,
    Mirror,
    card,
    compact,
    delete_policy,
    follower,
    head_of,
    suspend,
    tenant_of,
)
from tests.service.test_list_costs import reads_of


@pytest.fixture
def org(tmp_path: Path) -> Iterator[World]:
    """A tenant with two teams, an agent in each, and one agent beside them."""
    with World(tmp_path) as made:
        made.found()
        made.identity("ops", type_name="team")
        made.identity("lab", type_name="team")
        made.identity("ann", "ops")
        made.identity("bob", "lab")
        made.identity("cleo")
        yield made


@pytest.fixture
def desk(org: World) -> Desk:
    """What tells of it."""
    return Desk(org)


# --- Pages ------------------------------------------------------------------------------------------------------------


def test_a_page_tells_each_record_once_as_it_is(org: World, desk: Desk) -> None:
    """However often it changed, and behind what it rests on."""
    caller = follower(org)
    suspend(org, "ann")
    suspend(org, "ann", "active")
    page = desk.page(caller)
    told = [(change.kind, change.id) for change in page.changes]
    assert len(told) == len(set(told))
    ann = next(change for change in page.changes if change.id == "ann")
    with org.store.read() as txn:
        assert ann.value == txn.of(tenant_of(org)).identities.get("ann")
    assert (ann.revision, ann.owner, ann.place) == (page.head, "ops", 5)
    assert page.is_last


def test_what_is_new_is_told_since_a_revision_and_nothing_twice(org: World, desk: Desk) -> None:
    mirror = Mirror(desk, follower(org))
    mirror.catch_up()
    mirror.told.clear()
    org.identity("dan", "lab")
    suspend(org, "bob")
    mirror.catch_up()
    assert [(each.kind, each.id) for each in mirror.told] == [("identity", "dan"), ("identity", "bob")]
    mirror.catch_up()
    assert len(mirror.told) == 2


def test_what_is_gone_is_told_as_gone(org: World, desk: Desk) -> None:
    policy_id = org.grant()
    mirror = Mirror(desk, follower(org))
    mirror.catch_up()
    assert ("policy", policy_id) in mirror.known
    delete_policy(org, policy_id)
    made = org.grant()
    delete_policy(org, made)
    mirror.catch_up()
    assert ("policy", policy_id) not in mirror.known
    assert [(each.id, each.value) for each in mirror.told[-2:]] == [(policy_id, None), (made, None)]


def test_a_page_has_a_bound_and_the_next_one_goes_on(org: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_page, "PAGE_RECORDS_MAX", 4)
    monkeypatch.setattr(feed_page, "ROUND_ENTRIES", 2)
    mirror = Mirror(desk, follower(org))
    first = desk.page(mirror.caller)
    assert 2 < len(first.changes) <= 4
    assert (first.is_last, first.files) == (False, None)
    mirror.catch_up()
    assert mirror.files is not None
    assert {"ops", "lab", "ann", "bob", "cleo", "root"} <= mirror.ids()


def test_a_page_ends_after_so_many_looks_though_little_is_told(
    org: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entries in between belong to others; the follower learns how far it was led."""
    monkeypatch.setattr(feed_page, "ROUND_ENTRIES", 2)
    monkeypatch.setattr(feed, "ROUNDS_MAX", 2)
    caller = follower(org, "ann")
    since = head_of(org)
    for number in range(8):
        org.identity(f"other{number}", "lab")
    page = desk.page(caller, since)
    assert (page.changes, page.to_revision - since, page.is_last) == ((), 2, False)


def test_changes_of_one_revision_stay_together(org: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page never ends in the middle of a revision, whatever its bound."""
    monkeypatch.setattr(feed_page, "ROUND_ENTRIES", 1)
    monkeypatch.setattr(feed_page, "PAGE_RECORDS_MAX", 1)
    caller = follower(org)
    since = head_of(org)

    def work(txn: Transaction) -> None:
        part, revision = txn.of(tenant_of(org)), txn.tenants.advance(1)
        for name in ("ann", "bob"):
            identity = part.identities.get(name)
            assert identity is not None
            part.identities.change(name, identity, revision)

    org.write(work)
    for name in ("cleo", "ops"):
        suspend(org, name)
    page = desk.page(caller, since)
    assert ({change.id for change in page.changes}, page.to_revision) == ({"ann", "bob", "cleo"}, since + 2)


def test_a_page_tells_tenant_files_time_and_origin(org: World, desk: Desk) -> None:
    caller = follower(org, "ops")
    page = desk.page(caller)
    tenant = tenant_of(org)
    assert (page.tenant.tenant_id, page.tenant.time_zone, page.tenant.root_identity_id) == ("t_one", "UTC", "root")
    assert page.time_us == org.now_us
    assert (page.follower_id, page.scope) == (caller.name, "ops")
    with org.store.read() as txn:
        assert page.origin == txn.of(tenant).audit.origin
    assert page.files is not None
    assert page.files_digest == files_digest(page.files)
    assert desk.page(caller, 0, page.files_digest).files is None


def test_files_come_again_only_when_they_changed(org: World, desk: Desk) -> None:
    """Those of other tenants are no change."""
    caller = follower(org)
    page = desk.page(caller)
    org.load(only_schemas())
    changed = desk.page(caller, page.head, page.files_digest)
    assert changed.files == only_schemas()
    assert feed.has_news(changed)
    again = desk.page(caller, page.head, changed.files_digest)
    assert (again.files, feed.has_news(again)) == (None, False)


def test_accounts_grants_and_passkeys_are_no_part_of_the_feed(org: World, desk: Desk) -> None:
    caller = follower(org)
    since = head_of(org)
    draft = AccountDraft(identity_id="ann", asset="CAD")
    org.run(Bank(org.store, org.ids).open(OPERATOR, "t_one", draft, None, org.now_us))
    page = desk.page(caller, since)
    assert (page.changes, page.to_revision) == ((), since + 1)


def test_no_secret_of_a_token_is_told(org: World, desk: Desk) -> None:
    """Digests only; those of a rotated token both, for it opens on for its grace time."""
    minted = org.minted("ann")
    turned = org.run(org.desk.rotate(OPERATOR, "t_one", minted.token.token_id, 60, org.now_us)).value
    page = desk.page(follower(org))
    (told,) = [each.value for each in page.changes if each.id == minted.token.token_id]
    assert isinstance(told, FollowedToken)
    assert told.token.digest == turned.token.digest
    assert told.former_digest == minted.token.digest
    assert told.token.tenant == 0
    written = write_page(page).decode()
    for text in (minted.text, turned.text):
        assert text.rsplit("_", 2)[1] not in written


def test_who_is_ahead_of_the_store_is_refused(org: World, desk: Desk) -> None:
    """As after the control plane was put back to an older state: nobody may go on from what is no more."""
    caller = follower(org)
    with pytest.raises(Conflict, match="is not reached here"):
        desk.page(caller, head_of(org) + 1)


def test_who_may_read_the_feed(org: World, desk: Desk) -> None:
    """Followers of their tenant, administrators of theirs; no agent."""
    org.found("t_two", root_id="other")
    with pytest.raises(Forbidden, match="kind `agent`"):
        desk.page(org.token("ann"))
    with pytest.raises(Forbidden, match="t_two"):
        desk.page(follower(org), tenant_id="t_two")
    with pytest.raises(NotFound):
        desk.page(OPERATOR, tenant_id="t_none")
    with pytest.raises(ValidationFailed):
        desk.page(OPERATOR)
    page = desk.page(org.token(None))
    assert (page.follower_id, page.scope) == (None, None)
    assert desk.page(OPERATOR, tenant_id="t_two").tenant.tenant_id == "t_two"


def test_a_token_that_was_deleted_or_ran_out_gets_no_page(org: World, desk: Desk) -> None:
    gone, late = follower(org), follower(org, life_us=10)
    org.run(org.desk.revoke(OPERATOR, "t_one", gone.name, org.now_us))
    org.now_us += 10
    for caller in (gone, late):
        with pytest.raises(Unauthenticated):
            desk.page(caller)


# --- Subtrees ---------------------------------------------------------------------------------------------------------


def test_a_follower_of_a_subtree_is_told_what_decisions_in_it_rest_on(org: World, desk: Desk) -> None:
    """The chain above with what belongs to it, everything below, and what belongs to the whole tenant."""
    mine, above, shared = org.grant(identity_id="ann"), org.grant(identity_id="root"), org.grant()
    other = org.grant(identity_id="bob")
    budgets = [org.budget(limit(5, name)).budget.budget_id for name in ("ann", "ops", "root", "bob", "cleo")]
    own, strange = card(org, "ann"), card(org, "bob")
    agent, team, strangers, key = org.token("ann"), org.token("ops"), org.token("bob"), org.token(None)
    caller = follower(org, "ops")
    for is_snapshot in (False, True):
        mirror = Mirror(desk, caller)
        assert is_snapshot is False or mirror.load()
        mirror.catch_up()
        ids = mirror.ids()
        assert {"root", "ops", "ann", mine, above, shared, own.card_id, agent.name, team.name, key.name} <= ids
        assert set(budgets[:3]) <= ids
        assert ids.isdisjoint({"lab", "bob", "cleo", other, strange.card_id, strangers.name, caller.name, *budgets[3:]})
        limits = {change.owner for (kind, _), change in mirror.known.items() if kind == "budget"}
        assert limits == {"ann", "ops", "root", f"card\n{own.card_id}"}


def test_nobody_is_told_of_followers_tokens(org: World, desk: Desk) -> None:
    caller = follower(org)
    follower(org, "ann")
    tokens = [each.value for each in desk.page(caller).changes if each.kind == "token"]
    assert {each.token.kind for each in tokens if isinstance(each, FollowedToken)} == {"tenant"}


def test_what_was_removed_elsewhere_is_not_told(org: World, desk: Desk) -> None:
    """Neither the removal nor the changes before it."""
    caller = follower(org, "ops")
    since = head_of(org)
    strange, near, general = org.grant(identity_id="bob"), org.grant(identity_id="ann"), org.grant()
    for policy_id in (strange, near, general):
        delete_policy(org, policy_id)
    assert [(each.id, each.value) for each in desk.page(caller, since).changes] == [(near, None), (general, None)]


def test_identities_that_policies_look_into_are_told_with_all_above(org: World, desk: Desk) -> None:
    """A policy that looks into nothing says nothing: a forbid would be lost."""
    caller = follower(org, "ops")
    mirror = Mirror(desk, caller)
    mirror.catch_up()
    assert "bob" not in mirror.ids()
    org.cedar(LOOKS.format("bob"), "ann")
    mirror.catch_up()
    assert {"bob", "lab"} <= mirror.ids()
    suspend(org, "bob")
    mirror.catch_up()
    bob = mirror.known["identity", "bob"].value
    assert getattr(bob, "status", None) == "suspended"
    assert "cleo" not in mirror.ids()


def test_policies_that_mean_nobody_in_the_subtree_name_nobody(org: World, desk: Desk) -> None:
    org.cedar(LOOKS.format("bob"), "cleo")
    mirror = Mirror(desk, follower(org, "ops"))
    mirror.catch_up()
    assert mirror.ids().isdisjoint({"bob", "lab"})
    suspend(org, "bob")
    mirror.told.clear()
    mirror.catch_up()
    assert mirror.told == []


def test_identities_that_files_look_into_are_told_with_the_files(org: World, desk: Desk) -> None:
    """Also one that is made later, with what is above it, and one that nobody has yet."""
    mirror = Mirror(desk, follower(org, "ops"))
    mirror.catch_up()
    names = '@id("f1") forbid (principal, action, resource) when {{ Agent::"{0}".status == "suspended" }};'
    text = names.format("dan") + names.format("bob").replace("f1", "f2")
    own = {"t_one": (SourceFile("policies/t_one/own.cedar", text),)}
    org.load(msgspec.structs.replace(only_schemas(), by_tenant=own))
    mirror.catch_up()
    assert {"bob", "lab"} <= mirror.ids()
    org.identity("den", "lab", type_name="team")
    org.identity("dan", "den")
    mirror.catch_up()
    assert {"dan", "den"} <= mirror.ids()


def test_a_policy_that_means_somebody_who_may_come_is_followed_by_what_it_names(org: World, desk: Desk) -> None:
    """Nobody of that id exists; when somebody does, the policy must not look into nothing."""
    text = LOOKS.format("bob").replace("in ?principal", '== Agent::"zed"')
    own = {"t_one": (SourceFile("policies/t_one/own.cedar", f'@id("z") {text}'),)}
    org.load(msgspec.structs.replace(only_schemas(), by_tenant=own))
    mirror = Mirror(desk, follower(org, "ops"))
    mirror.catch_up()
    assert {"bob", "lab"} <= mirror.ids()


def test_a_follower_of_one_agent_among_many_is_told_a_handful(
    org: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is read for it does not grow with them."""
    caller = follower(org, "ann")
    known = desk.page(caller)
    reads: list[tuple[int, int]] = []
    for start in (0, 20, 300):
        for number in range(start, start + 20 + start // 2):
            org.identity(f"other{number}", "lab")
        head = head_of(org)
        calls = (
            lambda head=head: desk.page(caller, head, known.files_digest),
            lambda: desk.snapshot(caller),
        )
        reads.append((reads_of(org, calls[0], monkeypatch), reads_of(org, calls[1], monkeypatch)))
        for told in (desk.page(caller).changes, desk.snapshot(caller)[1:-1]):
            assert len(told) == 4  # root, team, agent, and the tenant's key
    assert reads[0] == reads[1] == reads[2]


# --- Compaction -------------------------------------------------------------------------------------------------------


def test_who_is_too_far_behind_takes_a_snapshot(org: World, desk: Desk) -> None:
    mirror = Mirror(desk, follower(org))
    mirror.step()
    for number in range(6):
        org.identity(f"more{number}")
    compact(org, 3)
    page = desk.page(mirror.caller, mirror.revision)
    assert (page.is_compacted, page.changes, page.to_revision) == (True, (), mirror.revision)
    assert feed.has_news(page)
    mirror.catch_up()
    assert {f"more{number}" for number in range(6)} <= mirror.ids()
    assert desk.page(mirror.caller, head_of(org) - 3).is_compacted is False


def test_compaction_goes_on_from_tenant_to_tenant_and_ends(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "TENANTS_LOOKED", 1)
    monkeypatch.setattr(compaction, "FORGOTTEN_MAX", 2)
    org.found("t_two", root_id="other")
    for number in range(9):
        org.identity(f"x{number}", "other", tenant_id="t_two")
    compact(org, 2)
    with org.store.read() as txn:
        for tenant in txn.tenants.after(0):
            head = txn.tenants.revisions(tenant.number).entities
            assert [each.revision for each in txn.of(tenant).feed.told(0, 99)] == [head - 1, head]
    compact(org, 2)

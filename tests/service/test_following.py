"""A follower applies what a control plane tells whole or not at all, in order and never back."""

import re
import threading
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import msgspec
import pytest

from sidecar.core.authzen import Authzen
from sidecar.core.budget import Budget
from sidecar.core.directory import Identity
from sidecar.core.errors import NotFound, PolicyInvalid, Unavailable
from sidecar.core.feed import Change, FeedRefused, Page, write_change
from sidecar.core.feed_snapshot import SnapshotEnd, SnapshotHead, extended, read_line, write_line
from sidecar.core.model import AuditMark
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyRecord, SourceFile
from sidecar.core.staleness import Contact
from sidecar.core.windows import Period
from sidecar.replica.vetting import FeedVetting
from sidecar.service.budget_changes import BudgetPatch
from sidecar.service.card_drafts import CardDraft
from sidecar.service.feed_mark import mark_of
from sidecar.service.following import WantsPage, WantsSnapshot
from sidecar.service.following_plan import Plan
from sidecar.service.following_policies import Doorkeeper
from sidecar.service.following_switch import Switch, switch
from sidecar.service.tenants import TenantPatch
from sidecar.service.treasury import CardDesk
from sidecar.state.transaction import Transaction
from tests.service.builders import OPERATOR, SECOND, World, codes, limit, only_schemas, payment, tool_call
from tests.service.flotilla import trusting
from tests.service.followers import Follower, followed_digest, follower_token, forget_changes, revision_of
from tests.service.histories import chronicle, prove

BOB_ONLY = (
    '@id("bob/only") forbid (principal, action == Action::"tool.call", resource) unless { principal in Agent::"bob" };'
)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[World]:
    """A control plane with an agent that may do everything, and a budget."""
    with World(tmp_path / "control") as made:
        made.tenant()
        made.identity("bob", external_id="B")
        made.budget(limit("100", "bob"))
        yield made
        assert made.faults() == []


@pytest.fixture
def follower(tmp_path: Path, control: World) -> Iterator[Follower]:
    """A follower of the whole tenant, which knows nothing yet; whatever the test did, its store holds together."""
    with Follower(tmp_path / "follower", control) as made:
        yield made
        assert made.faults() == []
        if made.state is not None:
            assert prove(chronicle(made)).is_exact


def same(follower: Follower) -> bool:
    """Whether both have the same state."""
    control = follower.control
    return (followed_digest(follower), revision_of(follower)) == (followed_digest(control), revision_of(control))


def mark_in(control: World) -> AuditMark:
    """The end of the control plane's log of the tenant."""
    with control.look() as part:
        return mark_of(part.audit)


# --- The way of a change ----------------------------------------------------------------------------------------------


def test_a_first_start_takes_a_snapshot_and_the_page_behind_it(follower: Follower) -> None:
    assert follower.following.wanted() == WantsSnapshot(None)
    follower.take_lines(follower.wanted_lines())
    staging = follower.staging
    assert staging is not None
    assert follower.following.wanted() == WantsPage(staging.since, None, mark_in(follower.control), is_staged=True)
    assert follower.state is None
    assert follower.take(follower.page()) == "applied"
    assert same(follower)
    assert follower.staging is None
    assert follower.take(follower.page()) == "confirmed"
    assert follower.kinds() == ["open", "followed"]


def test_a_decision_here_is_the_one_of_there(follower: Follower) -> None:
    """The same verdict by the same policies at the same revision, for a permit and for a denial."""
    follower.sync()
    for request in (payment("20", "bob"), payment("101", "bob"), tool_call("bob", tool="shell")):
        there, here = follower.control.decide(request), follower.decide(request)
        assert (here.allowed, codes(here), here.policy_revision) == (there.allowed, codes(there), there.policy_revision)
        assert here.entity_revision == there.entity_revision


def test_a_change_is_applied_with_the_next_page(follower: Follower) -> None:
    """Identities, budgets, cards, policies and tokens, made, changed and ended."""
    follower.sync()
    control = follower.control
    control.identity("ann")
    kept = control.budget(limit("5", "ann"))
    gone = control.budget(limit("7", "ann"))
    rules = Rules(actions=("card.authorize",), max_amount=Major("30"), currencies=("CAD",))
    rule = control.grant(rules=rules, identity_id="bob")
    desk = CardDesk(control.store, control.treasurer, control.ids)
    control.run(desk.create(OPERATOR, "t_one", CardDraft(identity_id="bob", currency="CAD"), None, control.now_us))
    token = control.minted("bob").token
    follower.sync()
    assert same(follower)
    control.run(control.treasurer.delete(OPERATOR, "t_one", gone.budget.budget_id, control.now_us))
    patch = BudgetPatch(Major("6"), None, None, None)
    control.run(control.treasurer.change(OPERATOR, "t_one", kept.budget.budget_id, patch, control.now_us))
    control.run(control.legislator.delete(OPERATOR, "t_one", rule, control.now_us))
    control.run(control.desk.rotate(OPERATOR, "t_one", token.token_id, 60, control.now_us))
    control.revoke("bob")
    follower.sync()
    assert same(follower)
    assert codes(follower.decide(payment("1", "bob"))) == ["identity_revoked"]
    control.run(control.desk.revoke(OPERATOR, "t_one", token.token_id, control.now_us))
    follower.sync()
    assert same(follower)


def test_a_token_opens_here_what_it_opens_there(follower: Follower) -> None:
    """The secret of a token, the one that a rotation replaced until its time is over, and none once it is revoked."""
    control = follower.control
    minted = control.minted("bob")
    follower.sync()
    assert follower.desk.authenticate(minted.text, follower.now_us).kind == "agent"
    rotated = control.run(control.desk.rotate(OPERATOR, "t_one", minted.token.token_id, 60, control.now_us)).value
    follower.sync()
    for text in (minted.text, rotated.text):
        assert follower.desk.authenticate(text, follower.now_us).name == minted.token.token_id


def test_a_revision_without_a_followed_change_is_reached_too(follower: Follower) -> None:
    """What is not followed raises the revision as well, and decisions here carry that of there."""
    follower.sync()
    control = follower.control
    control.run(control.tenancy.change(OPERATOR, "t_one", TenantPatch("Renamed"), control.now_us))
    follower.sync()
    assert same(follower)
    assert follower.own().name == "Renamed"
    assert follower.kinds() == ["open", "followed", "followed"]
    assert "authzen" not in follower.bodies()[-1]


def test_what_callers_may_claim_is_followed_and_recorded(follower: Follower) -> None:
    follower.sync()
    control = follower.control
    allowed = Authzen(subject_properties=("role",), item_context=True)
    control.run(control.tenancy.change(OPERATOR, "t_one", TenantPatch(authzen=allowed), control.now_us))
    follower.sync()
    assert follower.own().authzen == allowed
    told = {"subject_properties": ["role"], "resource_properties": [], "item_context": True}
    assert follower.bodies()[-1]["authzen"] == told


def test_what_was_applied_survives_a_restart(follower: Follower) -> None:
    follower.sync()
    follower.restart()
    assert follower.following.wanted() == WantsPage(
        revision_of(follower.control), follower.page().files_digest, mark_in(follower.control)
    )
    assert follower.take(follower.page()) == "confirmed"
    assert follower.decide(payment("20", "bob")).allowed


def test_nothing_is_visible_before_the_last_page(follower: Follower) -> None:
    """Pages that are not the last one wait; with the last, everything is there."""
    follower.sync()
    control = follower.control
    control.identity("ann")
    first = follower.page()
    control.identity("cat", "ann")
    last = follower.page(first.to_revision)
    cut = msgspec.structs.replace(first, head=last.head)
    assert follower.take(cut) == "staged"
    with follower.look() as part:
        assert part.identities.get("ann") is None
    follower.restart()
    assert follower.take(last) == "applied"
    assert same(follower)


def test_more_than_one_list_of_records_tells_of_a_big_change(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.service.following_switch.RECORDS_MAX", 2)
    follower.sync()
    assert follower.kinds() == ["open", "followed", "followed", "followed"]
    assert same(follower)


def test_what_takes_long_is_applied_beside_the_loop(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a server that applies much still says that it lives."""
    monkeypatch.setattr("sidecar.service.following.SHORT_MAX", 1)
    threads: list[tuple[int, bool]] = []

    def noting(txn: Transaction, wanted: Switch) -> None:
        threads.append((len(wanted.plan.changes), threading.current_thread() is threading.main_thread()))
        switch(txn, wanted)

    monkeypatch.setattr("sidecar.service.following.switch", noting)
    follower.sync()
    follower.control.identity("ann")
    follower.sync()
    assert threads == [(5, False), (1, True)]
    assert same(follower)


def test_a_page_that_was_taken_before_is_let_pass(follower: Follower) -> None:
    follower.sync()
    again = follower.page(revision_of(follower) - 1)
    assert follower.take(again) == "ignored"
    follower.run(follower.following.begin_anew())
    assert follower.take(again) == "ignored"


def test_external_ids_are_handed_over(follower: Follower) -> None:
    """One that a revoked identity gave up belongs to another now, in whatever order the two are told."""
    follower.sync()
    control = follower.control
    control.revoke("bob")
    control.identity("ann", external_id="B")
    page = follower.page()
    assert follower.take(msgspec.structs.replace(page, changes=page.changes[::-1])) == "applied"
    assert same(follower)


# --- Snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_that_was_cut_off_goes_on_at_its_last_mark(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes between the two parts is told by the page behind them."""
    monkeypatch.setattr("sidecar.service.feed_snapshot.MARK_EVERY", 2)
    control = follower.control
    control.identity("ann")
    lines = follower.wanted_lines()
    with pytest.raises(FeedRefused, match="it was cut off"):
        follower.take_lines(lines[:5])
    control.revoke("ann")
    control.identity("cat")
    follower.restart()
    wanted = follower.following.wanted()
    assert isinstance(wanted, WantsSnapshot)
    assert wanted.cursor is not None
    follower.take_lines(follower.wanted_lines())
    follower.take(follower.page())
    assert same(follower)


def test_a_snapshot_replaces_what_it_does_not_tell_of(follower: Follower) -> None:
    """As after a long time without contact; what is the same is not written again."""
    control = follower.control
    gone = control.budget(limit("90", "bob")).budget.budget_id
    rule = control.grant(identity_id="bob")
    follower.sync()
    control.run(control.treasurer.delete(OPERATOR, "t_one", gone, control.now_us))
    control.run(control.legislator.delete(OPERATOR, "t_one", rule, control.now_us))
    control.identity("ann")
    forget_changes(control)
    held = follower.state
    assert held is not None
    assert follower.take(follower.page()) == "compacted"
    assert follower.following.wanted() == WantsSnapshot(None, held.mark)
    assert follower.decide(payment("20", "bob")).allowed
    follower.sync()
    assert same(follower)
    assert follower.bodies()[-1]["count"] == 3


def test_another_scope_begins_with_a_snapshot(follower: Follower) -> None:
    """The same store with the token of a subtree: what lies outside is dropped, at the revision that is here."""
    control = follower.control
    control.identity("ann")
    control.identity("cat", "ann")
    control.grant(identity_id="ann")
    control.grant(identity_id="cat")
    narrow = follower_token(control, "bob")
    follower.sync()
    assert follower.decide(tool_call("ann")).allowed
    wide, follower.caller = follower.caller, narrow
    assert follower.take(follower.page()) == "compacted"
    follower.sync()
    assert revision_of(follower) == revision_of(control)
    assert not same(follower)
    with follower.look() as part:
        assert [each.value.identity_id for each in part.identities.all()] == ["root", "bob"]
        assert len(list(part.policies.all())) == 1
    with pytest.raises(NotFound):
        follower.decide(tool_call("ann"))
    follower.caller = wide
    follower.sync()
    assert same(follower)
    assert follower.decide(tool_call("cat")).policy_revision == control.decide(tool_call("cat")).policy_revision


def test_a_control_plane_that_was_replaced_in_between_is_begun_anew(follower: Follower) -> None:
    """A page of another origin does not complete the snapshot, and nothing of either is applied."""
    follower.take_lines(follower.wanted_lines())
    assert follower.take(msgspec.structs.replace(follower.page(), origin="another")) == "compacted"
    assert follower.following.wanted() == WantsSnapshot(None)
    follower.sync()
    assert same(follower)


def without(lines: list[bytes], part: bytes) -> list[bytes]:
    """A snapshot in one piece that leaves out the records with that part, and says that it is whole."""
    head, *others = lines
    begun = read_line(head)
    assert isinstance(begun, SnapshotHead)
    kept = [line for line in others if isinstance(read_line(line), Change) and part not in line]
    digest = reduce(extended, kept, begun.digest)
    end = read_line(others[-1])
    assert isinstance(end, SnapshotEnd)
    return [head, *kept, write_line(msgspec.structs.replace(end, records=len(kept), digest=digest))]


def changed(lines: list[bytes], number: int, old: bytes, new: bytes) -> list[bytes]:
    """The lines with one of them changed, which has ``old``."""
    assert old in lines[number]
    return [line.replace(old, new) if at == number else line for at, line in enumerate(lines)]


@pytest.mark.parametrize("case", ["changed", "dropped", "doubled", "no head", "two heads", "digest", "end", "gone"])
def test_a_snapshot_that_is_not_whole_is_refused(follower: Follower, case: str) -> None:
    """A record that was changed, left out or repeated, and lines that are not where they belong."""
    lines = follower.wanted_lines()
    wrong, sentence = {
        "changed": (changed(lines, 2, b"Bob", b"Rob"), "missing, doubled or changed"),
        "dropped": ([lines[0], *lines[2:]], "missing, doubled or changed"),
        "doubled": ([lines[0], lines[1], *lines[1:]], "missing, doubled or changed"),
        "no head": (lines[1:], "does not begin with its first line"),
        "two heads": ([lines[0], *lines], "begins a second time"),
        "digest": (changed(lines, 0, b'"digest":"', b'"digest":"0'), "the digest of its beginning"),
        "end": (changed(lines, -1 % len(lines), b'"revision":', b'"revision":1'), "it began with"),
        "gone": ([lines[0], write_change(Change(kind="card", id="c", revision=1))], "card `c`, which is gone"),
    }[case]
    with pytest.raises(FeedRefused, match=sentence):
        follower.take_lines(wrong)
    follower.sync()
    assert same(follower)


def test_a_snapshot_that_goes_on_elsewhere_is_refused(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.service.feed_snapshot.MARK_EVERY", 1)
    lines = follower.wanted_lines()
    with pytest.raises(FeedRefused, match="cut off"):
        follower.take_lines(lines[:3])
    first = follower.wanted_lines()
    follower.run(follower.following.begin_anew())
    with pytest.raises(FeedRefused, match="another mark"):
        follower.take_lines(first)
    follower.sync()
    assert same(follower)


def test_a_snapshot_without_marks_is_not_held_in_memory(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.service.following_intake.UNMARKED_MAX", 2)
    monkeypatch.setattr("sidecar.service.following_intake.AT_ONCE", 1)
    with pytest.raises(FeedRefused, match="has no mark in 2 records"):
        follower.take_lines(follower.wanted_lines())


def test_a_snapshot_older_than_what_is_here_is_refused(follower: Follower) -> None:
    """As of a control plane that was put back to an older state."""
    lines = follower.wanted_lines()
    follower.control.identity("ann")
    follower.sync()
    with pytest.raises(FeedRefused, match="older than"):
        follower.take_lines(lines)
    assert same(follower)


# --- What is refused, with the last good state in force ---------------------------------------------------------------


def test_what_another_control_plane_tells_is_refused(follower: Follower, tmp_path: Path) -> None:
    """And a store that has tenants of its own follows nobody."""
    follower.sync()
    page, lines = follower.page(), follower.lines()
    for wrong in (
        msgspec.structs.replace(page, follower_id="tok_another"),
        msgspec.structs.replace(page, origin="another"),
        msgspec.structs.replace(page, tenant=msgspec.structs.replace(page.tenant, tenant_id="t_two")),
    ):
        with pytest.raises(FeedRefused, match="use an empty"):
            follower.take(wrong)
    with pytest.raises(FeedRefused, match="use an empty one"):
        follower.take_lines(changed(lines, 0, b"t_one", b"t_two"))
    with Follower(tmp_path / "used", follower.control) as used:
        used.load_own()
        used.found("t_own")
        with pytest.raises(FeedRefused, match="tenants of its own"):
            used.following.wanted()


def test_a_snapshot_is_completed_by_a_page_of_its_own_tenant(follower: Follower) -> None:
    """Of the same origin: whoever tells of another one lies, and must not bind this follower to a strange tenant."""
    follower.take_lines(follower.wanted_lines())
    page = follower.page()
    stranger = msgspec.structs.replace(page.tenant, tenant_id="t_strange")
    assert follower.take(msgspec.structs.replace(page, tenant=stranger)) == "compacted"
    follower.sync()
    assert same(follower)


def test_a_refused_page_behind_a_snapshot_leaves_no_trace(follower: Follower) -> None:
    """Nobody knows whether the page was wrong or what it was to complete, so all is asked for once more."""
    follower.take_lines(follower.wanted_lines())
    follower.control.identity("ann")
    page = follower.page()
    (ann,) = page.changes
    assert isinstance(ann.value, Identity)
    orphan = msgspec.structs.replace(ann.value, identity_id="orphan", parent_id="nobody")
    wrong = msgspec.structs.replace(ann, id="orphan", owner="nobody", value=orphan)
    with pytest.raises(FeedRefused, match="nobody"):
        follower.take(msgspec.structs.replace(page, changes=(wrong,)))
    follower.sync()
    assert same(follower)


def test_a_snapshot_that_does_not_hold_together_is_taken_once_more(follower: Follower) -> None:
    """Its lines are as they were told, and no page behind it would ever mend it."""
    follower.take_lines(without(follower.wanted_lines(), b'"parent_id":null'))
    with pytest.raises(FeedRefused, match="is not there"):
        follower.take(follower.page())
    assert follower.following.wanted() == WantsSnapshot(None)
    follower.sync()
    assert same(follower)


def test_a_tenant_never_changes_in_what_its_log_opens_with(follower: Follower) -> None:
    follower.sync()
    page = follower.page()
    for change in ({"time_zone": "Asia/Kathmandu"}, {"mode": "test"}, {"root_identity_id": "bob"}):
        tenant = msgspec.structs.replace(page.tenant, **change)
        with pytest.raises(FeedRefused, match="another mode, time zone or root"):
            follower.take(msgspec.structs.replace(page, tenant=tenant))


def test_a_gap_is_refused(follower: Follower) -> None:
    follower.sync()
    follower.control.identity("ann")
    follower.control.identity("cat")
    whole = follower.page()
    late = msgspec.structs.replace(whole, from_revision=whole.from_revision + 1)
    with pytest.raises(FeedRefused, match="something is missing"):
        follower.take(late)
    assert follower.take(whole) == "applied"


def test_policy_files_that_are_left_out_are_asked_for_again(follower: Follower) -> None:
    follower.sync()
    follower.control.load(only_schemas())
    page = follower.page()
    with pytest.raises(FeedRefused, match="leaves them out"):
        follower.take(msgspec.structs.replace(page, files=None))
    assert follower.take(page) == "applied"
    assert (
        follower.decide(tool_call("bob")).policy_revision == follower.control.decide(tool_call("bob")).policy_revision
    )


def test_new_policy_files_hold_with_the_next_decision(follower: Follower) -> None:
    """Though the tenant's revision stays: the files are of the deployment."""
    follower.sync()
    follower.control.identity("ann")
    follower.sync()
    assert follower.decide(tool_call("ann")).allowed
    before = revision_of(follower)
    follower.control.load(only_schemas(BOB_ONLY))
    assert follower.take(follower.page()) == "applied"
    assert revision_of(follower) == before
    assert not follower.decide(tool_call("ann")).allowed
    assert follower.decide(tool_call("bob")).allowed
    assert (
        follower.decide(tool_call("bob")).policy_revision == follower.control.decide(tool_call("bob")).policy_revision
    )


def test_older_policy_files_never_come_back(follower: Follower) -> None:
    """A page of files that others have replaced since comes once more, and no revision tells that it is the older."""
    follower.sync()
    follower.control.load(only_schemas(BOB_ONLY))
    older = follower.page()
    assert follower.take(older) == "applied"
    follower.control.load(only_schemas())
    assert follower.take(follower.page()) == "applied"
    assert older.from_revision == revision_of(follower)
    assert follower.take(older) == "ignored"
    assert follower.decide(tool_call("root")).allowed


def test_policies_that_may_not_hold_are_refused_whole(follower: Follower) -> None:
    """The last good files and records hold on; the place is named; what passes is taken again."""
    follower.sync()
    control = follower.control
    control.identity("ann")
    wrong = only_schemas("permit (principal, action, resource) when { context.nothing == 1 };")
    control.load(wrong)
    with pytest.raises(PolicyInvalid, match=r"policies/extra0\.cedar:1:"):
        follower.take(follower.page())
    assert follower.decide(tool_call("bob")).allowed
    with follower.look() as part:
        assert part.identities.get("ann") is None
    control.load(only_schemas())
    assert follower.take(follower.page()) == "applied"
    assert same(follower)


def with_policy(follower: Follower, cedar: str, **fields: object) -> Page:
    """The page that is wanted, with another text in place of that of the policy in it."""
    page = follower.page()
    (policy,) = [each for each in page.changes if each.kind == "policy"]
    assert isinstance(policy.value, PolicyRecord)
    value = msgspec.structs.replace(policy.value, cedar=cedar, **fields)
    other = msgspec.structs.replace(policy, value=value, owner=value.identity_id)
    return msgspec.structs.replace(page, changes=tuple(other if each is policy else each for each in page.changes))


def test_a_policy_of_the_api_that_may_not_hold_is_refused(follower: Follower) -> None:
    follower.sync()
    rule = follower.control.cedar("permit (principal in ?principal, action, resource);", "bob")
    for cedar, error, sentence in (
        ("permit (principal, action, resource) when { context.nothing == 1 };", PolicyInvalid, f"{rule}:1:"),
        ("permit (principal, action, resource);", FeedRefused, f"policy `{rule}`: a policy of one identity"),
        ("", FeedRefused, f"policy `{rule}`: the text holds no policy"),
    ):
        with pytest.raises(error, match=sentence):
            follower.take(with_policy(follower, cedar))
    follower.sync()
    assert same(follower)
    assert follower.vetted_files[-1][2] == [rule]
    assert follower.vetted_files[-1][1] is not None


def test_another_schema_has_every_policy_checked(follower: Follower) -> None:
    rule = follower.control.cedar("permit (principal in ?principal, action, resource);", "bob")
    follower.sync()
    (first, *rest) = only_schemas().schemas
    longer = SourceFile(first.path, first.text + "\n// longer\n")
    files = only_schemas()
    follower.control.load(msgspec.structs.replace(files, schemas=(longer, *rest)))
    follower.sync()
    assert rule in follower.vetted_files[-1][2]
    assert len(follower.vetted_files[-1][2]) == 2


def test_an_identity_of_a_type_that_the_schema_does_not_have_is_refused(follower: Follower) -> None:
    """One that comes, and one that is here where the schema loses its type."""
    follower.sync()
    follower.control.identity("ann", type_name="service")
    page = follower.page()
    (ann,) = page.changes
    assert isinstance(ann.value, Identity)
    wrong = msgspec.structs.replace(ann, value=msgspec.structs.replace(ann.value, type="robot"))
    with pytest.raises(FeedRefused, match="identity `ann` has the type `robot`"):
        follower.take(msgspec.structs.replace(page, changes=(wrong,)))
    assert follower.take(page) == "applied"
    files = only_schemas()
    lost = tuple(SourceFile(each.path, without_services(each.text)) for each in files.schemas)
    follower.control.load(msgspec.structs.replace(files, schemas=lost))
    with pytest.raises(FeedRefused, match="identity `ann` has the type `service`"):
        follower.take(follower.page())
    follower.control.load(files)
    follower.sync()
    assert same(follower)


def test_a_schema_may_lose_a_type_that_nobody_has(follower: Follower) -> None:
    """Whoever goes with the same page had it last."""
    follower.sync()
    files = only_schemas()
    lost = tuple(SourceFile(each.path, without_services(each.text)) for each in files.schemas)
    follower.control.load(msgspec.structs.replace(files, schemas=lost))
    assert follower.take(follower.page()) == "applied"


def test_without_any_policy_files_no_policy_is_let_in(follower: Follower) -> None:
    doorkeeper = Doorkeeper(follower.store, follower.snapshots, FeedVetting())
    assert doorkeeper.schema() is None
    with pytest.raises(FeedRefused, match="no policy files are here"):
        follower.run(doorkeeper.admit(follower.control.found("t_any").tenant, Plan({}), None))


def test_without_policy_files_nothing_is_followed(follower: Follower) -> None:
    follower.take_lines(follower.wanted_lines())
    page = follower.page()
    with pytest.raises(FeedRefused, match="leaves them out"):
        follower.take(msgspec.structs.replace(page, files=None))
    assert follower.state is None


def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path, control: World) -> None:
    """Nothing of a page is applied that does not fit, and it is once there is room."""
    with Follower(tmp_path / "small", control) as follower:
        follower.sync()
        control.identity("ann")
        write = follower.store.write
        full = Unavailable("the disk is full")

        async def refused(*_: object, **__: object) -> object:
            raise full

        follower.store.write = refused  # type: ignore[method-assign, assignment]
        with pytest.raises(Unavailable):
            follower.take(follower.page())
        follower.store.write = write  # type: ignore[method-assign]
        assert follower.decide(tool_call("bob")).allowed
        assert not same(follower)
        follower.sync()
        assert same(follower)


def test_what_was_applied_meanwhile_is_never_applied_upon(follower: Follower) -> None:
    """Two that follow at once: the second finds another state than the one that it planned on."""
    follower.sync()
    follower.control.identity("ann")
    page = follower.page()
    first, second = follower.together(
        follower.following.take_page(page, follower.instant()), follower.following.take_page(page, follower.instant())
    )
    assert first == "applied"
    assert isinstance(second, Unavailable)
    assert follower.kinds().count("followed") == 2
    idle = follower.page()
    follower.together(*(follower.following.take_page(idle, follower.instant()) for _ in range(2)))


# --- Contacts and budgets ---------------------------------------------------------------------------------------------


def contact(follower: Follower) -> Contact | None:
    with follower.store.read() as txn:
        return txn.replica.contact()


def test_each_confirmation_is_a_contact_of_the_moment_of_the_question(follower: Follower) -> None:
    """It says nothing is newer as of when it was asked; it changes neither revision nor log."""
    follower.sync()
    control = follower.control
    asked = follower.instant()
    control.now_us += 20 * SECOND
    kinds = follower.kinds()
    assert follower.run(follower.following.take_page(follower.page(), asked)) == "confirmed"
    assert contact(follower) == Contact(asked, revision_of(control), 0)
    assert follower.kinds() == kinds
    control.identity("ann")
    page = follower.page()
    assert follower.run(follower.following.take_page(page, asked)) == "applied"
    assert contact(follower) == Contact(asked, revision_of(control), 0)


@pytest.mark.parametrize(("answered_s", "skew_s"), [(-7, -7), (0, 0), (15, 0), (20, 0), (25, 5)])
def test_the_skew_is_how_far_the_answer_lies_outside_of_the_call(
    follower: Follower, answered_s: int, skew_s: int
) -> None:
    """The answer was made between question and now, by whichever clock: only what is outside of it is skew."""
    follower.sync()
    asked = follower.instant()
    page = msgspec.structs.replace(follower.page(), time_us=asked.wall_us + answered_s * SECOND)
    follower.control.now_us = asked.wall_us + 20 * SECOND
    assert follower.run(follower.following.take_page(page, asked)) == "confirmed"
    found = contact(follower)
    assert found is not None
    assert found.skew_us == skew_s * SECOND


def assigned(follower: Follower, budget_id: str, **changes: object) -> Page:
    """The page that is wanted, with the budget as one that this follower decides on."""
    page = follower.page()
    (told,) = [each for each in page.changes if each.kind == "budget" and each.id == budget_id]
    assert isinstance(told.value, Budget)
    value = msgspec.structs.replace(told.value, follower_id=page.follower_id, **changes)
    other = msgspec.structs.replace(told, value=value)
    return msgspec.structs.replace(page, changes=tuple(other if each is told else each for each in page.changes))


@pytest.mark.parametrize("period", ["daily", "rolling_24h", "per_transaction"])
def test_a_limit_that_was_lowered_bounds_what_is_decided_here(follower: Follower, period: Period) -> None:
    """Below what was used: nothing more is permitted, nothing is overdrawn, and the log replays."""
    follower.sync()
    control = follower.control
    budget_id = control.budget(limit("50", "bob", period=period)).budget.budget_id
    follower.take(assigned(follower, budget_id))
    control.now_us += SECOND
    follower.now_us = control.now_us
    assert follower.decide(payment("40", "bob")).allowed
    control.now_us += SECOND
    follower.now_us = control.now_us
    patch = BudgetPatch(Major("10"), None, None, None)
    control.run(control.treasurer.change(OPERATOR, "t_one", budget_id, patch, control.now_us))
    assert follower.take(assigned(follower, budget_id)) == "applied"
    assert not follower.decide(payment("11", "bob")).allowed


def without_services(schema: str) -> str:
    """The schema with another name for the type of services."""
    return re.sub(r"\bService\b", "Servant", schema)


def test_no_data_is_fresh_before_the_log_is_confirmed(follower: Follower) -> None:
    """Or a store that was set back would decide before it knows; what may not follow here confirms nothing."""
    follower.sync()
    asked: list[int] = []

    async def confirm() -> None:
        asked.append(follower.now_us)
        if len(asked) == 1:
            raise Unavailable("cut off")

    page = follower.page()
    here = follower.following
    follower.following = type(here)(
        follower.store,
        follower.snapshots,
        trusting,
        lambda: "unused",
        lambda: follower.now_us,
        follower.instant,
        confirm_log=confirm,
    )
    with follower.store.read() as txn:
        before = txn.replica.contact()
    with pytest.raises(Unavailable, match="cut off"):
        follower.take(page)
    with pytest.raises(FeedRefused):
        follower.take(msgspec.structs.replace(page, origin="sidecar.local/another"))
    with follower.store.read() as txn:
        assert txn.replica.contact() == before
    assert follower.take(page) == "confirmed"
    assert len(asked) == 2

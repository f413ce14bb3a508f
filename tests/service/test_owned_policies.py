"""A tenant's own policies, read anew only where they changed: always the same as reading all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.service import owned_policies as module
from sidecar.service.owned_policies import CHANGES_MAX, OwnedPolicies, owned_policies
from sidecar.service.store import Revisions, Transaction
from tests.service.builders import OPERATOR, World

TEXT = 'permit (principal in ?principal, action == Action::"tool.call", resource);'
SHARED = 'permit (principal, action == Action::"tool.call", resource);'


@pytest.fixture
def org(tmp_path: Path) -> Iterator[World]:
    """A tenant with two agents."""
    with World(tmp_path) as made:
        made.found()
        made.identity("ann")
        made.identity("bob", type_name="service")
        yield made


def revisions(txn: Transaction, number: int = 1) -> Revisions:
    """How far the tenant has changed."""
    return txn.tenants.revisions(number)


def look(org: World, known: OwnedPolicies | None = None) -> OwnedPolicies:
    """What is read now, given what was read before."""
    with org.store.read() as txn:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        return owned_policies(txn.of(tenant), revisions(txn, tenant.number), known)


def delete(org: World, policy_id: str) -> None:
    """Delete a policy."""
    org.run(org.legislator.delete(OPERATOR, "t_one", policy_id, org.now_us))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["ann", "bob", "all", "delete", "other", "look"]), max_size=12))
def test_what_changed_since_the_last_look_gives_what_reading_all_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """In the order of creation too, whatever else changes in between."""
    with World(tmp_path_factory.mktemp("store")) as org:
        org.found()
        org.identity("ann")
        org.identity("bob", type_name="service")
        known, made = look(org), list[str]()
        for number, step in enumerate(steps):
            if step == "delete" and made:
                delete(org, made.pop(number % len(made)))
            elif step == "other":
                org.identity(f"other{number}")
            elif step in {"ann", "bob"}:
                made.append(org.cedar(TEXT, step))
            elif step == "all":
                made.append(org.cedar(SHARED))
            else:
                known = look(org, known)
        found, everything = look(org, known), look(org)
        assert found.all() == everything.all()
        assert list(found.by_id) == list(everything.by_id)


def test_each_comes_with_the_type_of_the_identity_it_hangs_on(org: World) -> None:
    of_bob, of_all = org.cedar(TEXT, "bob"), org.cedar(SHARED)
    found = look(org)
    assert [type_name for _, type_name in found.all()] == ["Service", None]
    assert list(found.by_id) == [of_bob, of_all]


def test_nothing_is_read_while_no_policy_changed(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    org.cedar(TEXT, "ann")
    known = look(org)
    org.identity("eve")
    monkeypatch.setattr(module, "_typed", None)
    assert look(org, known) is known


def test_only_what_changed_is_read(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = org.cedar(TEXT, "ann")
    known = look(org)
    second = org.cedar(TEXT, "bob")
    read = list[str]()
    typed = module._typed  # noqa: SLF001 -- watched, and called

    def watch(part: object, record: object) -> object:
        read.append(record.policy_id)  # type: ignore[attr-defined]
        return typed(part, record)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_typed", watch)
    assert list(look(org, known).by_id) == [first, second]
    assert read == [second]


def test_too_many_changes_to_look_through_are_a_reason_to_read_all(org: World, monkeypatch: pytest.MonkeyPatch) -> None:
    known = look(org)
    for number in range(3):
        org.identity(f"agent{number}")
    made = org.cedar(TEXT, "ann")
    with org.look() as part:
        assert part.policies.changed(known.revisions.entities, 4) == [made]
        assert part.policies.changed(known.revisions.entities, 3) is None
        assert part.policies.changed(known.revisions.entities + 4, 1) == []
    monkeypatch.setattr(module, "CHANGES_MAX", 3)
    assert list(look(org, known).by_id) == [made]
    assert CHANGES_MAX >= 100


def test_a_state_that_is_older_than_what_is_known_is_read_whole(org: World) -> None:
    """A transaction may have begun before another one's look was kept."""
    with org.store.read() as txn:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        org.cedar(TEXT, "ann")
        known = look(org)
        assert len(known.all()) == 1
        assert owned_policies(txn.of(tenant), revisions(txn, tenant.number), known).all() == []


def test_where_the_changes_are_not_all_kept_everything_is_read(org: World) -> None:
    """A policy that was deleted in what was forgotten would otherwise hold on."""
    gone = org.grant()
    known = look(org)
    delete(org, gone)
    kept = org.grant()

    def forget(txn: Transaction) -> None:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        txn.of(tenant).feed.forget(known.revisions.entities + 1, 99)

    org.write(forget)
    assert list(look(org, known).by_id) == [kept]

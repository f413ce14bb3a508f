"""Records: by id, by owner, by external id, in order of creation, and every change in the change feed."""

from pathlib import Path
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.directory import Identity
from sidecar.core.errors import StoreUnusable
from sidecar.service.store import Listed
from sidecar.state import records
from sidecar.state.codec import TENANT_U64, U32, short_hash
from sidecar.state.environment import Environment
from sidecar.state.records import Kind, Record
from sidecar.state.tenant_transaction import TenantTransaction
from tests.state.builders import a_tenant, an_identity, reading, rows, store_in, writing


def ids(listed: list[Listed[Identity]]) -> list[str]:
    """Who is listed."""
    return [each.value.identity_id for each in listed]


def add(part: TenantTransaction, identity: Identity, revision: int) -> None:
    """Store an identity as the registry does."""
    part.identities.add(
        identity.identity_id, identity, revision, owner=identity.parent_id, external_id=identity.external_id
    )


def feed(environment: Environment, tenant: int = 1) -> list[tuple[int, int, str]]:
    """The change feed of a tenant: revision, kind and id of every change."""
    found = []
    for key, value in rows(environment, "changes"):
        number, revision = TENANT_U64.unpack(key[:12])
        name = value.partition(b"\x00")[0].decode()  # behind it is whom a record that is gone belonged to
        assert key[13:] == short_hash(name)
        if number == tenant:
            found.append((revision, key[12], name))
    return found


def test_a_record_is_found_by_id_in_its_own_tenant_only(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            add(txn.of(a_tenant(1)), an_identity("ann"), 1)
        with reading(environment) as txn:
            assert txn.of(a_tenant(1)).identities.get("ann") == an_identity("ann")
            assert txn.of(a_tenant(1)).identities.get("bob") is None
            assert txn.of(a_tenant(2)).identities.get("ann") is None
            assert txn.of(a_tenant(1)).budgets.get("ann") is None


def test_an_id_that_no_record_can_have_is_unknown(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, reading(environment) as txn:
        assert txn.of(a_tenant()).identities.get("") is None
        assert txn.of(a_tenant()).identities.get("x" * 600) is None
        assert txn.of(a_tenant()).identities.by_external_id("") is None


def test_lists_are_in_order_of_creation_whatever_the_ids(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            part = txn.of(a_tenant())
            for revision, name in enumerate(("zoe", "ann", "mia"), start=1):
                add(part, an_identity(name, "zoe" if name == "mia" else "root"), revision)
            add(txn.of(a_tenant(2)), an_identity("other"), 1)
        with reading(environment) as txn:
            identities = txn.of(a_tenant()).identities
            assert ids([*identities.all()]) == ["zoe", "ann", "mia"]
            assert ids([*identities.all(after=1)]) == ["ann", "mia"]
            assert [listed.place for listed in identities.all()] == [1, 2, 3]
            assert ids([*identities.owned("root")]) == ["zoe", "ann"]
            assert ids([*identities.owned("root", after=1)]) == ["ann"]
            assert ids([*identities.owned("zoe")]) == ["mia"]
            assert ids([*identities.owned("nobody")]) == []


def test_a_changed_record_keeps_its_place(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            part = txn.of(a_tenant())
            add(part, an_identity("ann"), 1)
            add(part, an_identity("bob"), 2)
            part.identities.change("ann", an_identity("ann", revision=3), 3)
        with reading(environment) as txn:
            identities = txn.of(a_tenant()).identities
            assert [(each.place, each.value.revision) for each in identities.all()] == [(1, 3), (2, 1)]
            assert ids([*identities.owned("root")]) == ["ann", "bob"]


def test_a_record_that_another_store_has_elsewhere_is_moved(tmp_path: Path) -> None:
    """Its place and its owner are those of over there, and it is in no list where it was."""
    with store_in(tmp_path) as environment, writing(environment) as txn:
        identities = txn.of(a_tenant()).identities
        for name, owner, place in (("ann", "root", 1), ("bob", "root", 2), ("ann", "team", 7), ("ann", "team", 7)):
            told = Record(document=msgspec.Raw(), place=place, revision=place, owner=owner, external_id=None)
            identities.adopt(name, an_identity(name, owner), told, 9)
        assert ids([*identities.all()]) == ["bob", "ann"]
        assert (ids([*identities.owned("root")]), ids([*identities.owned("team")])) == (["bob"], ["ann"])
        assert identities.place_of("ann") == 7


def test_a_removed_record_is_in_no_list_and_in_no_index(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            part = txn.of(a_tenant())
            add(part, an_identity("ann", external_id="e-1"), 1)
            add(part, an_identity("top", None), 2)
            part.identities.remove("ann", 3)
            part.identities.remove("top", 4)
        with reading(environment) as txn:
            identities = txn.of(a_tenant()).identities
            assert identities.get("ann") is None
            assert identities.by_external_id("e-1") is None
            assert [*identities.all()] == [*identities.owned("root")] == []
        assert rows(environment, "records") == rows(environment, "index") == []


def test_every_change_is_in_the_change_feed_and_a_deletion_too(tmp_path: Path) -> None:
    """What followers will read."""
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            part = txn.of(a_tenant())
            add(part, an_identity("ann"), 1)
            add(part, an_identity("bob"), 2)
            part.identities.change("ann", an_identity("ann"), 3)
            part.identities.remove("bob", 4)
            add(txn.of(a_tenant(2)), an_identity("eve"), 1)
        kind = int(Kind.IDENTITY)
        assert feed(environment) == [(1, kind, "ann"), (2, kind, "bob"), (3, kind, "ann"), (4, kind, "bob")]
        assert feed(environment, 2) == [(1, kind, "eve")]


def test_a_record_is_found_by_the_external_id_that_it_has_now(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        identities = txn.of(a_tenant()).identities
        add(txn.of(a_tenant()), an_identity("ann", external_id="e-1"), 1)
        assert identities.by_external_id("e-1") == an_identity("ann", external_id="e-1")
        assert identities.by_external_id("e-2") is None
        identities.change("ann", an_identity("ann"), 2, external_id="e-1")
        assert identities.by_external_id("e-1") is not None
        identities.change("ann", an_identity("ann"), 3, external_id="e-2")
        assert identities.by_external_id("e-1") is None
        assert identities.by_external_id("e-2") is not None
        identities.change("ann", an_identity("ann"), 4)
        assert identities.by_external_id("e-2") is None


def test_a_hit_of_the_external_id_index_is_compared_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index key holds a hash: two values that share it are not taken for each other."""
    monkeypatch.setattr(records, "short_hash", lambda _: b"all the same")
    with store_in(tmp_path) as environment, writing(environment) as txn:
        part = txn.of(a_tenant())
        add(part, an_identity("ann", external_id="e-1"), 1)
        assert part.identities.by_external_id("e-1") is not None
        assert part.identities.by_external_id("e-2") is None
        assert ids([*part.identities.owned("root")]) == ["ann"]
        assert ids([*part.identities.owned("somebody")]) == []


def test_a_change_of_what_does_not_exist_means_that_the_store_is_broken(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        part = txn.of(a_tenant())
        with pytest.raises(StoreUnusable, match="record `ann` does not exist"):
            part.identities.change("ann", an_identity("ann"), 1)
        with pytest.raises(StoreUnusable, match="record `ann` does not exist"):
            part.identities.remove("ann", 1)


def test_an_index_that_names_nothing_means_that_the_store_is_broken(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            add(txn.of(a_tenant()), an_identity("ann"), 1)
        raw = environment.begin_write()
        raw.delete(U32.pack(1) + bytes((Kind.IDENTITY,)) + b"ann", db=environment.tables["records"])
        raw.commit()
        with reading(environment) as txn, pytest.raises(StoreUnusable):
            list(txn.of(a_tenant()).identities.all())


def test_a_document_that_does_not_fit_means_that_the_store_is_broken(tmp_path: Path) -> None:
    """The record around it can be read; what is inside is no identity."""
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant()).identities.add("ann", cast("Identity", {"name": 7}), 1, owner=None)
        with reading(environment) as txn, pytest.raises(StoreUnusable, match="a stored document cannot be read"):
            txn.of(a_tenant()).identities.get("ann")


def test_a_place_is_where_a_value_was_made_whatever_became_of_it(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        part = txn.of(a_tenant())
        add(part, an_identity("ann"), 3)
        part.identities.change("ann", an_identity("ann"), 9)
        assert part.identities.place_of("ann") == 3
        with pytest.raises(StoreUnusable, match="record `bob` does not exist"):
            part.identities.place_of("bob")


@pytest.mark.parametrize("after", [2**64 - 1, 2**64, 2**127])
def test_nothing_comes_after_the_last_place_there_can_be(tmp_path: Path, after: int) -> None:
    """A cursor that somebody made up asks for a page, never for an error."""
    with store_in(tmp_path) as environment, writing(environment) as txn:
        add(txn.of(a_tenant()), an_identity("ann"), 1)
        assert list(txn.of(a_tenant()).identities.all(after=after)) == []
        assert list(txn.tenants.after(after)) == []


STEPS = st.lists(
    st.tuples(st.sampled_from(("add", "change", "remove")), st.integers(0, 5), st.sampled_from((None, "x", "y", "z"))),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_records_are_a_dictionary_in_order_of_insertion(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str | None]]
) -> None:
    """Against a dict: whatever is added, changed and removed, ids, lists, owners and external ids agree."""
    model: dict[str, tuple[Identity, str | None]] = {}
    with store_in(tmp_path_factory.mktemp("records")) as environment, writing(environment) as txn:
        identities = txn.of(a_tenant()).identities
        for revision, (step, number, external_id) in enumerate(steps, start=1):
            key = f"id{number}"
            identity = an_identity(key, f"owner{number % 2}", revision=revision)
            free = all(used != external_id for name, (_, used) in model.items() if name != key)
            external_id = external_id if free else None  # noqa: PLW2901 -- as the registry refuses one in use
            if step == "add" and key not in model:
                identities.add(key, identity, revision, owner=identity.parent_id, external_id=external_id)
                model[key] = (identity, external_id)
            elif step == "change" and key in model:
                identities.change(key, identity, revision, external_id=external_id)
                model[key] = (identity, external_id)
            elif step == "remove" and key in model:
                identities.remove(key, revision)
                del model[key]
        assert [each.value for each in identities.all()] == [identity for identity, _ in model.values()]
        for owner in ("owner0", "owner1"):
            own = [identity for identity, _ in model.values() if identity.parent_id == owner]
            assert [each.value for each in identities.owned(owner)] == own
        for external_id in ("x", "y", "z"):
            named = [identity for identity, used in model.values() if used == external_id]
            assert identities.by_external_id(external_id) == (named[0] if named else None)


# --- What the change feed tells of them -------------------------------------------------------------------------------


def test_the_feed_tells_of_a_removal_and_whose_the_record_was(tmp_path: Path) -> None:
    """Of one that belonged to nobody too, so that no change before it is taken for it."""
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            part = txn.of(a_tenant())
            add(part, an_identity("root", None), 1)
            add(part, an_identity("ann", parent_id="root"), 2)
            part.identities.remove("ann", 3)
            part.identities.remove("root", 4)
        with reading(environment) as txn:
            told = txn.of(a_tenant()).feed.told(0, 9)
            assert [(each.id, each.owner, each.is_removal) for each in told] == [
                ("root", None, False),
                ("ann", None, False),
                ("ann", "root", True),
                ("root", None, True),
            ]
            assert [each.kind for each in told] == ["identity"] * 4


def test_what_belongs_to_nobody_is_found_among_the_rest(tmp_path: Path) -> None:
    """In order of creation, each record with its place, from the one after a place."""
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            part = txn.of(a_tenant())
            add(part, an_identity("root", None), 1)
            add(part, an_identity("ann", parent_id="root"), 2)
            add(part, an_identity("lone", None), 3)
        with reading(environment) as txn:
            feed = txn.of(a_tenant()).feed
            found = [(place, change and change.id) for place, change in feed.of_nobody("identity")]
            assert found == [(1, "root"), (2, None), (3, "lone")]
            assert [place for place, _ in feed.of_nobody("identity", after=1)] == [2, 3]
            assert list(feed.of_nobody("card")) == []
            assert [(each.id, each.place, each.owner) for each in feed.all("identity", after=1)] == [
                ("ann", 2, "root"),
                ("lone", 3, None),
            ]


def test_changes_that_were_forgotten_are_not_told_and_nobody_takes_the_rest_for_all(tmp_path: Path) -> None:
    """Whoever asks since a revision below the floor is told that, in the feed and in a list of changes."""
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            for revision in range(1, 7):
                add(txn.of(a_tenant()), an_identity(f"i{revision}"), revision)
            add(txn.of(a_tenant(2)), an_identity("other"), 1)
            assert txn.of(a_tenant()).feed.forget(4, 3) == 3
            assert txn.of(a_tenant()).feed.floor() == 3
            assert txn.of(a_tenant()).feed.forget(4, 3) == 1
            assert txn.of(a_tenant()).feed.forget(4, 3) == 0
        with reading(environment) as txn:
            part = txn.of(a_tenant())
            assert part.feed.floor() == 4
            assert [each.revision for each in part.feed.told(0, 9)] == [5, 6]
            assert part.identities.changed(3, 9) is None
            assert part.identities.changed(4, 9) == ["i5", "i6"]
            assert txn.of(a_tenant(2)).feed.floor() == 0
            assert len(txn.of(a_tenant(2)).feed.told(0, 9)) == 1

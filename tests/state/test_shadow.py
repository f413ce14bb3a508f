"""Differences and tallies of tenants beside each other; and what the check of a store finds wrong in them."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.shadow import DIFFERENCES_MAX, Flips, Tally
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.state.codec import TENANT_U64, U64_MAX, encode
from sidecar.state.environment import Environment
from sidecar.state.shadow_check import check_shadow
from tests.core.test_shadow import DENIAL, PERMIT, difference
from tests.state.builders import a_tenant, reading, rows, store_in, writing

ONE, TWO, THREE = (a_tenant(number) for number in (1, 2, 3))
FILES = PolicyFiles(schemas=(), shared=(SourceFile("shadow/a.cedar", ""),), by_tenant={})
OTHER = msgspec.structs.replace(FILES, shared=())
FOUND = difference(PERMIT, DENIAL)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A store with nothing in it."""
    with store_in(tmp_path) as opened:
        yield opened


def test_each_tenant_has_its_own_places_and_its_own_tally(environment: Environment) -> None:
    """Also where its neighbours on both sides have differences, in one transaction or in several."""
    for _ in range(2):
        with writing(environment) as txn:
            for tenant in (TWO, ONE, THREE):
                txn.of(tenant).shadows.add(FOUND)
            txn.of(TWO).shadows.keep_tally(Tally(same=7, errors=1))
    with reading(environment) as txn:
        for tenant in (ONE, TWO, THREE):
            assert list(txn.of(tenant).shadows.all()) == [(1, FOUND), (2, FOUND)]
            assert list(txn.of(tenant).shadows.all(after=1)) == [(2, FOUND)]
            assert list(txn.of(tenant).shadows.all(after=U64_MAX)) == []
        assert txn.of(TWO).shadows.tally() == Tally(same=7, errors=1)
        assert txn.of(ONE).shadows.tally() == Tally()


def test_only_the_newest_are_kept(environment: Environment) -> None:
    with writing(environment) as txn:
        shadows = txn.of(ONE).shadows
        for _ in range(DIFFERENCES_MAX + 3):
            shadows.add(FOUND)
        assert [place for place, _ in shadows.all()] == list(range(4, DIFFERENCES_MAX + 4))


def test_other_files_drop_what_was_found_and_the_same_keep_it(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.shadow_files.keep(FILES, "passed")
        txn.of(ONE).shadows.add(FOUND)
        txn.of(ONE).shadows.keep_tally(Tally(allow_to_deny=Flips(1, {})))
    with writing(environment) as txn:
        txn.shadow_files.keep(FILES, "passed by others")
        assert txn.shadow_files.checks() == "passed by others"
    assert len(rows(environment, "shadow_differences")) == len(rows(environment, "shadow_tallies")) == 1
    with writing(environment) as txn:
        txn.shadow_files.keep(OTHER, "passed")
        assert txn.shadow_files.get() == OTHER
        assert txn.shadow_files.digest() == OTHER.digest()
    assert rows(environment, "shadow_differences") == rows(environment, "shadow_tallies") == []
    with writing(environment) as txn:
        txn.shadow_files.forget()
        assert (txn.shadow_files.get(), txn.shadow_files.digest(), txn.shadow_files.checks()) == (None, None, None)


def faults(environment: Environment) -> list[str]:
    """What the check finds in the first tenant."""
    with environment.read() as txn:
        return list(check_shadow(txn, environment.tables, 1))


@pytest.mark.parametrize("counted", [0, 1, 2])
def test_differences_that_are_not_as_many_as_were_counted_are_found(environment: Environment, counted: int) -> None:
    with writing(environment) as txn:
        txn.of(ONE).shadows.add(FOUND)
        txn.of(ONE).shadows.keep_tally(Tally(deny_to_allow=Flips(counted, {})))
    about = "the difference 1 is about record 1, which does not exist"
    wrong = [] if counted == 1 else [f"1 differences are kept, counted are {counted}"]
    assert faults(environment) == [about, *wrong]


def test_a_difference_that_is_none_and_a_place_that_is_left_out_are_found(environment: Environment) -> None:
    same = difference(PERMIT, PERMIT)
    with writing(environment) as txn:
        txn.of(ONE).shadows.keep_tally(Tally(deny_to_allow=Flips(1, {})))
    raw = environment.begin_write()
    raw.put(TENANT_U64.pack(1, 2), encode(same), db=environment.tables["shadow_differences"])
    raw.put(TENANT_U64.pack(1, same.seq), b"a record", db=environment.tables["audit"])
    raw.commit()
    assert faults(environment) == ["the difference 2 is none", "1 differences are kept, counted are 1"]

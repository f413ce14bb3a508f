"""Tenants and their revisions."""

from pathlib import Path

import msgspec
import pytest

from sidecar.core.directory import Mode, Tenant
from sidecar.service.store import Revisions
from sidecar.state.codec import U32
from sidecar.state.fsck import check
from sidecar.state.tenants import DEPLOYMENT, external_key
from tests.state.builders import a_tenant, reading, store_in, writing


def test_a_tenant_is_found_by_id_and_by_number(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.tenants.add(a_tenant())
        with reading(environment) as txn:
            assert txn.tenants.find("t_1") == txn.tenants.get(1) == a_tenant()
            assert txn.tenants.find("t_2") is None
            assert txn.tenants.get(2) is None


def test_an_id_that_no_tenant_can_have_is_unknown(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, reading(environment) as txn:
        assert txn.tenants.find("") is None
        assert txn.tenants.find("x" * 1000) is None


def called(number: int, external_id: str, mode: Mode) -> Tenant:
    """A tenant that its maker calls so."""
    return msgspec.structs.replace(a_tenant(number), external_id=external_id, mode=mode)


def test_a_live_and_a_test_tenant_are_found_by_the_external_id_that_they_share(tmp_path: Path) -> None:
    live, test, other = called(1, "acme", "live"), called(2, "acme", "test"), called(3, "other", "test")
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            for tenant in (live, test, other, a_tenant(4)):
                txn.tenants.add(tenant)
        with reading(environment) as txn:
            assert txn.tenants.by_external_id("acme") == (live, test)
            assert txn.tenants.by_external_id("other") == (other,)
            assert txn.tenants.by_external_id("nobody") == ()
        assert [fault for tenant in check(environment) for fault in tenant.faults if "external" in fault.message] == []


def test_they_are_given_in_order_of_creation_and_a_row_that_lies_finds_none(tmp_path: Path) -> None:
    test, live = called(1, "acme", "test"), called(2, "acme", "live")
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.tenants.add(test)
            txn.tenants.add(live)
        with environment.begin_write() as raw:
            raw.put(external_key("else", "live"), U32.pack(2), db=environment.tables["tenant_externals"])
            raw.put(external_key("gone", "live"), U32.pack(9), db=environment.tables["tenant_externals"])
        with reading(environment) as txn:
            assert txn.tenants.by_external_id("acme") == (test, live)
            assert txn.tenants.by_external_id("else") == txn.tenants.by_external_id("gone") == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({external_key("else", "live"): U32.pack(1)}, "an external id of no tenant finds tenant 1"),
        ({external_key("acme", "live"): U32.pack(7)}, "the external id of tenant `t_1` finds tenant 7"),
        ({external_key("acme", "live"): None}, "tenant `t_1` is not found by its external id"),
    ],
)
def test_the_check_names_what_the_index_gets_wrong(
    tmp_path: Path, rows: dict[bytes, bytes | None], message: str
) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.tenants.add(called(1, "acme", "live"))
        with environment.begin_write() as raw:
            for key, value in rows.items():
                if value is None:
                    raw.delete(key, db=environment.tables["tenant_externals"])
                else:
                    raw.put(key, value, db=environment.tables["tenant_externals"])
        assert message in [fault.message for tenant in check(environment) for fault in tenant.faults]


def test_numbers_count_up_from_one_and_the_deployment_has_zero(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        assert DEPLOYMENT == 0
        for number in (1, 2, 3):
            assert txn.tenants.next_number() == number
            txn.tenants.add(a_tenant(number))


def test_tenants_are_listed_in_order_of_creation_from_any_place(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        assert list(txn.tenants.after(0)) == []
        for number in range(1, 300):
            txn.tenants.add(a_tenant(number))
        assert [tenant.number for tenant in txn.tenants.after(0)] == [*range(1, 300)]
        assert [tenant.number for tenant in txn.tenants.after(297)] == [298, 299]


def test_every_change_raises_the_revision_and_changes_of_policies_are_told_apart(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        assert txn.tenants.revisions(7) == Revisions(0, 0)
        assert txn.tenants.advance(7) == 1
        assert txn.tenants.revisions(7) == Revisions(1, 0)
        assert txn.tenants.advance(7, policies=True) == 2
        assert txn.tenants.advance(7) == 3
        assert txn.tenants.revisions(7) == Revisions(3, 2)
        assert txn.tenants.revisions(8) == Revisions(0, 0)

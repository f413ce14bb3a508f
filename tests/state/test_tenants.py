"""Tenants and their revisions."""

from pathlib import Path

from sidecar.service.store import Revisions
from sidecar.state.tenants import DEPLOYMENT
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

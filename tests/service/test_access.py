"""Whose tenant a call is about, and whether its caller still exists."""

import hashlib

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import Forbidden, NotFound, Unauthenticated, ValidationFailed
from sidecar.service.access import require_alive, tenant_of
from sidecar.service.store import Transaction
from tests.service.builders import OPERATOR, SECOND, World


@pytest.fixture
def org(world: World) -> World:
    """Two tenants."""
    world.found()
    world.found("t_two")
    return world


def named(org: World, caller: Caller, tenant_id: str | None) -> str:
    """The id of a call's tenant."""
    with org.store.read() as txn:
        return tenant_of(txn, caller, tenant_id).tenant_id


def alive(org: World, caller: Caller) -> None:
    """Ask whether a caller still exists."""
    with org.store.read() as txn:
        require_alive(txn, caller, org.now_us)


def test_the_operator_names_the_tenant(org: World) -> None:
    assert named(org, OPERATOR, "t_two") == "t_two"
    with pytest.raises(ValidationFailed) as missing:
        named(org, OPERATOR, None)
    with pytest.raises(NotFound) as unknown:
        named(org, OPERATOR, "t_none")
    assert missing.value.field == unknown.value.field == "tenant_id"


def test_a_token_implies_its_tenant_and_names_no_other(org: World) -> None:
    """DESIGN 6: a foreign `tenant_id` is a 403, whether that tenant exists or not."""
    key = org.token(None)
    assert named(org, key, None) == named(org, key, "t_one") == "t_one"
    for foreign in ("t_two", "t_none"):
        with pytest.raises(Forbidden) as refused:
            named(org, key, foreign)
        assert refused.value.field == "tenant_id"


def test_the_operator_is_always_there(org: World) -> None:
    alive(org, OPERATOR)


@pytest.mark.parametrize("fate", ["lives", "deleted", "expired", "secret changed"])
def test_a_caller_is_asked_for_again_when_the_effect_is_written(org: World, fate: str) -> None:
    minted = org.minted(None, life_us=SECOND)
    caller = org.desk.authenticate(minted.text, org.now_us)
    if fate == "deleted":
        org.run(org.desk.revoke(OPERATOR, "t_one", minted.token.token_id, org.now_us))
    elif fate == "expired":
        org.now_us += SECOND
    elif fate == "secret changed":
        other = msgspec.structs.replace(minted.token, digest=hashlib.sha256(b"another").digest())

        def put(txn: Transaction) -> None:
            tenant = txn.tenants.find("t_one")
            assert tenant is not None
            txn.tokens.put(other)
            txn.of(tenant).tokens.change(other.token_id, other, txn.tenants.advance(tenant.number))

        org.write(put)
    if fate == "lives":
        alive(org, caller)
    else:
        with pytest.raises(Unauthenticated, match="the token is not valid any more"):
            alive(org, caller)

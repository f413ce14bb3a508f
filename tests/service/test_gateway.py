"""What proxies ask: by which identity, and when what a permit holds is settled."""

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.errors import Forbidden, NotFound
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.service.gateway import Gateway, Passage
from tests.service.builders import World, limit, payment, tool_call


@pytest.fixture
def org(world: World) -> World:
    """A tenant with an agent of 100 CAD."""
    world.tenant()
    world.identity("ann", external_id="ann@example.com")
    world.budget(limit(100))
    return world


def unnamed(request: AuthorizeRequest) -> AuthorizeRequest:
    """A request as a door makes it."""
    return msgspec.structs.replace(request, identity_id="")


def decide(org: World, caller: Caller, **passage: object) -> Decision:
    """Ask for a passage."""
    asked = msgspec.convert(passage, dict[str, object])
    wanted = Passage(**({"request": unnamed(tool_call("ann"))} | asked))  # type: ignore[arg-type]
    return org.run(Gateway(org.store, org.authorizer, org.settler).decide(caller, wanted, org.now_us))


def test_the_identity_is_that_of_the_token_unless_one_is_named(org: World) -> None:
    assert decide(org, org.token("ann")).identity_id == "ann"
    assert decide(org, org.token(None), identity="ann").identity_id == "ann"
    assert decide(org, org.token("ann"), identity="ann").identity_id == "ann"


def test_a_token_without_an_identity_names_none(org: World) -> None:
    with pytest.raises(Forbidden, match="names no identity"):
        decide(org, org.token(None))


def test_an_identity_may_be_named_by_its_external_id(org: World) -> None:
    assert decide(org, org.token(None), identity="ann@example.com", is_external=True).identity_id == "ann"
    with pytest.raises(NotFound):
        decide(org, org.token(None), identity="ann", is_external=True)


def test_an_identity_that_was_revoked_has_no_external_id_any_more(org: World) -> None:
    org.revoke("ann")
    with pytest.raises(NotFound):
        decide(org, org.token(None), identity="ann@example.com", is_external=True)


def test_an_identity_out_of_reach_does_not_exist(org: World) -> None:
    org.identity("bob", external_id="bob@example.com")
    for named in ({"identity": "bob"}, {"identity": "bob@example.com", "is_external": True}):
        with pytest.raises(NotFound):
            decide(org, org.token("ann"), **named)


@pytest.mark.parametrize(("at_once", "state"), [(True, "settled"), (False, "held")])
def test_what_a_permit_holds_is_settled_where_that_is_asked_for(org: World, at_once: bool, state: str) -> None:  # noqa: FBT001
    asked = unnamed(payment("10.00", "ann"))
    decision = decide(org, org.token("ann"), request=asked, settles_at_once=at_once)
    assert decision.allowed
    found = org.settler.find(org.token("ann"), None, str(decision.decision_id))
    assert found.reservation is not None
    assert found.reservation.state == state


def test_quantities_are_settled_alike(org: World) -> None:
    asked = msgspec.structs.replace(unnamed(tool_call("ann")), quantities={"tokens": 3})
    decision = decide(org, org.token("ann"), request=asked, settles_at_once=True)
    found = org.settler.find(org.token("ann"), None, str(decision.decision_id))
    assert found.reservation is not None
    assert found.reservation.state == "settled"


def test_nothing_is_settled_where_nothing_is_held(org: World) -> None:
    assert decide(org, org.token("ann"), settles_at_once=True).allowed
    denied = decide(org, org.token("ann"), request=unnamed(payment("200.00", "ann")), settles_at_once=True)
    assert not denied.allowed
    assert "settle" not in org.kinds()

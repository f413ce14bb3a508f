"""Rate limits of tenants and tokens: who is under which, who may set them, and what the log tells of it."""

from collections.abc import Sequence

import msgspec
import pytest

from sidecar.core.access import Caller, Token
from sidecar.core.admission import Admission, Bucket
from sidecar.core.errors import Forbidden, NotFound, Unauthenticated
from sidecar.core.rates import DoorLimit, RateLimit
from sidecar.service.rates import Limiter
from sidecar.service.tenants import TenantDraft, TenantPatch
from sidecar.service.tokens import TokenDraft, TokenPatch
from tests.service.builders import OPERATOR, SECOND, World

SLOW, FAST = RateLimit(5, 3_600), RateLimit(100, 1)
LET_IN = Admission(())


@pytest.fixture
def org(world: World) -> World:
    """A tenant with an agent."""
    world.tenant()
    world.identity("ann")
    return world


def buckets(limiter_default: RateLimit | None, caller: Caller) -> list[tuple[str, str, RateLimit]] | None:
    """Return what a request of ``caller`` is counted under, None when it is not counted at all."""
    seen: list[Bucket] = []

    def count(asked: Sequence[Bucket], now_us: int) -> Admission:
        assert now_us == 7
        seen.extend(asked)
        return LET_IN

    admission = Limiter(count, limiter_default).admit(caller, 7)
    assert (admission is None) == (seen == [])
    return None if admission is None else [(each.policy, each.key, each.limit) for each in seen]


def caller(org: World, tenant: RateLimit | None, token: RateLimit | None) -> tuple[Caller, Token]:
    """A caller as it is authenticated after both limits were set."""
    minted = org.minted("ann")
    org.run(org.tenancy.change(OPERATOR, "t_one", TenantPatch(rate_limit=tenant), org.now_us))
    org.run(org.desk.change(OPERATOR, "t_one", minted.token.token_id, TokenPatch(rate_limit=token), org.now_us))
    return org.desk.authenticate(minted.text, org.now_us), minted.token


def test_a_request_counts_under_the_limits_of_its_tenant_and_of_its_token(org: World) -> None:
    both, token = caller(org, SLOW, FAST)
    token_key = f"token/{token.token_id}/100/1"
    assert buckets(None, both) == [("tenant", "tenant/1/5/3600", SLOW), ("token", token_key, FAST)]
    assert buckets(None, caller(org, SLOW, None)[0]) == [("tenant", "tenant/1/5/3600", SLOW)]
    alone, token = caller(org, None, FAST)
    assert buckets(None, alone) == [("token", f"token/{token.token_id}/100/1", FAST)]


def test_a_door_with_a_limit_of_its_own_gives_each_token_one_bucket_more(org: World) -> None:
    limited, token = caller(org, None, None)
    seen: list[Bucket] = []

    def count(asked: Sequence[Bucket], _now_us: int) -> Admission:
        seen.extend(asked)
        return LET_IN

    limiter = Limiter(count, None)
    assert limiter.admit(limited, 7, DoorLimit("tally", SLOW)) is LET_IN
    assert [(each.policy, each.key) for each in seen] == [("tally", f"tally/{token.token_id}/5/3600")]
    assert limiter.admit(OPERATOR, 7, DoorLimit("tally", SLOW)) is None


def test_agents_that_use_a_tenants_limit_up_keep_nothing_from_its_followers(org: World) -> None:
    """All followers of a tenant have the same limit once more."""
    draft = TokenDraft("beside", "follower", None, may_release=False, expires_at_us=None, rate_limit=FAST)
    minted = org.run(org.desk.create(OPERATOR, "t_one", draft, org.now_us)).value
    follower = org.desk.authenticate(minted.text, org.now_us)
    token_key = f"token/{minted.token.token_id}/100/1"
    expected = [("tenant", "tenant/1/followers/5/3600", SLOW), ("token", token_key, FAST)]
    assert buckets(SLOW, follower) == expected
    assert buckets(SLOW, caller(org, None, None)[0]) == [("tenant", "tenant/1/5/3600", SLOW)]


def test_nothing_is_counted_where_no_limit_is_set(org: World) -> None:
    assert buckets(None, caller(org, None, None)[0]) is None


def test_a_tenants_own_limit_takes_the_place_of_the_servers(org: World) -> None:
    assert buckets(FAST, caller(org, None, None)[0]) == [("tenant", "tenant/1/100/1", FAST)]
    assert buckets(FAST, caller(org, SLOW, None)[0]) == [("tenant", "tenant/1/5/3600", SLOW)]


def test_the_operator_is_never_limited() -> None:
    assert buckets(FAST, OPERATOR) is None


def test_each_tenant_is_counted_for_itself(org: World) -> None:
    other = org.found("t_two").key
    assert buckets(FAST, org.desk.authenticate(other.text, org.now_us)) == [("tenant", "tenant/2/100/1", FAST)]


def test_what_cannot_be_counted_is_let_in(org: World) -> None:
    limiter = Limiter(lambda _buckets, _now_us: None, FAST)
    assert limiter.admit(caller(org, None, None)[0], org.now_us) is None


# --- Setting ----------------------------------------------------------------------------------------------------------


def test_a_tenant_is_made_with_a_limit_and_its_log_opens_with_it(world: World) -> None:
    draft = TenantDraft("One", "t_one", "UTC", "live", "root", "Root", "user", SLOW)
    founded = world.run(world.tenancy.create(OPERATOR, draft, world.now_us)).value
    assert founded.tenant.rate_limit == SLOW
    assert world.bodies()[0]["rate_limit"] == "5/hour"
    assert world.desk.authenticate(founded.key.text, world.now_us).tenant_rate_limit == SLOW


def test_a_token_is_made_with_a_limit_and_its_record_tells_it(org: World) -> None:
    draft = TokenDraft("slow", "agent", "ann", may_release=False, expires_at_us=None, rate_limit=SLOW)
    minted = org.run(org.desk.create(OPERATOR, "t_one", draft, org.now_us)).value
    assert minted.token.rate_limit == SLOW
    assert org.bodies()[-1]["rate_limit"] == "5/hour"
    assert "rate_limit" not in org.bodies()[-2], "a record of one without says nothing of it"


def test_a_changed_tenant_holds_for_the_next_request_and_is_recorded(org: World) -> None:
    key = org.minted(None)
    changed = org.run(org.tenancy.change(OPERATOR, "t_one", TenantPatch("New", SLOW), org.now_us))
    assert (changed.name, changed.rate_limit) == ("New", SLOW)
    assert org.tenancy.get(OPERATOR, "t_one") == changed
    assert org.desk.authenticate(key.text, org.now_us).tenant_rate_limit == SLOW
    body = org.bodies()[-1]
    assert (body["type"], body["rate_limit"], body["by"]) == ("tenant_updated", "5/hour", "operator")
    assert body["renamed"] is True
    renamed = org.run(org.tenancy.change(OPERATOR, "t_one", TenantPatch(name="Newer"), org.now_us))
    assert (renamed.name, renamed.rate_limit) == ("Newer", SLOW), "what is left out stays"
    freed = org.run(org.tenancy.change(OPERATOR, "t_one", TenantPatch(rate_limit=None), org.now_us))
    assert (freed.name, freed.rate_limit) == ("Newer", None)
    assert org.bodies()[-1]["rate_limit"] is None


def test_a_changed_token_holds_for_the_next_request_and_is_recorded(org: World) -> None:
    minted = org.minted("ann")
    token_id = minted.token.token_id
    tenant_id, changed = org.run(org.desk.change(OPERATOR, "t_one", token_id, TokenPatch("new", FAST), org.now_us))
    assert (tenant_id, changed.name, changed.rate_limit) == ("t_one", "new", FAST)
    assert org.desk.authenticate(minted.text, org.now_us).token == changed
    with org.look() as part:
        assert part.tokens.get(token_id) == changed
    body = org.bodies()[-1]
    assert (body["type"], body["token"], body["rate_limit"]) == ("token_updated", token_id, "100/second")
    _, renamed = org.run(org.desk.change(OPERATOR, "t_one", token_id, TokenPatch(name="newer"), org.now_us))
    assert (renamed.name, renamed.rate_limit) == ("newer", FAST)
    _, freed = org.run(org.desk.change(OPERATOR, "t_one", token_id, TokenPatch(rate_limit=None), org.now_us))
    assert (freed.name, freed.rate_limit) == ("newer", None)


def test_a_change_that_changes_nothing_leaves_no_record(org: World) -> None:
    token_id = org.minted("ann").token.token_id
    before = org.bodies()
    org.run(org.tenancy.change(OPERATOR, "t_one", TenantPatch("One", None), org.now_us))
    org.run(org.desk.change(OPERATOR, "t_one", token_id, TokenPatch(), org.now_us))
    assert org.bodies() == before


def test_only_the_operator_changes_a_tenant(org: World) -> None:
    """Or a tenant could lift its own limit."""
    for who in (org.token(None), org.token("ann")):
        with pytest.raises(Forbidden):
            org.run(org.tenancy.change(who, "t_one", TenantPatch(rate_limit=None), org.now_us))
    with pytest.raises(NotFound, match="unknown tenant `t_none`"):
        org.run(org.tenancy.change(OPERATOR, "t_none", TenantPatch("x"), org.now_us))


def test_only_living_administrators_change_tokens_and_those_of_their_tenant(org: World) -> None:
    org.tenant("t_two")
    token_id = org.minted("ann").token.token_id
    patch = TokenPatch(rate_limit=FAST)
    with pytest.raises(Forbidden):
        org.run(org.desk.change(org.token("ann"), None, token_id, patch, org.now_us))
    for tenant_id, unknown in (("t_two", token_id), ("t_one", "tok_none")):
        with pytest.raises(NotFound, match="unknown token"):
            org.run(org.desk.change(OPERATOR, tenant_id, unknown, patch, org.now_us))
    key = org.token(None, life_us=SECOND)
    with pytest.raises(Unauthenticated):
        org.run(org.desk.change(key, None, token_id, patch, org.now_us + SECOND))


def test_tenants_and_tokens_of_earlier_versions_have_no_limit(org: World) -> None:
    """Their documents are read as they were written."""
    minted, tenant = org.minted("ann"), org.tenancy.get(OPERATOR, "t_one")
    for value in (minted.token, tenant):
        document = msgspec.to_builtins(value, builtin_types=(bytes,))
        del document["rate_limit"]
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(document), type=type(value)) == value

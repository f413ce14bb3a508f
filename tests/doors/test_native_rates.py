"""Rate limits over HTTP: who is held back, with which headers, for how long, and by whom they are set."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.doors.door import Door, House, build, check_refusal, named
from tests.process.server import OPERATOR, Answer, Document

SECOND = 1_000_000


@pytest.fixture
def mill(door: Door) -> Iterator[House]:
    """A tenant whose limits a test may set; the clock goes back afterwards."""
    before = door.clock.now_us
    yield build(door, "Mill Co")
    door.clock.now_us = before


def limit_tenant(house: House, limit: str | None) -> Document:
    """Set the tenant's limit, as the operator."""
    return house.door.ok("PATCH", f"/v1/tenants/{house.tenant_id}", {"rate_limit": limit})


def limit_agent(house: House, limit: str | None) -> Document:
    """Set the limit of the agent's token, with the tenant's key."""
    body = {"rate_limit": limit, "tenant_id": house.tenant_id}
    return house.door.ok("PATCH", f"/v1/tokens/{house.agent_token_id}", body)


def ask(house: House, token: str | None = None) -> Answer:
    """Make a harmless request."""
    return house.door.call("GET", f"/v1/identities/{house.agent}", token=token or house.agent_token)


def shown(answer: Answer) -> tuple[str | None, str | None, str | None]:
    """Return the headers that tell of limits."""
    return tuple(answer.headers.get(name) for name in ("ratelimit-policy", "ratelimit", "retry-after"))  # type: ignore[return-value]  # three names


def test_no_header_tells_of_limits_where_none_is_set(mill: House) -> None:
    assert shown(ask(mill)) == (None, None, None)


def test_a_limited_caller_is_told_how_it_stands_and_then_held_back(mill: House) -> None:
    limit_tenant(mill, "3/minute")
    assert [shown(ask(mill)) for _ in range(3)] == [
        ('"tenant";q=3;w=60', f'"tenant";r={left};t={seconds}', None) for left, seconds in ((2, 20), (1, 40), (0, 20))
    ]
    refused = ask(mill)
    sentence = check_refusal(refused, 429)
    assert sentence == "over the rate limit `3/minute` of the tenant, retry in 20 s"
    assert shown(refused) == ('"tenant";q=3;w=60', '"tenant";r=0;t=20', "20")


def test_a_caller_that_waits_as_long_as_it_was_told_is_let_in(mill: House) -> None:
    limit_agent(mill, "7/hour")
    while (refused := ask(mill)).status != 429:
        pass
    wait_seconds = int(refused.headers["retry-after"])
    mill.door.clock.now_us += (wait_seconds - 1) * SECOND
    assert int(ask(mill).headers["retry-after"]) == 1
    mill.door.clock.now_us += SECOND
    assert [ask(mill).status for _ in range(2)] == [200, 429]


def test_a_tenants_limit_is_for_all_its_tokens_together(mill: House, neighbour: House) -> None:
    limit_tenant(mill, "4/hour")
    assert [ask(mill, token).status for token in (mill.key, mill.agent_token) * 3] == [200] * 4 + [429] * 2
    assert ask(neighbour).status == 200
    assert mill.door.call("GET", f"/v1/identities/{mill.agent}?tenant_id={mill.tenant_id}").status == 200, "operator"


def test_a_tokens_limit_is_its_own_and_what_it_refuses_is_not_counted_for_the_tenant(mill: House) -> None:
    limit_tenant(mill, "10/hour")
    limit_agent(mill, "2/hour")
    answers = [ask(mill) for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429, 429]
    assert shown(answers[4]) == (
        '"tenant";q=10;w=3600, "token";q=2;w=3600',
        '"tenant";r=8;t=720, "token";r=0;t=1800',
        "1800",
    )
    assert check_refusal(answers[4], 429).startswith("over the rate limit `2/hour` of the token,")
    assert ask(mill, mill.key).headers["ratelimit"] == '"tenant";r=7;t=1080'


def test_what_the_tenants_limit_refuses_is_not_counted_for_the_token(mill: House) -> None:
    limit_tenant(mill, "1/hour")
    limit_agent(mill, "10/hour")
    answers = [ask(mill) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 429, 429]
    limit_tenant(mill, None)
    assert ask(mill).headers["ratelimit"] == '"token";r=8;t=720'


def test_errors_of_a_limited_caller_count_and_carry_the_headers(mill: House) -> None:
    limit_tenant(mill, "10/hour")
    bad = mill.call("POST", "/v1/authorize", b"{")
    check_refusal(bad, 400)
    assert shown(bad) == ('"tenant";q=10;w=3600', '"tenant";r=9;t=360', None)
    missing = mill.call("GET", "/v1/decisions/dec_none")
    check_refusal(missing, 404)
    assert missing.headers["ratelimit"] == '"tenant";r=8;t=720'
    gone = mill.call("DELETE", f"/v1/budgets/{mill.budget}")
    assert (gone.status, gone.headers["ratelimit"]) == (204, '"tenant";r=7;t=1080')


def test_whoever_has_no_token_is_told_nothing_and_counts_for_nobody(mill: House) -> None:
    limit_tenant(mill, "10/hour")
    refused = mill.door.call("GET", "/v1/budgets", token="sk_live_AAAAAAAAAA_x_y")
    assert (refused.status, shown(refused)) == (401, (None, None, None))
    assert mill.call("PUT", "/v1/budgets").status == 405
    assert ask(mill).headers["ratelimit"] == '"tenant";r=9;t=360'


@pytest.mark.parametrize("path", ["/v1/health", "/livez", "/readyz"])
def test_health_is_never_limited(mill: House, path: str) -> None:
    limit_tenant(mill, "1/day")
    assert [ask(mill).status for _ in range(2)] == [200, 429]
    answers = [mill.door.call("GET", path, token=mill.agent_token) for _ in range(3)]
    assert {(answer.status, shown(answer)) for answer in answers} == {(200, (None, None, None))}


def test_a_request_that_is_held_back_has_no_effect_and_no_record(mill: House) -> None:
    limit_agent(mill, "1/hour")
    decided = [mill.call("POST", "/v1/authorize", mill.request(), token=mill.agent_token) for _ in range(2)]
    assert [answer.status for answer in decided] == [200, 429]
    before = mill.state()
    for body in (mill.request(), b"{", None):
        check_refusal(mill.call("POST", "/v1/authorize", body, token=mill.agent_token, key="k"), 429)
    assert mill.state() == before


# --- Setting ----------------------------------------------------------------------------------------------------------


def test_limits_are_shown_with_what_has_them(mill: House) -> None:
    tenant = mill.door.ok("GET", f"/v1/tenants/{mill.tenant_id}")
    assert tenant["rate_limit"] is None
    assert limit_tenant(mill, "100/second") == tenant | {"rate_limit": "100/second"}
    assert mill.ok("GET", f"/v1/tenants/{mill.tenant_id}")["rate_limit"] == "100/second"
    assert limit_agent(mill, "6000/minute")["rate_limit"] == "6000/minute"
    listed = mill.ok("GET", f"/v1/tokens?identity_id={mill.agent}")["data"]
    assert [(token["name"], token["rate_limit"]) for token in listed] == [("agent", "6000/minute")]
    assert mill.ok("PATCH", f"/v1/tokens/{mill.agent_token_id}", {"name": "renamed"})["rate_limit"] == "6000/minute"
    renamed = mill.door.ok("PATCH", f"/v1/tenants/{mill.tenant_id}", {"name": "Miller"})
    assert (renamed["name"], renamed["rate_limit"]) == ("Miller", "100/second")
    assert limit_tenant(mill, None)["rate_limit"] is None
    kinds = [record["type"] for record in mill.ok("GET", "/v1/audit?limit=200")["data"]]
    assert kinds[-5:] == ["tenant_updated", "token_updated", "token_updated", "tenant_updated", "tenant_updated"]


def test_a_changed_limit_holds_for_the_next_request(mill: House) -> None:
    """Counted anew, whichever way it was changed; and one that was set before goes on where it stood."""
    limit_tenant(mill, "2/day")
    assert [ask(mill).status for _ in range(3)] == [200, 200, 429]
    limit_tenant(mill, "1/hour")
    assert [ask(mill).status for _ in range(2)] == [200, 429]
    limit_tenant(mill, "1000/second")
    assert ask(mill).headers["ratelimit"] == '"tenant";r=999;t=1'
    limit_tenant(mill, "2/day")
    assert ask(mill).status == 429


def test_tenants_and_tokens_are_made_with_limits(door: Door) -> None:
    made = door.ok("POST", "/v1/tenants", {"name": "Born Limited", "rate_limit": "5/hour"})
    assert made["rate_limit"] == "5/hour"
    body = {"name": "t", "identity_id": made["root_identity_id"], "rate_limit": "1/day"}
    token = door.ok("POST", "/v1/tokens", body, token=made["api_key"])
    assert token["rate_limit"] == "1/day"
    root = f"/v1/identities/{made['root_identity_id']}"
    assert [door.call("GET", root, token=token["token"]).status for _ in range(2)] == [200, 429]
    assert [door.call("GET", root, token=made["api_key"]).status for _ in range(4)] == [200] * 3 + [429]


BAD: dict[str, tuple[object, ...]] = {
    "a number": ({"rate_limit": 5}, "rate_limit"),
    "no unit": ({"rate_limit": "5"}, "rate_limit"),
    "an unknown unit": ({"rate_limit": "5/week"}, "rate_limit"),
    "none at all": ({"rate_limit": "0/second"}, "rate_limit"),
    "too many": ({"rate_limit": "1000001/second"}, "rate_limit"),
    "an empty name": ({"name": ""}, "name"),
    "an unknown field": ({"mode": "test"}, "mode"),
}


@pytest.mark.parametrize(("body", "field"), named(BAD))
def test_what_is_no_limit_is_refused_with_its_place(house: House, body: Document, field: str) -> None:
    before = house.state()
    check_refusal(house.door.call("PATCH", f"/v1/tenants/{house.tenant_id}", body), 400, field)
    check_refusal(house.call("PATCH", f"/v1/tokens/{house.agent_token_id}", body), 400, field)
    if field == "rate_limit":
        check_refusal(house.door.call("POST", "/v1/tenants", {"name": "x"} | body), 400, field)
        check_refusal(house.call("POST", "/v1/tokens", {"name": "x"} | body), 400, field)
    assert house.state() == before


def test_no_token_of_a_tenant_changes_the_tenants_limit(house: House, neighbour: House) -> None:
    before = house.state()
    for token in (house.key, house.agent_token, neighbour.key):
        check_refusal(house.call("PATCH", f"/v1/tenants/{house.tenant_id}", {"rate_limit": None}, token=token), 403)
    check_refusal(house.door.call("PATCH", "/v1/tenants/t_nobody", {"name": "x"}), 404)
    assert house.state() == before


# --- The server's -----------------------------------------------------------------------------------------------------


def test_the_servers_limit_is_that_of_each_tenant_without_one(tmp_path: Path) -> None:
    with Door(tmp_path, rate_limit="20/hour") as door:
        first, second = build(door, "First Co"), build(door, "Second Co")
        assert ask(first).headers["ratelimit-policy"] == '"tenant";q=20;w=3600'
        limit_tenant(second, "30/hour")
        assert ask(second).headers["ratelimit-policy"] == '"tenant";q=30;w=3600'
        assert {door.call("GET", "/v1/tenants", token=OPERATOR).status for _ in range(40)} == {200}


def test_counts_that_cannot_be_kept_hold_nobody_back(tmp_path: Path) -> None:
    """The limit is not applied, the log says so, and budgets hold as ever."""
    (tmp_path / "data" / "rates").mkdir(parents=True)
    with capture_logs() as told, Door(tmp_path) as door:
        house = build(door)
        limit_tenant(house, "1/day")
        answers = [house.call("POST", "/v1/authorize", house.request(200), token=house.agent_token) for _ in range(4)]
        assert [(answer.status, shown(answer)) for answer in answers] == [(200, (None, None, None))] * 4
        assert [answer.document["allowed"] for answer in answers] == [True, True, False, False]
    assert [line["event"] for line in told if line["log_level"] == "warning"] == ["rate_limits_not_applied"]

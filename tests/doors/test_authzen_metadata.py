"""AuthZEN's metadata: every address that they tell can be asked."""

from pathlib import Path

import pytest

from sidecar.doors.authzen.metadata import PATH, MetadataCalls
from tests.doors.authzen import question, refusal
from tests.doors.door import Door, House

ENDPOINTS = {
    "policy_decision_point": "",
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_resource_endpoint": "/access/v1/search/resource",
    "search_action_endpoint": "/access/v1/search/action",
}


def test_the_address_is_the_one_that_was_asked(door: Door) -> None:
    answer = door.call("GET", PATH, token=None)
    assert answer.document == {name: f"http://sidecar.test{path}" for name, path in ENDPOINTS.items()}
    assert answer.headers["content-type"] == "application/json"


def test_a_tenant_has_an_address_of_its_own_which_answers(door: Door, house: House) -> None:
    found = door.call("GET", f"{PATH}/{house.tenant_id}", token=None).document
    base = f"http://sidecar.test/{house.tenant_id}"
    assert found == {name: f"{base}{path}" for name, path in ENDPOINTS.items()}
    for name in ("access_evaluation_endpoint", "access_evaluations_endpoint"):
        assert door.call("POST", found[name], question(house)).document["decision"]


def test_they_do_not_tell_whether_a_tenant_exists(door: Door) -> None:
    assert door.call("GET", f"{PATH}/nobody", token=None).status == 200
    refusal(door.call("GET", f"{PATH}/no%20body", token=None), 404)
    refusal(door.call("GET", f"{PATH}/a/b", token=None), 404)


@pytest.mark.parametrize("host", ["pdp.example", "pdp.example:8443", "127.0.0.1:8181", "[::1]:8181"])
def test_a_host_may_have_a_port(door: Door, host: str) -> None:
    found = door.call("GET", PATH, token=None, headers=[("Host", host)]).document
    assert found["policy_decision_point"] == f"http://{host}"


@pytest.mark.parametrize(
    "host", ["", "a b", "x/y", "evil.example#", "u@evil.example", "x:99999999", 'a"b', "é", "[::1", "-x", "a\\b"]
)
def test_nothing_but_a_host_gets_into_the_answer(door: Door, host: str) -> None:
    refusal(door.call("GET", PATH, token=None, headers=[("Host", host.encode("utf-8"))]), 400)


def test_two_hosts_are_none(door: Door) -> None:
    refusal(door.call("GET", PATH, token=None, headers=[("Host", "a.example"), ("Host", "b.example")]), 400)


def test_what_a_proxy_says_is_not_believed(door: Door) -> None:
    headers = [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"), ("Forwarded", "host=evil.example")]
    found = door.call("GET", PATH, token=None, headers=headers).document
    assert found["policy_decision_point"] == "http://sidecar.test"


def test_a_public_address_is_told_whatever_was_asked(tmp_path: Path) -> None:
    with Door(tmp_path, public_url="https://pdp.example.com/authz") as door:
        found = door.call("GET", f"{PATH}/acme", token=None, headers=[("Host", "a b")]).document
    assert found["policy_decision_point"] == "https://pdp.example.com/authz/acme"
    assert found["access_evaluation_endpoint"] == "https://pdp.example.com/authz/acme/access/v1/evaluation"


def test_only_get_reads_them(door: Door) -> None:
    answer = door.call("POST", PATH, {})
    refusal(answer, 405)
    assert answer.headers["allow"] == "GET"
    assert len(MetadataCalls(None).calls()) == 1

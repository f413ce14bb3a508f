"""Many requests at once, in one worker and in several: limits are exact, and what was acknowledged holds everywhere."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from tests.process.server import Answer, Client, Document, Server, check_at_rest, found_acme, serving

CALLERS = 200
ADMITTED = 37
CONNECTIONS_MAX = 256
WAIT_SECONDS_MAX = 2.0


def at_once(clients: list[Client], call: Callable[[Client], Answer]) -> list[Answer]:
    """Let every client make a call at the same moment."""
    barrier = Barrier(len(clients))

    def run(client: Client) -> Answer:
        barrier.wait()
        return call(client)

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(run, clients))


@contextmanager
def connected(server: Server, token: str, count: int) -> Iterator[list[Client]]:
    """Give ``count`` open connections."""
    clients = [server.client(token) for _ in range(count)]
    try:
        for client in clients:
            client.call("GET", "/livez")
        yield clients
    finally:
        for client in clients:
            client.close()


@contextmanager
def everywhere(server: Server, token: str) -> Iterator[list[Client]]:
    """Give connections of which every worker serves at least two."""
    idle = {worker: sockets_of(worker) for worker in server.workers()}
    clients: list[Client] = []
    try:
        while any(sockets_of(worker) < idle[worker] + 2 for worker in idle):
            assert len(clients) < CONNECTIONS_MAX, "a worker accepts no connections"
            clients += [server.client(token) for _ in range(8)]
            at_once(clients[-8:], lambda client: client.call("GET", "/livez"))
        yield clients
    finally:
        for client in clients:
            client.close()


def sockets_of(pid: int) -> int:
    """Return how many sockets a process has open."""
    return sum(link.readlink().name.startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_limit_admits_exactly_what_fits_whoever_asks_at_once(tmp_path: Path, workers: int) -> None:
    """Of 200 concurrent requests against a limit for 37 of them, 37 are permitted."""
    with serving(tmp_path, "--workers", str(workers)) as (server, operator):
        acme = found_acme(operator, [{"limit": 10 * ADMITTED + 5}])
        with connected(server, acme.key, CALLERS) as clients:
            answers = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request(10)))
        assert Counter(answer.status for answer in answers) == {200: CALLERS}
        decisions = [answer.document for answer in answers]
        assert sum(decision["allowed"] for decision in decisions) == ADMITTED
        denied = [decision for decision in decisions if not decision["allowed"]]
        assert {reason["code"] for decision in denied for reason in decision["reasons"]} == {"budget_exceeded"}
        usage = operator.ok("GET", "/v1/budgets", token=acme.key)["data"][0]["usage"]
        assert (usage["settled"], usage["reserved"], usage["remaining"]) == (0, 370, 5)
        assert len({decision["audit"]["seq"] for decision in decisions}) == CALLERS
        assert server.stop() == 0
    check_at_rest(server.data_dir)


def test_one_key_is_one_decision_however_often_it_is_sent_at_once(tmp_path: Path) -> None:
    """Requests with the same idempotency key that arrive together at two workers are decided and reserved once."""
    with serving(tmp_path, "--workers", "2") as (server, operator):
        acme = found_acme(operator, [{"limit": 100}])
        with everywhere(server, acme.key) as clients:
            answers = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request(10), key="k"))
        assert len({answer.document["decision_id"] for answer in answers}) == 1
        assert sum(not answer.is_replayed for answer in answers) == 1
        assert operator.ok("GET", "/v1/budgets", token=acme.key)["data"][0]["usage"]["reserved"] == 10


def test_a_revocation_holds_for_the_next_decision_of_every_worker(tmp_path: Path) -> None:
    """Once one worker acknowledged it, no worker permits anything below the revoked identity."""
    with serving(tmp_path, "--workers", "3") as (server, operator):
        acme = found_acme(operator)
        with everywhere(server, acme.key) as clients:
            before = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request()))
            assert all(answer.document["allowed"] for answer in before)
            operator.ok("POST", f"/v1/identities/{acme.team}/revoke", token=acme.key)
            after = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request()))
        assert {answer.document["reasons"][0]["code"] for answer in after} == {"identity_revoked"}
        assert {answer.document["allowed"] for answer in after} == {False}


def test_the_kill_switch_holds_for_the_next_decision_of_every_worker(tmp_path: Path) -> None:
    """Once one worker acknowledged it, no worker permits anything with a card below; a card made later pays."""
    with serving(tmp_path, "--workers", "2") as (server, operator):
        acme = found_acme(operator)
        card = {"identity_id": acme.agent, "currency": "CAD"}
        old = operator.ok("POST", "/v1/treasury/cards", card, token=acme.key)["card_id"]
        with everywhere(server, acme.key) as clients:

            def codes(card_id: str) -> set[str]:
                body = acme.request() | {"card_id": card_id}
                answers = at_once(clients, lambda client: client.call("POST", "/v1/authorize", body))
                return {answer.document["reasons"][0]["code"] for answer in answers}

            assert codes(old) == {"permitted"}
            killed = operator.ok("POST", "/v1/treasury/kill-switch", {"identity_id": acme.team}, token=acme.key)
            assert killed == {"frozen": 1, "card_ids": [old]}
            assert codes(old) == {"card_frozen"}
            assert codes(operator.ok("POST", "/v1/treasury/cards", card, token=acme.key)["card_id"]) == {"permitted"}


def test_a_changed_policy_holds_for_the_next_decision_of_every_worker(tmp_path: Path) -> None:
    """A policy that was deleted at one worker permits nothing at any other."""
    with serving(tmp_path, "--workers", "2") as (server, operator):
        acme = found_acme(operator)
        policy = operator.ok("GET", "/v1/policies", token=acme.key)["data"][0]["policy_id"]
        with everywhere(server, acme.key) as clients:
            before = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request()))
            assert all(answer.document["allowed"] for answer in before)
            operator.ok("DELETE", f"/v1/policies/{policy}", token=acme.key)
            after = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request()))
        assert {answer.document["reasons"][0]["code"] for answer in after} == {"not_permitted"}


def test_a_deleted_token_opens_nothing_at_any_worker(tmp_path: Path) -> None:
    """Once one worker acknowledged the deletion, every worker refuses the token."""
    with serving(tmp_path, "--workers", "2") as (server, operator):
        acme = found_acme(operator)
        made = operator.ok("POST", "/v1/tokens", {"name": "a", "identity_id": acme.agent}, token=acme.key)
        with everywhere(server, made["token"]) as clients:
            before = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request()))
            assert {answer.status for answer in before} == {200}
            operator.ok("DELETE", f"/v1/tokens/{made['token_id']}", token=acme.key)
            after = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request()))
        assert {(answer.status, answer.document["type"]) for answer in after} == {(401, "unauthenticated")}


def test_a_rotated_token_opens_nothing_at_any_worker(tmp_path: Path) -> None:
    """Nor does a secret in its grace time after the token was deleted."""
    with serving(tmp_path, "--workers", "2") as (server, operator):
        acme = found_acme(operator)
        made = operator.ok("POST", "/v1/tokens", {"name": "a", "identity_id": acme.agent}, token=acme.key)
        path = f"/v1/tokens/{made['token_id']}"

        def statuses(clients: list[Client]) -> set[int]:
            answers = at_once(clients, lambda client: client.call("POST", "/v1/authorize", acme.request()))
            return {answer.status for answer in answers}

        with everywhere(server, made["token"]) as first:
            turned = operator.ok("POST", f"{path}/rotate", {"grace_seconds": 600}, token=acme.key)
            with everywhere(server, turned["token"]) as second:
                assert statuses(first) == statuses(second) == {200}
                operator.ok("POST", f"{path}/rotate", {"grace_seconds": 600}, token=acme.key)
                assert (statuses(first), statuses(second)) == ({401}, {200})
                operator.ok("DELETE", path, token=acme.key)
                assert (statuses(first), statuses(second)) == ({401}, {401})


def test_one_key_makes_one_thing_however_often_it_is_sent_at_once(tmp_path: Path) -> None:
    """Whatever is made, at two workers: one is made, one answer is new, and that one alone holds the secret."""
    with serving(tmp_path, "--workers", "2") as (server, operator):
        acme = found_acme(operator)
        cedar = '@id("once") permit (principal, action == Action::"tool.call", resource);'
        things: dict[str, tuple[str, Document]] = {
            "identity_id": ("/v1/identities", {"parent_id": acme.team, "type": "agent", "name": "x"}),
            "policy_id": ("/v1/policies", {"name": "x", "cedar": cedar}),
            "token_id": ("/v1/tokens", {"name": "x", "identity_id": acme.agent}),
        }
        with everywhere(server, acme.key) as clients:
            for name, (path, body) in things.items():
                call = partial(Client.call, method="POST", path=path, body=body, key="k")
                answers = at_once(clients[:8], call)
                assert {answer.status for answer in answers} == {201}, name
                assert sum(not answer.is_replayed for answer in answers) == 1
                assert len({answer.document[name] for answer in answers}) == 1
                shown = [answer for answer in answers if answer.document.get("token")]
                assert len(shown) == (name == "token_id")


def test_workers_hand_the_writer_lock_to_each_other(tmp_path: Path) -> None:
    """Under constant writing at two workers no request waits 2 s, after which it would be answered with a 503."""
    with serving(tmp_path, "--workers", "2") as (server, operator):
        acme = found_acme(operator, [{"limit": 1_000_000}])
        end = time.monotonic() + 3.0

        def write(client: Client) -> tuple[set[int], float]:
            statuses, longest = set(), 0.0
            while (began := time.monotonic()) < end:
                statuses.add(client.call("POST", "/v1/authorize", acme.request(1)).status)
                longest = max(longest, time.monotonic() - began)
            return statuses, longest

        with everywhere(server, acme.key) as clients, ThreadPoolExecutor(len(clients)) as pool:
            found = list(pool.map(write, clients))
        assert set().union(*(statuses for statuses, _ in found)) == {200}
        assert max(longest for _, longest in found) < WAIT_SECONDS_MAX


def test_a_rate_limit_is_for_all_workers_together(tmp_path: Path) -> None:
    """Of requests that arrive at every worker at once, as many are let in as it says; a changed one holds at all."""
    with serving(tmp_path, "--workers", "2", "--rate-limit", "1000000/second") as (server, operator):
        acme = found_acme(operator)
        tenant = f"/v1/tenants/{acme.tenant_id}"
        path = f"/v1/identities/{acme.agent}"
        with everywhere(server, acme.key) as clients:
            operator.ok("PATCH", tenant, {"rate_limit": f"{ADMITTED}/day"})
            answers = [answer for _ in range(8) for answer in at_once(clients, lambda client: client.call("GET", path))]
            statuses = Counter(answer.status for answer in answers)
            assert statuses == {200: ADMITTED, 429: len(answers) - ADMITTED}
            assert {answer.headers["ratelimit"].split(";")[0] for answer in answers} == {'"tenant"'}
            operator.ok("PATCH", tenant, {"rate_limit": None})
            after = at_once(clients, lambda client: client.call("GET", path))
        assert {answer.status for answer in after} == {200}
        assert server.stop() == 0
    check_at_rest(server.data_dir)

"""Events of a real server: signed, sent, and not lost when it is killed."""

import json
import random
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest
import standardwebhooks
from click.testing import CliRunner

from sidecar.cli.main import sidecar
from sidecar.core.event_formats import LedgerType
from tests.process.receiver import Received, Receiver, Reply
from tests.process.server import Acme, Client, Document, Lost, Refused, Server, found_acme, poll, serving

SECONDS = 20.0
CALLERS = 3
DENIALS = 25
"""Per caller and life."""

MOMENT_SECONDS_MAX = 0.3

LOCAL = "--webhooks-allow-private"


def hooked(client: Client, acme: Acme, url: str, *events: str) -> Document:
    """Make an endpoint."""
    return client.ok("POST", "/v1/webhooks", {"url": url, "events": events or ("*",)}, token=acme.key)


def test_an_event_arrives_signed_and_is_logged(tmp_path: Path) -> None:
    """From the call that caused it to the receiver, with a secret that was rotated on the way."""
    with Receiver() as receiver, serving(tmp_path, LOCAL) as (_, client):
        acme = found_acme(client)
        webhook = hooked(client, acme, receiver.url, "identity.suspended")
        client.ok("PATCH", f"/v1/identities/{acme.agent}", {"status": "suspended"}, token=acme.key)
        (first,) = receiver.wait_for(1)
        event = first.verified(webhook["secret"])
        assert (event["type"], event["data"]["identity_id"]) == ("identity.suspended", acme.agent)
        path = f"/v1/webhooks/{webhook['webhook_id']}"
        rotated = client.ok("POST", f"{path}/rotate", {"grace_seconds": 600}, token=acme.key)
        tested = client.call("POST", f"{path}/test", token=acme.key).document
        second = receiver.wait_for(2)[1]
        assert second.event_id == tested["event_id"]
        for secret in (webhook["secret"], rotated["secret"]):
            assert second.verified(secret)["type"] == "webhook.test"
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            second.verified("whsec_" + "A" * 44)

        def log() -> list[Document]:
            data: list[Document] = client.ok("GET", f"{path}/deliveries", token=acme.key)["data"]
            return data

        poll(lambda: len(log()) == 2, SECONDS)
        assert [(entry["event_id"], entry["state"], entry["status_code"]) for entry in log()] == [
            (first.event_id, "delivered", 204),
            (second.event_id, "delivered", 204),
        ]


def test_a_receiver_that_was_written_for_ledger_is_told_all_it_knows_of(tmp_path: Path) -> None:
    """Each of the seven types arrives with the vendor's signature, during a rotation with two; a team's are not."""
    with Receiver() as receiver, serving(tmp_path, LOCAL) as (_, client):
        acme = found_acme(client)
        body = {"url": receiver.url, "events": ["*"], "format": "ledger"}
        webhook = client.ok("POST", "/v1/webhooks", body, token=acme.key)
        path = f"/v1/webhooks/{webhook['webhook_id']}"
        rotated = client.ok("POST", f"{path}/rotate", {"grace_seconds": 600}, token=acme.key)
        made = {"parent_id": acme.team, "type": "agent", "name": "Shopping Agent", "external_id": "my-shopping-agent"}
        agent = client.ok("POST", "/v1/identities", made, token=acme.key)["identity_id"]
        drafts = [{"name": "ci", "kind": "agent", "identity_id": owner} for owner in (acme.team, agent)]
        tokens = [client.ok("POST", "/v1/tokens", draft, token=acme.key) for draft in drafts]
        for token in tokens:
            assert client.call("DELETE", f"/v1/tokens/{token['token_id']}", token=acme.key).status == 204
        limit = {"identity_id": agent, "name": "spending", "dimension": "amount", "period": "monthly"}
        client.ok("POST", "/v1/budgets", limit | {"limit": 100, "currency": "CAD"}, token=acme.key)
        for amount in (90, 20):
            client.ok("POST", "/v1/authorize", acme.request(amount, identity_id=agent), token=acme.key)
        client.ok("PATCH", f"/v1/identities/{agent}", {"status": "suspended"}, token=acme.key)
        client.ok("POST", f"/v1/identities/{agent}/revoke", {}, token=acme.key)
        told: dict[str, Document] = {}
        for received in sorted(receiver.wait_for(8), key=lambda received: received.event_id):
            events = [received.stamped("proxy-signature", secret) for secret in (webhook["secret"], rotated["secret"])]
            assert events[0] == events[1]
            assert events[0]["id"] == received.event_id
            told[events[0]["type"]] = events[0]["data"]
        assert len(receiver.received) == 8, "an update of the limit and one of the status"
        assert set(told) == set(get_args(LedgerType))
        assert {data.get("agentId", data["id"]) for data in told.values()} == {agent}
        assert told["agent.registered"]["externalId"] == "my-shopping-agent"
        assert (told["agent.updated"]["status"], told["agent.deregistered"]["status"]) == ("suspended", "deregistered")
        assert told["agent.limit_approaching"]["currentSpend"] == 9_000
        exceeded = told["agent.limit_exceeded"]
        assert (exceeded["spendingLimit"], exceeded["currentSpend"], exceeded["amount"]) == (10_000, 9_000, 2_000)
        assert told["agent.token.created"]["id"] == told["agent.token.revoked"]["id"] == tokens[1]["token_id"]
        assert tokens[1]["token"].startswith(told["agent.token.created"]["tokenPrefix"])
        client.ok("POST", f"{path}/test", {}, token=acme.key)
        assert receiver.wait_for(9)[8].stamped("proxy-signature", rotated["secret"])["type"] == "webhook.test"


def test_an_endpoint_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Neither another endpoint nor the end of the server."""
    with Receiver() as hanging, Receiver() as well, serving(tmp_path, LOCAL) as (server, client):
        hanging.hang()
        acme = found_acme(client)
        for receiver in (hanging, hanging, well):
            hooked(client, acme, receiver.url, "decision.denied")
        for _ in range(12):
            client.ok("POST", "/v1/authorize", acme.request(500), token=acme.key)
        assert len({each.event_id for each in well.wait_for(12, 5.0)}) == 12
        assert server.stop() == 0
        hanging.go_on()


class Denied:
    """A caller whose every request is denied; it repeats what was in flight with the same key."""

    def __init__(self, number: int, acme: Acme) -> None:
        """Be caller ``number``."""
        self._number = number
        self._acme = acme
        self._made = 0
        self.decisions: set[str] = set()
        self.pending: str | None = None

    def call(self, client: Client, count: int) -> None:
        """Ask ``count`` times, or until nobody listens."""
        with client:
            for _ in range(count):
                try:
                    self.ask(client)
                except (Lost, Refused):
                    return

    def ask(self, client: Client) -> None:
        """Ask once, first what was in flight."""
        if self.pending is None:
            self._made += 1
            self.pending = f"{self._number}-{self._made}"
        answer = client.call("POST", "/v1/authorize", self._acme.request(500), key=self.pending, token=self._acme.key)
        assert answer.status == 200, answer
        assert not answer.document["allowed"]
        self.decisions.add(answer.document["decision_id"])
        self.pending = None


@pytest.mark.crash
def test_every_committed_event_arrives_at_least_once_whenever_the_server_is_killed(tmp_path: Path) -> None:
    """Under the same id each time, with the same content; and nothing arrives of what was not committed."""
    with Receiver() as receiver:
        server = Server(tmp_path, LOCAL)
        try:
            with server, server.client() as client:
                acme = found_acme(client)
                secret = hooked(client, acme, receiver.url, "decision.denied")["secret"]
                callers = [Denied(number, acme) for number in range(CALLERS)]
                receiver.hang()
                run(server, callers)
                receiver.wait_for(1)
                server.kill()  # some are under way, most wait
            under_way = {each.event_id for each in receiver.received}
            receiver.received.clear()
            receiver.go_on()
            server.flags = (LOCAL, "--workers", "2")
            server.start()
            threads = start(server, callers)
            time.sleep(random.uniform(0, MOMENT_SECONDS_MAX))
            server.kill()
            for thread in threads:
                thread.join()
            server.flags = (LOCAL,)
            server.start()
            with server.client() as client:
                for caller in callers:
                    caller.ask(client)
                decided = set.union(*(caller.decisions for caller in callers))
                poll(lambda: decided <= told(receiver.received).keys(), SECONDS)
                listed = client.ok("GET", "/v1/audit?verdict=deny&limit=200", token=acme.key)
                assert listed["next_cursor"] is not None or decided <= {each["decision_id"] for each in listed["data"]}
                assert under_way <= {each.event_id for each in receiver.received}
                check(client, acme, receiver.received, secret)
            assert server.stop() == 0
            done = CliRunner().invoke(sidecar, ["audit", "fsck", "--data-dir", str(server.data_dir)])
            assert done.exit_code == 0, done.output
        finally:
            server.__exit__(None, None, None)


def start(server: Server, callers: list[Denied]) -> list[threading.Thread]:
    """Have every caller ask on a connection of its own."""
    threads = [threading.Thread(target=caller.call, args=(server.client(), DENIALS)) for caller in callers]
    for thread in threads:
        thread.start()
    return threads


def run(server: Server, callers: list[Denied]) -> None:
    """Have every caller ask and wait for all of them."""
    for thread in start(server, callers):
        thread.join()


def told(received: list[Received]) -> dict[str, set[tuple[str, bytes]]]:
    """Return, per decision, the ids and bodies under which it was told."""
    found: dict[str, set[tuple[str, bytes]]] = defaultdict(set)
    for each in list(received):
        found[json.loads(each.body)["data"]["decision_id"]].add((each.event_id, each.body))
    return found


def check(client: Client, acme: Acme, received: list[Received], secret: str) -> None:
    """Each decision was told under one id with one content, signed, and exists."""
    for decision_id, tellings in told(received).items():
        assert len(tellings) == 1, (decision_id, tellings)
        stored = client.ok("GET", f"/v1/decisions/{decision_id}", token=acme.key)
        assert not stored["allowed"]
    for each in received:
        assert each.verified(secret)["type"] == "decision.denied"


def test_an_endpoint_that_redirects_is_not_followed(tmp_path: Path) -> None:
    """Not even where private addresses may be called."""
    with Receiver() as inside:
        away = Reply(302, {"location": inside.url})
        with Receiver(lambda _: away) as receiver, serving(tmp_path, LOCAL) as (_, client):
            acme = found_acme(client)
            webhook = hooked(client, acme, receiver.url)
            path = f"/v1/webhooks/{webhook['webhook_id']}"
            assert client.call("POST", f"{path}/test", token=acme.key).status == 200
            poll(lambda: client.ok("GET", f"{path}/deliveries", token=acme.key)["data"] != [], SECONDS)
            (entry,) = client.ok("GET", f"{path}/deliveries", token=acme.key)["data"]
            assert (entry["status_code"], entry["state"], entry["attempt"]) == (302, "retrying", 1)
        assert inside.received == []

"""The change feed of a running server: every worker tells what any of them writes, and no wait delays its end."""

import gzip
import signal
import threading
import time
from pathlib import Path

from sidecar.core.feed import Change, Page, read_page
from sidecar.core.feed_snapshot import Mark, read_line
from tests.process.server import Client, Server, found_acme, serving

WAIT = 25
BUDGET = {"name": "b", "dimension": "amount", "period": "daily", "currency": "CAD", "limit": 5}


def follower(operator: Client, tenant_id: str) -> str:
    """Make a follower's token."""
    body = {"tenant_id": tenant_id, "name": "follows", "kind": "follower"}
    token: str = operator.ok("POST", "/v1/tokens", body)["token"]
    return token


def page(client: Client, query: str = "") -> Page:
    """Ask for a page."""
    answer = client.call("GET", f"/v1/changes{query}")
    assert answer.status == 200, answer
    return read_page(answer.body)


def since(known: Page) -> str:
    """The query that waits for what is new since a page."""
    return f"?since={known.head}&files={known.files_digest}&wait={WAIT}"


class Waiters:
    """Followers that wait at once, each over a connection of its own."""

    def __init__(self, server: Server, token: str, number: int) -> None:
        """Connect; nobody waits yet."""
        self.found: list[Page] = []
        self._clients = [server.client(token, timeout=WAIT + 5) for _ in range(number)]
        self.known = [page(client) for client in self._clients][-1]
        self._threads = [threading.Thread(target=self._wait, args=(client,)) for client in self._clients]

    def _wait(self, client: Client) -> None:
        self.found.append(page(client, since(self.known)))

    def start(self) -> None:
        """Let all of them wait; from outside nobody can tell when a call has begun to."""
        for thread in self._threads:
            thread.start()
        time.sleep(0.5)
        assert self.found == []

    def finish(self) -> list[Page]:
        """Return what they were answered."""
        for thread, client in zip(self._threads, self._clients, strict=True):
            thread.join(WAIT - 5)
            client.close()
        return self.found


def test_a_change_by_any_worker_ends_the_wait_at_every_other(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2", "--durability", "process-crash") as (server, operator):
        acme = found_acme(operator)
        waiters = Waiters(server, follower(operator, acme.tenant_id), 6)
        waiters.start()
        operator.ok("POST", "/v1/budgets", BUDGET | {"tenant_id": acme.tenant_id, "identity_id": acme.root})
        assert [each.changes[0].kind for each in waiters.finish()] == ["budget"] * 6


def test_calls_that_wait_are_answered_when_the_server_is_about_to_end(tmp_path: Path) -> None:
    """At once, and whole: nobody is cut off, and the end waits for nobody."""
    with serving(tmp_path, "--workers", "2", "--durability", "process-crash") as (server, operator):
        acme = found_acme(operator)
        waiters = Waiters(server, follower(operator, acme.tenant_id), 4)
        waiters.start()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(8) == 0
        assert [(each.changes, each.head) for each in waiters.finish()] == [((), waiters.known.head)] * 4


def test_a_snapshot_of_a_running_server_is_whole_and_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    with serving(tmp_path, "--durability", "process-crash") as (server, operator):
        acme = found_acme(operator)
        for number in range(600):
            body = {"tenant_id": acme.tenant_id, "parent_id": acme.team, "type": "agent", "name": f"a{number}"}
            operator.ok("POST", "/v1/identities", body)
        with server.client(follower(operator, acme.tenant_id)) as client:
            lines = [read_line(line) for line in client.call("GET", "/v1/snapshot").body.splitlines()]
            (mark,) = [line for line in lines if isinstance(line, Mark)]
            rest = client.call("GET", f"/v1/snapshot?cursor={mark.cursor}")
            assert read_line(rest.body.splitlines()[-1]) == lines[-1]
            packed = client.call("GET", "/v1/snapshot", headers={"Accept-Encoding": "gzip"})
            again = [read_line(line) for line in gzip.decompress(packed.body).splitlines()]
            assert [line for line in again if isinstance(line, Change)] == [
                line for line in lines if isinstance(line, Change)
            ]

"""Policy files reloaded beside a running server: all workers at once, the last good ones kept, whoever is killed."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.process.server import (
    ROOT,
    Acme,
    Client,
    Document,
    Lost,
    Refused,
    Server,
    check_at_rest,
    command_of,
    found_acme,
    poll,
    processes,
    run_sidecar,
    serving,
)

SECONDS = 15.0
FORBID = '@id("{}") forbid (principal, action == Action::"card.authorize", resource) when {{ context.amount > {} }};\n'
FAST = ("--durability", "process-crash")


class Folders(NamedTuple):
    """Copies of the shipped policies and schemas without tests, and the flags that name them."""

    policies: Path
    schemas: Path

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of a server on them."""
        return ("--policies", str(self.policies), "--schemas", str(self.schemas), *FAST)

    def write(self, text: str, name: str = "own.cedar") -> None:
        """Write a policy file as an editor does: beside it first, then under its name."""
        fresh = self.policies / f"{name}.new"
        fresh.write_text(text)
        fresh.rename(self.policies / name)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Folders of their own."""
    for name in ("policies", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.test.yaml"))
    return Folders(tmp_path / "policies", tmp_path / "schemas")


def holding(client: Client) -> Document:
    """What ``/readyz`` says of policies."""
    found: Document = client.ok("GET", "/readyz")["policies"]
    return found


def revision(client: Client) -> str:
    """The files that hold."""
    return str(holding(client)["revision"])


def last(client: Client) -> Document:
    """How the newest reload ended, with empty fields where there was none."""
    return holding(client)["last_reload"] or {"outcome": None, "reason": None, "by": None}


def decided(client: Client, acme: Acme, amount: int) -> tuple[bool, str]:
    """Whether an amount is permitted, and under which policies."""
    answer = client.ok("POST", "/v1/authorize", acme.request(amount), token=acme.key)
    return answer["allowed"], answer["policy_revision"]


def kinds(client: Client, acme: Acme) -> list[str]:
    """The types of a tenant's audit records."""
    found: list[str] = []
    cursor = ""
    while True:
        page = client.ok("GET", f"/v1/audit?limit=200{cursor}", token=acme.key)
        found += [record["type"] for record in page["data"]]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


class Seen(NamedTuple):
    """One decision: when it was asked for and answered, and what it was."""

    asked: float
    answered: float
    allowed: bool
    revision: str


@contextmanager
def under_load(server: Server, acme: Acme, amount: int, callers: int = 4) -> Iterator[list[Seen]]:
    """Ask for decisions all the time, each caller on connections of its own so that every worker is asked."""
    seen: list[Seen] = []
    errors: list[object] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            with server.client(acme.key) as client:
                for _ in range(10):
                    asked = time.monotonic()
                    answer = client.call("POST", "/v1/authorize", acme.request(amount))
                    if answer.status != 200:
                        errors.append(answer)
                        return
                    found = answer.document
                    seen.append(Seen(asked, time.monotonic(), found["allowed"], found["policy_revision"]))

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert errors == []


def test_all_workers_agree_at_once_and_no_decision_fails_or_mixes(folders: Folders, tmp_path: Path) -> None:
    """Under load: no answer under the old set was asked for after one under the new set was given."""
    with serving(tmp_path, "--workers", "2", *folders.flags) as (server, operator):
        acme = found_acme(operator)
        with under_load(server, acme, 20) as seen:
            poll(lambda: len(seen) > 100, SECONDS)
            old = revision(operator)
            folders.write(FORBID.format("own", 1000))
            poll(lambda: revision(operator) != old, SECONDS)
            switched = time.monotonic()
            poll(lambda: time.monotonic() > switched + 1.0, SECONDS)
        by_revision = {one.revision: one.allowed for one in seen}
        assert sorted(by_revision.values()) == [False, True]
        assert all(one.allowed == by_revision[one.revision] for one in seen), "each decision is by one set"
        fresh = [one for one in seen if not one.allowed]
        first = min(one.answered for one in fresh)
        assert [one for one in seen if one.allowed and one.asked > first] == []
        assert first < switched + 1.0
        assert last(operator)["outcome"] == "loaded"
        found = kinds(operator, acme)
        assert found.count("policies_loaded") == 1
        counted = operator.call("GET", "/metrics").body.decode()
        assert 'sidecar_policy_reloads_total{outcome="loaded"} 1.0' in counted
        assert 'sidecar_audit_appends_total{type="policies_loaded"} 1.0' in counted
        assert operator.ok("GET", "/v1/audit/verify", token=acme.key)["valid"] is True
        assert server.stop() == 0
    check_at_rest(server.data_dir)


def test_bad_files_are_refused_and_the_next_good_ones_taken(folders: Folders, tmp_path: Path) -> None:
    """A file that does not parse, a schema that what is stored does not fit, a folder that is gone."""
    with serving(tmp_path, *folders.flags) as (server, operator):
        acme = found_acme(operator)
        good = revision(operator)

        def refused(reason: str) -> None:
            poll(lambda: last(operator)["outcome"] == "refused" and reason in last(operator)["reason"], SECONDS)
            assert revision(operator) == good
            assert decided(operator, acme, 20)[0]

        folders.write("permit (principal\n  action, resource);")
        refused("policies/own.cedar:2:3: ")
        answer = operator.call("POST", "/v1/policies/reload")
        assert (answer.status, answer.document["type"]) == (409, "conflict")
        assert "policies/own.cedar:2:3: " in answer.document["error"]
        (folders.policies / "own.cedar").unlink()
        poll(lambda: last(operator)["outcome"] == "unchanged", SECONDS)

        schema = next(folders.schemas.glob("*.cedarschema"))
        text = schema.read_text()
        schema.write_text(text.replace("card.authorize", "card.use"))
        refused("")
        schema.write_text(text)
        poll(lambda: last(operator)["outcome"] == "unchanged", SECONDS)

        folders.policies.rename(tmp_path / "away")
        refused("cannot be read")
        (tmp_path / "away").rename(folders.policies)
        folders.write(FORBID.format("own", 1000))
        poll(lambda: revision(operator) != good, SECONDS)
        assert not decided(operator, acme, 20)[0]
        assert "policy_files_refused" in server.logs()
        assert server.stop() == 0


def test_files_whose_tests_fail_neither_take_over_nor_start_a_server(folders: Folders, tmp_path: Path) -> None:
    """A sentence names the test: by ``/readyz`` and the call beside a running server, with exit code 2 at a start."""
    shutil.copy(ROOT / "policies" / "spend.test.yaml", folders.policies)
    failing = "policies/spend.test.yaml:18:9: test `the standard profile pays 199.99 CAD` fails, "
    with serving(tmp_path, "--workers", "2", *folders.flags) as (server, operator):
        acme = found_acme(operator)
        good = revision(operator)
        folders.write(FORBID.format("own", 1000))
        poll(lambda: last(operator)["outcome"] == "refused", SECONDS)
        assert last(operator)["reason"].startswith(failing)
        answer = operator.call("POST", "/v1/policies/reload")
        assert (answer.status, failing in answer.document["error"]) == (409, True)
        assert revision(operator) == good
        assert decided(operator, acme, 20)[0]
        assert server.stop() == 0
    for data_dir in (server.data_dir, tmp_path / "fresh"):
        done = run_sidecar("serve", "--port", "0", "--data-dir", str(data_dir), *folders.flags)
        assert done.returncode == 2
        assert failing in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "fresh" / "db").exists()


def test_a_config_map_is_taken_when_its_link_is_swapped(folders: Folders, tmp_path: Path) -> None:
    mount = tmp_path / "mounted"
    mount.mkdir()

    def swap(number: int, *extra: str) -> None:
        version = mount / f"..{number}"
        shutil.copytree(folders.policies, version)
        (version / "own.cedar").write_text("".join(extra))
        (mount / "..data_tmp").symlink_to(version.name)
        (mount / "..data_tmp").rename(mount / "..data")

    swap(1)
    for file in (mount / "..1").iterdir():
        (mount / file.name).symlink_to(f"..data/{file.name}")
    flags = ("--policies", str(mount), "--schemas", str(folders.schemas), *FAST)
    with serving(tmp_path, *flags) as (server, operator):
        acme = found_acme(operator)
        before = decided(operator, acme, 20)
        assert before[0]
        swap(2, FORBID.format("own", 1000))
        poll(lambda: last(operator)["outcome"] == "loaded", SECONDS)
        shutil.rmtree(mount / "..1")
        after = decided(operator, acme, 20)
        assert not after[0]
        assert after[1] != before[1]
        assert server.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_without_watching_a_signal_or_the_operator_loads(folders: Folders, tmp_path: Path, workers: int) -> None:
    """SIGHUP to the server alone or to its whole group; nobody dies of it."""
    flags = ("--workers", str(workers), "--no-watch", *folders.flags)
    with serving(tmp_path, *flags) as (server, operator):
        acme = found_acme(operator)
        before = set(server.workers())
        folders.write(FORBID.format("own", 1000))
        server.process.send_signal(signal.SIGHUP)
        poll(lambda: last(operator)["outcome"] == "loaded", SECONDS)
        assert last(operator)["by"] == "SIGHUP"
        assert not decided(operator, acme, 20)[0]

        (folders.policies / "own.cedar").unlink()
        held = revision(operator)
        os.killpg(server.process.pid, signal.SIGHUP)
        poll(lambda: revision(operator) != held, SECONDS)
        assert decided(operator, acme, 20)[0]

        folders.write(FORBID.format("own", 1000))
        assert operator.call("POST", "/v1/policies/reload", token=acme.key).status == 403
        assert operator.call("POST", "/v1/policies/reload?tenant_id=x").status == 400
        assert decided(operator, acme, 20)[0], "nobody watches"
        done = operator.ok("POST", "/v1/policies/reload")
        assert (done["outcome"], done["policy_revision"]) == ("loaded", revision(operator))
        assert [decided(operator, acme, 20)[0] for _ in range(4)] == [False] * 4
        assert operator.ok("POST", "/v1/policies/reload")["outcome"] == "unchanged"
        assert set(server.workers()) == before
        assert server.stop() == 0


def errands(data_dir: Path) -> list[int]:
    """The processes that load files for a server on this folder: those that have its lock open."""
    lock, found = str(data_dir / "reload.lock"), []
    for pid in processes():
        if "sidecar.app.errand" in command_of(pid):
            with suppress(OSError):
                places = [str(place.readlink()) for place in Path(f"/proc/{pid}/fd").iterdir()]
                found += [pid] if lock in places else []
    return found


def many(mark: str) -> str:
    """Policies that take a moment to check."""
    return "".join(FORBID.format(f"{mark}{number}", 100_000 + number) for number in range(200))


def asking(call: Callable[[], object]) -> threading.Thread:
    """Make a call beside; what becomes of it is no matter."""

    def ask() -> None:
        with suppress(Lost, Refused, OSError):
            call()

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_reload_that_is_killed_leaves_one_whole_set(folders: Folders, tmp_path: Path, seconds: float) -> None:
    """Killed alone, then with the server; the next reload and the next start find nothing in their way."""
    server = Server(tmp_path, "--no-watch", *folders.flags)
    with server, server.client() as operator:
        acme = found_acme(operator)
        old = revision(operator)
        folders.write(many("a"))
        thread = asking(lambda: operator.call("POST", "/v1/policies/reload"))
        poll(lambda: errands(server.data_dir) != [] or not thread.is_alive(), SECONDS)
        killed_at = time.monotonic() + seconds
        poll(lambda: time.monotonic() >= killed_at, SECONDS)
        for pid in errands(server.data_dir):
            os.kill(pid, signal.SIGKILL)
        thread.join()
        with server.client() as other:
            state = last(other)
            assert state["outcome"] == "loaded" or "signal 9" in state["reason"]
            assert (revision(other) == old) == (state["outcome"] == "refused")
            assert other.ok("POST", "/v1/policies/reload")["policy_revision"] != old
            loaded = revision(other)
            assert decided(other, acme, 20)[0]

        folders.write(many("b"))
        thread = asking(lambda: server.client().call("POST", "/v1/policies/reload"))
        poll(lambda: errands(server.data_dir) != [] or not thread.is_alive(), SECONDS)
        killed_at = time.monotonic() + seconds
        poll(lambda: time.monotonic() >= killed_at, SECONDS)
        server.kill()
        thread.join()
        (folders.policies / "own.cedar").write_text(many("a"))
        server.start()
        with server.client() as other:
            assert revision(other) == loaded, "what lies there now holds, whatever an orphan was about to load"
            assert decided(other, acme, 20)[0]
        assert server.stop() == 0
    poll(lambda: errands(server.data_dir) == [], SECONDS)
    check_at_rest(server.data_dir)

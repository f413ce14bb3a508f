"""What a follower answers and what it refuses, when it can be asked, and the work that it does on duty alone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from sidecar.app import follower as module
from sidecar.app.follower import FEED, SERVED, FilesFollowed, OnDuty, least_age
from sidecar.core.errors import Conflict, Forbidden, StoreUnusable
from sidecar.core.staleness import DEFAULT_LIMITS, Contact, Instant
from sidecar.core.token_text import KEY_BYTES, SECRET_BYTES, mint
from sidecar.doors.wire.endpoint import Ask, Call, Endpoint
from sidecar.replica.follow import OUTCOMES
from sidecar.service.feed_store import Link, ReplicaState
from sidecar.state.transaction import Transaction
from tests.doors.door import Door, check_refusal
from tests.process.server import Document

URL = "https://plane.test"
TOKEN = mint("follower", "live", bytes(KEY_BYTES + SECRET_BYTES)).text()
STATE = ReplicaState(
    tenant_id="t_1",
    origin="log",
    follower_id="tok_01HZX3K9Q7T8V5W2Y4A6B8C0DE",
    scope="id_1",
    revision=4,
    files_digest="ab" * 32,
)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """A follower that was told nothing."""
    with Door(tmp_path, control_plane=(URL, TOKEN)) as opened:
        yield opened


def keep(door: Door, *, fault: str | None = None, link: Link | None = None) -> None:
    """Let a follower have a state, and what else is named."""

    def work(txn: Transaction) -> None:
        txn.replica.keep_state(STATE)
        txn.replica.acknowledge(STATE.follower_id)
        txn.replica.keep_contact(Contact(Instant("another run", 0, 0), head=4))
        txn.replica.keep_fault(fault)
        txn.replica.keep_link(link or Link(is_connected=True))

    door.run(door.store.write(work))


def calls(door: Door) -> dict[str, Call]:
    """What is served, by method and path."""
    endpoints = [cast("Endpoint", route.endpoint) for route in door.routes()]
    return {f"{call.method} {call.path}": call for each in endpoints for call in each.calls.values()}


BESIDE_AGENTS = ("/access/v1/", "/{tenant_id}/access/v1/", "/envoy", "/forward-auth", "/mcp/")
"""Protocols of what stands beside an agent, as its follower does."""

# --- Calls ------------------------------------------------------------------------------------------------------------


def test_a_follower_decides_and_shows_and_refuses_everything_else_by_name(door: Door) -> None:
    """Each call of every door, so that one that is added later is refused until someone lists it."""
    refused: set[str] = set(FEED)
    for name, call in calls(door).items():
        if call.run.__class__.__name__ == "partial":
            with pytest.raises(Forbidden, match=r"follows a control plane and only decides: ask `https://plane\.test`"):
                door.run(cast("Any", call.run(cast("Ask", None))))
            refused.add(name)
    served = {name for name, call in calls(door).items() if name not in refused and not call.is_open}
    assert served == SERVED
    assert {"POST /v1/identities", "POST /v1/policies/reload", "GET /v1/changes", "GET /v1/accounts"} <= refused
    foreign = {name for name in calls(door) if not name.partition(" ")[2].startswith(("/v1/", "/livez", "/readyz"))}
    served = {name for name in foreign - refused if not calls(door)[name].is_open}
    assert {name for name in served if not name.partition(" ")[2].startswith(BESIDE_AGENTS)} == set()


def test_a_refusal_names_whom_to_ask(door: Door) -> None:
    keep(door)
    bodies: tuple[object, ...] = ({"name": "Acme", "root": {"id": "dana"}}, {"nobody": "knows"}, [], None)
    for body in bodies:
        assert URL in check_refusal(door.call("POST", "/v1/tenants", body), 403)


@pytest.mark.parametrize("path", ["/v1/changes?since=0&wait=5", "/v1/snapshot"])
def test_a_follower_of_a_follower_hears_what_is_wrong_though_nobody_knows_its_token(door: Door, path: str) -> None:
    """And not where the control plane is, which is for those who are known."""
    for has_state in (False, True):
        if has_state:
            keep(door)
        said = check_refusal(door.call("GET", path, token=TOKEN), 403)
        assert "cannot be followed" in said
        assert URL not in said


def test_before_there_is_anything_only_the_operator_is_known(door: Door) -> None:
    """Whoever else asks may try again: whether the token is good is not known yet."""
    stranger = mint("tenant", "live", bytes(KEY_BYTES + SECRET_BYTES)).text()
    early = door.call("GET", "/v1/identities", token=stranger)
    assert (early.status, early.document["type"]) == (503, "unavailable")
    assert door.ok("GET", "/v1/replica")["revision"] is None
    keep(door)
    check_refusal(door.call("GET", "/v1/identities", token=stranger), 401)


# --- What is told -----------------------------------------------------------------------------------------------------


def test_readiness_tells_how_a_follower_stands(door: Door) -> None:
    first = door.call("GET", "/readyz", token=None)
    assert (first.status, first.document["status"]) == (503, "unavailable")
    assert "nothing of its control plane yet" in first.document["reason"]
    keep(door, link=Link(is_connected=False, error="gone", head=9))
    assert door.call("GET", "/readyz", token=None).document["replica"] == {
        "revision": 4,
        "head": 9,
        "lag_revisions": 5,
        "age_seconds": pytest.approx(0, abs=1e12),
        "skew_seconds": 0,
        "connected": False,
        "last_error": "gone",
    }
    keep(door, fault="the log was set back")
    faulty = door.call("GET", "/readyz", token=None)
    assert (faulty.status, "the log was set back" in faulty.document["reason"]) == (503, True)


def test_a_follower_tells_what_it_follows(door: Door) -> None:
    nothing = door.ok("GET", "/v1/replica")
    assert (nothing["role"], nothing["control_plane"]) == ("follower", URL)
    unknown = ("tenant_id", "scope", "follower_id", "revision", "age_seconds", "skew_seconds", "files_revision")
    assert {nothing[name] for name in unknown} == {None}
    keep(door, fault="set back")
    told = door.ok("GET", "/v1/replica")
    assert told.pop("age_seconds") > 0
    assert told == {
        "role": "follower",
        "control_plane": URL,
        "tenant_id": "t_1",
        "scope": "id_1",
        "follower_id": "tok_01HZX3K9Q7T8V5W2Y4A6B8C0DE",
        "revision": 4,
        "head": 4,
        "lag_revisions": 0,
        "skew_seconds": 0,
        "connected": True,
        "last_error": None,
        "fault": "set back",
        "staged_records": None,
        "files_revision": f"sha256:{STATE.files_digest}",
        "policy_revision": None,
        "audit": {"records": 0, "shipped": 0, "backlog": 0},
    }


def test_a_server_that_follows_nobody_says_so(tmp_path: Path) -> None:
    with Door(tmp_path) as door:
        assert door.ok("GET", "/v1/replica") == {"role": "standalone"}
        assert "replica" not in door.ok("GET", "/readyz")
        assert not any(name.startswith("sidecar_replica_rev") for name in gauges(door))


def gauges(door: Door) -> Document:
    """Every sample without labels, and those of the questions by their outcome."""
    body = door.call("GET", "/metrics", token=None).body.decode()
    samples = [sample for family in text_string_to_metric_families(body) for sample in family.samples]
    return {" ".join((each.name, *each.labels.values())): each.value for each in samples}


def test_metrics_tell_how_a_follower_stands(door: Door) -> None:
    seen = gauges(door)
    assert {seen[f"sidecar_replica_pages_total {outcome}"] for outcome in OUTCOMES} == {0}
    assert seen["sidecar_replica_connected"] == seen["sidecar_replica_lag_revisions"] == 0
    assert "sidecar_replica_revision" not in seen
    assert "sidecar_replica_age_seconds" not in seen
    keep(door, link=Link(is_connected=True, head=6))
    seen = gauges(door)
    assert (seen["sidecar_replica_revision"], seen["sidecar_replica_lag_revisions"]) == (4, 2)
    assert (seen["sidecar_replica_connected"], seen["sidecar_replica_skew_seconds"]) == (1, 0)
    assert seen["sidecar_replica_age_seconds"] > 0
    assert seen["sidecar_audit_backlog_records"] == 0


def test_metrics_of_a_broken_store_leave_the_following_out(door: Door) -> None:
    door.break_store(StoreUnusable("broken"))
    seen = gauges(door)
    assert "sidecar_replica_pages_total applied" in seen
    assert "sidecar_replica_connected" not in seen


# --- Beside the calls -------------------------------------------------------------------------------------------------


class Worked:
    """Work that counts its beginnings, and ends by a mistake as often as it is told."""

    def __init__(self, mistakes: int = 0) -> None:
        """Begin never."""
        self.begun = 0
        self.ended = 0
        self._mistakes = mistakes

    async def run(self) -> None:
        """Work until cancelled."""
        self.begun += 1
        if self.begun <= self._mistakes:
            raise ZeroDivisionError
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


def test_works_begin_with_the_duty_and_one_that_fails_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", 0)
    monkeypatch.setattr(module, "DUTY_POLL_SECONDS", 0)
    good, bad = Worked(), Worked(mistakes=2)
    asked = iter([False, False, True])

    async def run() -> None:
        running = asyncio.create_task(OnDuty(lambda: next(asked), (good, bad)).run())
        while bad.begun < 3:  # noqa: ASYNC110 -- what is waited for tells nobody
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with capture_logs() as logs:
        asyncio.run(run())
    assert (good.begun, good.ended, bad.begun, bad.ended) == (1, 1, 3, 1)
    assert [entry["event"] for entry in logs] == ["background_work_ended"] * 2
    assert next(asked, None) is None


def test_policy_files_come_from_the_control_plane_alone() -> None:
    """Neither SIGHUP nor anything else has the folders of a follower read."""
    with capture_logs() as logs, pytest.raises(Conflict, match=r"come from the control plane `https://plane\.test`"):
        asyncio.run(FilesFollowed(URL)("SIGHUP"))
    assert [(entry["event"], entry["by"]) for entry in logs] == [("policy_files_not_looked_at", "SIGHUP")]


def test_the_strictest_limit_decides_how_often_is_asked() -> None:
    assert least_age(DEFAULT_LIMITS) == 60

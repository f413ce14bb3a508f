"""`GET /metrics`: every documented family, the right numbers, and nothing that names a tenant, identity or budget."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.errors import StoreUnusable
from sidecar.core.staleness import Contact, Instant
from sidecar.core.token_text import KEY_BYTES, SECRET_BYTES, mint
from sidecar.service.feed_store import ReplicaState
from sidecar.state.transaction import Transaction
from tests.doors.door import NOON_US, Door, House, build
from tests.process.server import ROOT

LABELS = {"code", "le", "method", "outcome", "route", "stage", "state", "status", "table", "type", "verdict"}
BUILD_LABELS = {"cedar", "python", "revision", "version"}
OF_FOLLOWERS = ("sidecar_replica_", "sidecar_audit_backlog_")
FOLLOWER_TOKEN = mint("follower", "live", bytes(KEY_BYTES + SECRET_BYTES)).text()
DOCUMENT = ROOT / "docs" / "metrics.md"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[House]:
    """A tenant of an application that has counted nothing else."""
    with Door(tmp_path) as opened:
        yield build(opened)


def families(house: House) -> dict[str, Metric]:
    """What the application shows, by name."""
    answer = house.door.call("GET", "/metrics", token=None)
    assert answer.status == 200
    return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}


def samples(house: House) -> dict[str, float]:
    """Every sample by its name and the values of its labels."""
    found = [sample for family in families(house).values() for sample in family.samples]
    return {" ".join((s.name, *(s.labels[name] for name in sorted(s.labels)))): s.value for s in found}


def test_a_decision_is_counted_and_timed_when_its_answer_is_there(fresh: House) -> None:
    fresh.permit()
    fresh.ok("POST", "/v1/authorize", fresh.request(201))
    seen = samples(fresh)
    assert seen["sidecar_decisions_total permitted allow"] == 1
    assert seen["sidecar_decisions_total forbidden deny"] == 1
    assert seen["sidecar_decision_duration_seconds_count"] == 2
    for stage in ("parse", "rule", "commit"):
        assert seen[f"sidecar_decision_stage_duration_seconds_count {stage}"] == 2, stage
    assert seen["sidecar_audit_appends_total decision"] == 2
    assert seen["sidecar_http_requests_total POST /v1/authorize 200"] == 2


def test_a_request_by_another_path_of_a_call_counts_with_the_call(fresh: House) -> None:
    fresh.ok("POST", "/authorize", fresh.request())
    assert samples(fresh)["sidecar_http_requests_total POST /v1/authorize 200"] == 1


def test_a_replay_is_no_decision(fresh: House) -> None:
    for _ in range(3):
        assert fresh.call("POST", "/v1/authorize", fresh.request(), key="k").status == 200
    seen = samples(fresh)
    assert seen["sidecar_decisions_total permitted allow"] == 1
    assert seen["sidecar_idempotent_replays_total"] == 2


def test_a_dry_run_is_no_decision(fresh: House) -> None:
    fresh.ok("POST", "/v1/authorize", fresh.request(dry_run=True))
    assert samples(fresh)["sidecar_decisions_total permitted allow"] == 0


def test_a_denial_by_a_budget_is_counted_as_one(fresh: House) -> None:
    for _ in range(3):
        fresh.ok("POST", "/v1/authorize", fresh.request(200))
    seen = samples(fresh)
    assert seen["sidecar_decisions_total budget_exceeded deny"] == 1
    assert seen["sidecar_budget_denials_total budget_exceeded"] == 1


def test_reservations_are_counted_by_what_became_of_them(fresh: House) -> None:
    """Repeating a call changes nothing, here neither."""
    settled, released, kept = fresh.permit(), fresh.permit(), fresh.permit()
    for _ in range(2):
        fresh.ok("POST", f"/v1/decisions/{settled}/settle")
        fresh.ok("POST", f"/v1/decisions/{released}/release")
    fresh.ok("POST", f"/v1/decisions/{settled}/refund", {"amount": 1})
    seen = samples(fresh)
    counted = {state: seen[f"sidecar_reservation_transitions_total {state}"] for state in ("held", "settled")}
    assert counted == {"held": 3, "settled": 1}, kept
    assert seen["sidecar_reservation_transitions_total released"] == 1
    assert seen["sidecar_reservation_transitions_total refunded"] == 1
    assert seen["sidecar_reservation_transitions_total expired"] == 0
    assert seen["sidecar_reservations_held"] == 1


def test_a_hold_that_nobody_ends_in_time_shows(fresh: House) -> None:
    """No background work runs here: what is overdue stays so."""
    fresh.ok("POST", "/v1/authorize", fresh.request(reservation_ttl_seconds=60))
    assert samples(fresh)["sidecar_expiry_lag_seconds"] == 0
    fresh.door.clock.now_us = NOON_US + 67_500_000
    assert samples(fresh)["sidecar_expiry_lag_seconds"] == 7.5


def test_audit_records_and_the_store_are_measured(fresh: House) -> None:
    fresh.permit()
    seen = samples(fresh)
    head = fresh.ok("GET", "/v1/audit/verify")["head"]
    assert seen["sidecar_audit_records"] == seen["sidecar_store_entries audit"] == head["seq"] + 1
    appended = sum(value for name, value in seen.items() if name.startswith("sidecar_audit_appends_total"))
    assert appended == seen["sidecar_audit_records"]
    assert 0 < seen["sidecar_store_used_bytes"] < seen["sidecar_store_map_bytes"]
    assert seen["sidecar_store_disk_free_bytes"] > 0
    assert seen["sidecar_store_readers"] == 0
    assert seen["sidecar_commit_batch_size_count"] == seen["sidecar_commit_duration_seconds_count"] > 0
    assert seen["sidecar_commit_queue_length"] == 0


def test_the_policy_files_that_hold_are_named(fresh: House) -> None:
    revision = families(fresh)["sidecar_policy_revision_info"].samples
    assert [sample.value for sample in revision] == [1]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", revision[0].labels["revision"])
    fresh.door.clock.now_us = 2**52  # far behind any start of this test
    assert samples(fresh)["sidecar_policy_revision_age_seconds"] > 0


def test_paths_and_methods_that_a_caller_makes_up_share_one_label(fresh: House) -> None:
    """Otherwise a scanner would grow the figures without end."""
    for path in ("/wp-login.php", "/v1/nothing", "/v1/decisions/x/y/z"):
        assert fresh.door.call("GET", path).status == 404
    assert fresh.door.call("BREW", "/v1/authorize").status == 405
    seen = samples(fresh)
    assert seen["sidecar_http_requests_total other other 404"] == 3
    assert seen["sidecar_http_requests_total other /v1/authorize 405"] == 1


def test_labels_are_a_closed_set_and_name_nobody(fresh: House) -> None:
    """No figure tells of a tenant, an identity, a budget, a policy, a decision or a token."""
    decision = fresh.permit()
    fresh.ok("GET", f"/v1/decisions/{decision}")
    fresh.ok("GET", f"/v1/identities/{fresh.agent}?tenant_id={fresh.tenant_id}")
    text = fresh.door.call("GET", "/metrics", token=None).body.decode()
    names = {name for family in families(fresh).values() for sample in family.samples for name in sample.labels}
    assert names <= LABELS | BUILD_LABELS
    assert re.findall(r"(?<![a-z])(?:t|id|pol|bud|dec|card|tok|wh|evt|acct|pay|req)_[0-9A-HJKMNP-TV-Z]{26}", text) == []
    for secret in (fresh.key, fresh.agent_token):
        assert secret not in text


def test_every_documented_family_is_there_and_no_other(fresh: House, tmp_path: Path) -> None:
    """`docs/metrics.md` lists name, type and labels of exactly what is served; some of it by followers only."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \|([^|]*)\|", DOCUMENT.read_text(), re.MULTILINE)
    documented = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    fresh.permit()
    shown = kinds(fresh.door)
    (tmp_path / "follower").mkdir()
    with Door(tmp_path / "follower", control_plane=("https://plane.test", FOLLOWER_TOKEN)) as follower:
        follower.run(follower.store.write(follow_something))
        followed = kinds(follower)
    of_followers = {name for name in documented if name.startswith(OF_FOLLOWERS)} - {"sidecar_replica_pages_total"}
    assert set(followed) - set(shown) == of_followers
    assert shown | {name: followed[name] for name in of_followers} == documented


def follow_something(txn: Transaction) -> None:
    """Let a follower have all that there can be a figure of."""
    txn.replica.keep_contact(Contact(Instant("another run", 0, 0), head=1))
    txn.replica.keep_state(
        ReplicaState(tenant_id="t_1", origin="log", follower_id="tok_1", scope=None, revision=1, files_digest="ab")
    )


def kinds(door: Door) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of every family."""
    shown: dict[str, tuple[str, frozenset[str]]] = {}
    answer = door.call("GET", "/metrics", token=None)
    for family in text_string_to_metric_families(answer.body.decode()):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        kind = "info" if family.name.endswith("_info") else family.type
        name = f"{family.name}_total" if kind == "counter" else family.name
        shown[name] = (kind, frozenset(labels))
        assert family.documentation.endswith("."), family.name
    return shown


def test_the_newer_format_is_served_to_who_asks_for_it(fresh: House) -> None:
    older = fresh.door.call("GET", "/metrics", token=None)
    assert older.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    newer = fresh.door.call("GET", "/metrics", token=None, headers=[("Accept", OPEN_METRICS)])
    assert newer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    parsed = {family.name for family in open_metrics_families(newer.body.decode())}  # type: ignore[no-untyped-call]
    assert {"sidecar_decisions", "sidecar_policy_revision", "sidecar_audit_appends"} <= parsed


def test_a_broken_store_leaves_the_counters(fresh: House) -> None:
    fresh.permit()
    fresh.door.break_store(StoreUnusable("broken"))
    seen = samples(fresh)
    assert seen["sidecar_decisions_total permitted allow"] == 1
    assert "sidecar_audit_records" not in seen
    assert "sidecar_store_used_bytes" not in seen

"""What is counted, alone and over the slots of several workers."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from sidecar.app.cells import FILE_BYTES
from sidecar.app.families import Counted
from sidecar.app.metrics import Metrics, Share
from sidecar.app.sharing import share_folder
from sidecar.core.model import Decision, Reason
from sidecar.core.reasons import CODES
from sidecar.core.shadow import Flips, Tally
from sidecar.doors.wire.context import Served
from sidecar.state.observe import Batch

Figures = dict[str, float]


@pytest.fixture
def metrics() -> Metrics:
    """The figures of one worker alone."""
    return Metrics()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for two workers."""
    return share_folder(tmp_path, 2)


def decision(*codes: str, expires_at_us: int | None = None) -> Decision:
    """A denial for these reasons, a permit without any."""
    reasons = tuple(Reason(verdict="deny", code=code, message="no") for code in codes)
    return Decision(
        decision_id="dec_1",
        identity_id="id_1",
        action="act",
        allowed=not codes,
        reasons=reasons,
        budget_checks=(),
        reserved_minor=None,
        currency=None,
        reserved_quantities={},
        expires_at_us=expires_at_us,
        evaluated_at_us=0,
        policy_revision="",
        entity_revision=0,
        audit=None,
    )


def read(metrics: Metrics) -> Figures:
    """Every sample that is not 0, by its name and the values of its labels; of all slots where there are several."""
    registry = CollectorRegistry()
    registry.register(metrics.counted())
    text = generate_latest(registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {" ".join((s.name, *(s.labels[name] for name in sorted(s.labels)))): s.value for s in samples if s.value}


def test_a_denial_counts_by_its_most_important_code(metrics: Metrics) -> None:
    metrics.course().decided(decision("forbidden", "budget_exceeded"))
    seen = read(metrics)
    assert seen["sidecar_decisions_total forbidden deny"] == 1
    assert "sidecar_decisions_total budget_exceeded deny" not in seen
    assert "sidecar_decisions_total permitted allow" not in seen


def test_each_budget_code_of_a_denial_counts_once(metrics: Metrics) -> None:
    codes = ("currency_not_budgeted", "budget_exceeded", "budget_exceeded", "per_transaction_limit")
    metrics.course().decided(decision(*codes))
    seen = read(metrics)
    assert {code: seen[f"sidecar_budget_denials_total {code}"] for code in codes} == dict.fromkeys(codes, 1)


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_a_denial_can_be_counted(metrics: Metrics, code: str) -> None:
    metrics.course().decided(decision(code))
    assert read(metrics)[f"sidecar_decisions_total {code} deny"] == 1


def test_a_permit_counts_as_held_only_where_something_is_held(metrics: Metrics) -> None:
    metrics.course().decided(decision(), decision(expires_at_us=5))
    seen = read(metrics)
    assert seen["sidecar_decisions_total permitted allow"] == 2
    assert seen["sidecar_reservation_transitions_total held"] == 1


def test_the_decisions_of_one_batch_share_its_time(metrics: Metrics) -> None:
    """A stage is timed once per call, however many decisions the call brings."""
    course = metrics.course()
    course.ruled()
    course.decided(decision(), decision())
    seen = read(metrics)
    assert seen["sidecar_decision_stage_duration_seconds_count rule"] == 1
    assert seen["sidecar_decision_stage_duration_seconds_count commit"] == 1


def test_a_commit_counts_its_size_its_times_and_what_it_recorded(metrics: Metrics) -> None:
    metrics.committed(Batch(3, ("decision", "settle", "decision", "policy_created"), 0.2, 0.004))
    seen = read(metrics)
    assert seen["sidecar_commit_batch_size_sum"] == 3
    assert seen["sidecar_commit_duration_seconds_sum"] == 0.004
    assert seen["sidecar_commit_lock_wait_seconds_sum"] == 0.2
    assert seen["sidecar_audit_appends_total decision"] == 2
    assert seen["sidecar_audit_appends_total policy_created"] == 1
    assert seen["sidecar_reservation_transitions_total settled"] == 1


@pytest.mark.parametrize(
    ("kind", "state"), [("settle", "settled"), ("release", "released"), ("expire", "expired"), ("refund", "refunded")]
)
def test_what_became_of_reservations_is_counted(metrics: Metrics, kind: str, state: str) -> None:
    metrics.committed(Batch(1, (kind, kind), 0, 0))
    assert read(metrics)[f"sidecar_reservation_transitions_total {state}"] == 2


def test_a_lost_transaction_and_refused_files_are_counted(metrics: Metrics) -> None:
    metrics.commit_failed()
    for outcome in ("loaded", "refused", "refused", "unavailable"):
        metrics.reloaded(outcome)
    seen = read(metrics)
    assert seen["sidecar_commit_failures_total"] == 1
    assert seen["sidecar_policy_load_failures_total"] == 2
    counted = {name.partition(" ")[2]: value for name, value in seen.items() if "policy_reloads" in name}
    assert counted == {"loaded": 1, "refused": 2, "unavailable": 1}


def test_only_answered_decisions_are_timed_as_a_whole(metrics: Metrics) -> None:
    """A refusal shows in the requests by status; it would make the decisions look faster than they are."""
    metrics.served(Served("POST", "/v1/authorize", 200, 0.25, 0.125, is_decision=True))
    metrics.served(Served("POST", "/v1/authorize", 503, 2.0, 0.125, is_decision=True))
    metrics.served(Served("POST", "/v1/authorize", 401, 0.5, None, is_decision=True))
    metrics.served(Served("GET", "/livez", 200, 0.5, 0.5))
    seen = read(metrics)
    assert seen["sidecar_decision_duration_seconds_sum"] == 0.25
    assert seen["sidecar_decision_stage_duration_seconds_count parse"] == 2
    assert seen["sidecar_http_requests_total POST /v1/authorize 401"] == 1


def test_two_servers_in_one_process_do_not_count_together() -> None:
    """Whoever embeds an application twice, as these tests do, sees each one's own figures."""
    first, second = Metrics(), Metrics()
    first.commit_failed()
    assert "sidecar_commit_failures_total" not in read(second)


def test_the_figures_of_all_slots_are_summed(folder: Path) -> None:
    workers = [Metrics(Share(folder, slot, 0)) for slot in range(2)]
    for metrics in workers:
        metrics.course().decided(decision())
        metrics.waiting(3)
        metrics.committed(Batch(2, ("decision",), 0.5, 0.25))
    seen = read(workers[0])
    assert seen == read(workers[1])
    assert seen["sidecar_decisions_total permitted allow"] == 2
    assert seen["sidecar_commit_queue_length"] == 6
    assert seen["sidecar_commit_batch_size_bucket 2.0"] == 2
    assert seen["sidecar_commit_duration_seconds_sum"] == 0.5


def test_a_worker_goes_on_where_its_predecessor_was_killed(folder: Path) -> None:
    """No sum goes backwards, no file is added, and what waited in the dead process waits no more."""
    for _ in range(3):
        metrics = Metrics(Share(folder, 0, 0))
        metrics.course().decided(decision())
        metrics.waiting(9)
    files = len(list(folder.iterdir()))
    seen = read(Metrics(Share(folder, 0, 0)))
    assert seen["sidecar_decisions_total permitted allow"] == 3
    assert seen["sidecar_worker_starts_total"] == 4
    assert "sidecar_commit_queue_length" not in seen
    assert files == len(list(folder.iterdir())) == 2


def test_everything_that_can_be_counted_fits(folder: Path) -> None:
    """Even every route with 15 statuses, in the blocks that the file was given."""
    metrics = Metrics(Share(folder, 1, 0))
    for code in CODES:
        metrics.course().decided(decision(code))
    for route in range(60):
        for status in range(15):
            path = f"/v1/some-resources/{{resource_id}}/call-{route}"
            metrics.served(Served("DELETE", path, 400 + status, is_decision=True))
    metrics.committed(Batch(1, tuple(f"something_{number}_changed" for number in range(60)), 0, 0))
    seen = read(metrics)
    assert sum(name.startswith("sidecar_http_requests_total") for name in seen) == 60 * 15
    assert sum(name.startswith("sidecar_audit_appends_total") for name in seen) == 60
    assert {path.stat().st_size for path in folder.iterdir()} == {FILE_BYTES}


def test_the_buckets_of_a_histogram_count_everything_up_to_their_end(metrics: Metrics) -> None:
    """The ends belong to their buckets, and the last one holds all."""
    for works in (1, 2, 3, 64, 65):
        metrics.committed(Batch(works, (), 0, 0))
    seen = read(metrics)
    ends = ("1.0", "2.0", "4.0", "8.0", "16.0", "32.0", "64.0", "+Inf")
    assert [seen[f"sidecar_commit_batch_size_bucket {end}"] for end in ends] == [1, 2, 3, 3, 3, 3, 4, 5]
    assert seen["sidecar_commit_batch_size_count"] == 5


def test_a_cell_of_no_family_keeps_no_other_from_being_shown() -> None:
    """Whatever a broken file or another version left in it."""
    registry = CollectorRegistry()
    registry.register(Counted([{("sidecar_idempotent_replays_total",): 1, ("sidecar_unheard_of_total", "a"): 2}]))
    text = generate_latest(registry).decode()
    assert "sidecar_idempotent_replays_total 1.0" in text
    assert "unheard_of" not in text


def test_comparisons_with_shadow_policies_count_by_what_came_of_them(metrics: Metrics) -> None:
    for _ in range(2):
        metrics.shadowed(Tally(1, Flips(2, {"CAD": 9}), Flips(3), 4, 5))
    seen = read(metrics)
    outcomes = {"same": 2, "allow_to_deny": 4, "deny_to_allow": 6, "error": 8, "dropped": 10}
    assert {name: seen[f"sidecar_shadow_decisions_total {name}"] for name in outcomes} == outcomes


def test_a_failure_of_the_shadow_is_logged_once_while_it_stays_the_same(metrics: Metrics) -> None:
    with capture_logs() as logged:
        for error in (ValueError("a"), ValueError("a"), KeyError("b"), ValueError("a")):
            metrics.shadow_failed(error)
    assert [each["reason"] for each in logged] == ["ValueError: a", "KeyError: 'b'", "ValueError: a"]

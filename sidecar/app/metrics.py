"""What is counted and timed, as Prometheus families: the one place where they are made and fed.

No label tells of a tenant, an identity, a budget or anything else that a caller names: label values come from closed
sets (codes, stages, states, route templates, statuses), so neither who asks nor what is asked can grow the output.

A single worker keeps its figures in memory. Several share a folder of files that are mapped into memory, one set per
worker *slot* and not per process: a worker that is started again goes on where its predecessor in the slot was killed,
so no sum ever goes backwards and the number of files stays what it was at the start (prometheus/client_python 509).
"""

import os
import time
from pathlib import Path
from typing import Final, Literal

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values

from sidecar.core.model import Decision
from sidecar.core.reasons import CODES
from sidecar.doors.wire.endpoint import Served
from sidecar.state.observe import Batch

SECONDS: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
"""Buckets from 50 µs, a ruling on a warm snapshot, to 1 s, after which callers give up."""

WORKS: Final = (1, 2, 4, 8, 16, 32, 64)
"""Buckets of a batch's size, up to ``BATCH_MAX`` of the committer."""

BUDGET_CODES: Final = frozenset({"currency_not_budgeted", "budget_exceeded", "per_transaction_limit"})

TRANSITIONS: Final = {"settle": "settled", "release": "released", "expire": "expired", "refund": "refunded"}
"""Types of audit records that tell of a reservation, and what became of it."""

Stage = Literal["parse", "rule", "commit"]
STAGES: Final[tuple[Stage, ...]] = ("parse", "rule", "commit")


class Share(msgspec.Struct, frozen=True):
    """The folder that the workers of one server share, this worker's place in it, and when the server started."""

    folder: Path
    slot: int
    started_at: float


class Metrics:
    """Implements the observers of the services, of the committer and of the endpoints.

    Made once per process, before anything else makes a metric: how the library keeps values is one choice per process.
    """

    def __init__(self, share: Share | None = None) -> None:
        """Begin at zero, or in a share where the slot's predecessor ended."""
        _choose_values(share)
        self.registry = registry = CollectorRegistry()
        self.share = share
        self.started_at = time.time() if share is None else share.started_at
        decisions = Counter(
            "sidecar_decisions_total",
            "Decisions on disk by verdict and most important code; replays and dry runs are none.",
            ("verdict", "code"),
            registry=registry,
        )
        self._permits = decisions.labels("allow", "permitted")
        self._denials = {code: decisions.labels("deny", code) for code in CODES}
        budgets = Counter(
            "sidecar_budget_denials_total",
            "Decisions denied by a budget, by code; one that names two codes counts in both.",
            ("code",),
            registry=registry,
        )
        self._budget_denials = {code: budgets.labels(code) for code in sorted(BUDGET_CODES)}
        transitions = Counter(
            "sidecar_reservation_transitions_total",
            "Reservations held, and settlements (parts count too), releases, expiries and refunds that were booked.",
            ("state",),
            registry=registry,
        )
        self._held = transitions.labels("held")
        self._transitions = {kind: transitions.labels(state) for kind, state in TRANSITIONS.items()}
        self._duration = Histogram(
            "sidecar_decision_duration_seconds",
            "Time from a request's arrival to its answer, of answered calls that ask for decisions; dry runs count.",
            buckets=SECONDS,
            registry=registry,
        )
        stages = Histogram(
            "sidecar_decision_stage_duration_seconds",
            "Time in a stage: parse (arrival to authenticated), rule (policies), commit (wait, budgets, fsync).",
            ("stage",),
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._make_commit_families(registry)
        self._make_process_families(registry)

    def _make_commit_families(self, registry: CollectorRegistry) -> None:
        self._batch = Histogram(
            "sidecar_commit_batch_size",
            "Pieces of work that shared one transaction and its fsync.",
            buckets=WORKS,
            registry=registry,
        )
        self._commit = Histogram(
            "sidecar_commit_duration_seconds",
            "Time of the store's commit, which is mostly its fsync.",
            buckets=SECONDS,
            registry=registry,
        )
        self._lock = Histogram(
            "sidecar_commit_lock_wait_seconds",
            "Time until the writer lock, which spans all workers, was had.",
            buckets=SECONDS,
            registry=registry,
        )
        self._failures = Counter(
            "sidecar_commit_failures_total", "Transactions that were lost with all the work in them.", registry=registry
        )
        self._queue = Gauge(
            "sidecar_commit_queue_length",
            "Pieces of work that wait for a transaction.",
            multiprocess_mode="sum",
            registry=registry,
        )
        self._queue.set(0)  # in a share, what a killed predecessor left there
        self._appends = Counter(
            "sidecar_audit_appends_total", "Audit records appended, by type.", ("type",), registry=registry
        )
        self._kinds: dict[str, Counter] = {}

    def _make_process_families(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "sidecar_http_requests_total",
            "HTTP requests answered, by method, route template and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._answers: dict[tuple[str, str, int], Counter] = {}
        self._replays = Counter(
            "sidecar_idempotent_replays_total",
            "Requests answered with the stored answer of their idempotency key.",
            registry=registry,
        )
        self._load_failures = Counter(
            "sidecar_policy_load_failures_total",
            "Policy or schema files that were refused while the last good ones stayed in force.",
            registry=registry,
        )
        Counter(
            "sidecar_worker_starts_total",
            "Worker processes started; more than there are workers: some died.",
            registry=registry,
        ).inc()

    def course(self) -> "_Course":
        """Begin to time one call on its way to a decision."""
        return _Course(self)

    def timed(self, stage: Stage, seconds: float) -> None:
        """Count the time that a decision spent in a stage."""
        self._stages[stage].observe(seconds)

    def decided(self, decision: Decision) -> None:
        """Count a decision that is on disk."""
        if decision.allowed:
            self._permits.inc()
            if decision.expires_at_us is not None:
                self._held.inc()
            return
        codes = [reason.code for reason in decision.reasons]
        self._denials[codes[0]].inc()
        for code in BUDGET_CODES.intersection(codes):
            self._budget_denials[code].inc()

    def waiting(self, works: int) -> None:
        """Show how much work waits."""
        self._queue.set(works)

    def committed(self, batch: Batch) -> None:
        """Count a transaction that is on disk."""
        self._batch.observe(batch.works)
        self._commit.observe(batch.commit_seconds)
        self._lock.observe(batch.waited_seconds)
        for kind in set(batch.appended):
            number = batch.appended.count(kind)
            self._appended(kind).inc(number)
            if kind in self._transitions:
                self._transitions[kind].inc(number)

    def commit_failed(self) -> None:
        """Count a transaction that was lost."""
        self._failures.inc()

    def served(self, served: Served) -> None:
        """Count an answered request."""
        key = (served.method, served.route, served.status)
        counter = self._answers.get(key)
        if counter is None:
            counter = self._answers[key] = self._requests.labels(*key)
        counter.inc()
        if served.is_replay:
            self._replays.inc()
        if served.is_decision and served.parse_seconds is not None:
            self.timed("parse", served.parse_seconds)
            if served.status == 200:  # noqa: PLR2004 -- the status of every decision
                self._duration.observe(served.seconds)

    def policy_load_failed(self) -> None:
        """Count policy files that were refused while the server runs."""
        self._load_failures.inc()

    def _appended(self, kind: str) -> Counter:
        counter = self._kinds.get(kind)
        if counter is None:
            counter = self._kinds[kind] = self._appends.labels(kind)
        return counter


class _Course:
    """Times one call; the clock is read here so that services read none."""

    __slots__ = ("_metrics", "_since")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since = time.perf_counter()

    def ruled(self) -> None:
        """End the stage `rule`."""
        self._end("rule")

    def decided(self, *decisions: Decision) -> None:
        """End the stage `commit` and count what came of it."""
        self._end("commit")
        for decision in decisions:
            self._metrics.decided(decision)

    def _end(self, stage: Stage) -> None:
        now = time.perf_counter()
        self._metrics.timed(stage, now - self._since)
        self._since = now


def _choose_values(share: Share | None) -> None:
    """Tell the library where values live; it chose by an environment variable when it was imported.

    That variable may be somebody else's, so it decides nothing here.
    """
    # Shared values have no such series, so they would come and go with the number of workers.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if share is None:
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        values.ValueClass = values.MutexValue
    else:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(share.folder)
        values.ValueClass = values.MultiProcessValue(lambda: share.slot)  # type: ignore[no-untyped-call]

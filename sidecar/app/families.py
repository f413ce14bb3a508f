"""The families of what is counted and timed: their names, texts, labels and buckets, and how they are shown.

No label tells of a tenant, an identity, a budget or anything else that a caller names: label values come from closed
sets (codes, stages, states, route templates, statuses), so neither who asks nor what is asked can grow the output.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.app.cells import SUM, ends_of

SECONDS: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
"""Buckets from 50 µs, a ruling on a warm snapshot, to 1 s, after which callers give up."""

WORKS: Final = (1, 2, 4, 8, 16, 32, 64)
"""Buckets of a batch's size, up to ``BATCH_MAX`` of the committer."""

Figures = Mapping[tuple[str, ...], float]
"""Numbers by the name of their family and the values of its labels; of a histogram, one more names the bucket."""


class Counter(NamedTuple):
    """A family of numbers that only grow."""

    name: str
    text: str
    labels: tuple[str, ...] = ()

    def metric(self, rows: Figures) -> Metric:
        """Return the family with ``rows``, which are its own."""
        found = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for names, value in rows.items():
            found.add_metric(names, value)
        return found


class Gauge(NamedTuple):
    """A number that comes and goes; over several workers it is their sum."""

    name: str
    text: str

    def metric(self, rows: Figures) -> Metric:
        """Return the family with ``rows``, which are its own."""
        return GaugeMetricFamily(self.name, self.text, sum(rows.values()))


class Histogram(NamedTuple):
    """A family of numbers by size."""

    name: str
    text: str
    bounds: tuple[float, ...]
    labels: tuple[str, ...] = ()

    def metric(self, rows: Figures) -> Metric:
        """Return the family with ``rows``, which are its own."""
        found = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        ends = ends_of(self.bounds)
        for names in dict.fromkeys(names[:-1] for names in rows):
            counts = accumulate(rows.get((*names, end), 0) for end in ends)
            found.add_metric(names, list(zip(ends, counts, strict=True)), rows.get((*names, SUM), 0))
        return found


Family = Counter | Gauge | Histogram

DECISIONS: Final = Counter(
    "sidecar_decisions_total",
    "Decisions on disk by verdict and most important code; replays and dry runs are none.",
    ("verdict", "code"),
)
BUDGET_DENIALS: Final = Counter(
    "sidecar_budget_denials_total",
    "Decisions denied by a budget, by code; one that names two codes counts in both.",
    ("code",),
)
TRANSITIONS: Final = Counter(
    "sidecar_reservation_transitions_total",
    "Reservations held, and settlements (parts count too), releases, expiries and refunds that were booked.",
    ("state",),
)
DURATION: Final = Histogram(
    "sidecar_decision_duration_seconds",
    "Time from a request's arrival to its answer, of answered calls that ask for decisions; dry runs count.",
    SECONDS,
)
STAGES: Final = Histogram(
    "sidecar_decision_stage_duration_seconds",
    "Time in a stage: parse (arrival to authenticated), rule (policies), commit (wait, budgets, fsync).",
    SECONDS,
    ("stage",),
)
BATCH_SIZE: Final = Histogram(
    "sidecar_commit_batch_size", "Pieces of work that shared one transaction and its fsync.", WORKS
)
COMMIT: Final = Histogram(
    "sidecar_commit_duration_seconds", "Time of the store's commit, which is mostly its fsync.", SECONDS
)
LOCK: Final = Histogram(
    "sidecar_commit_lock_wait_seconds", "Time until the writer lock, which spans all workers, was had.", SECONDS
)
COMMIT_FAILURES: Final = Counter(
    "sidecar_commit_failures_total", "Transactions that were lost with all the work in them."
)
QUEUE: Final = Gauge("sidecar_commit_queue_length", "Pieces of work that wait for a transaction.")
APPENDS: Final = Counter("sidecar_audit_appends_total", "Audit records appended, by type.", ("type",))
REQUESTS: Final = Counter(
    "sidecar_http_requests_total",
    "HTTP requests answered, by method, route template and status.",
    ("method", "route", "status"),
)
REPLAYS: Final = Counter(
    "sidecar_idempotent_replays_total", "Requests answered with the stored answer of their idempotency key."
)
LOAD_FAILURES: Final = Counter(
    "sidecar_policy_load_failures_total",
    "Policy or schema files that were refused while the last good ones stayed in force.",
)
SHADOW: Final = Counter(
    "sidecar_shadow_decisions_total",
    "Decisions compared with the shadow policies, by what came of it; one that was dropped was not compared.",
    ("outcome",),
)
RELOADS: Final = Counter(
    "sidecar_policy_reloads_total",
    "Reloads of policy files beside the running server, by outcome: loaded, unchanged, refused, unavailable.",
    ("outcome",),
)
SHIPPED: Final = Counter("sidecar_shipped_records_total", "Audit records that followers shipped and that were taken.")
ALARMS: Final = Counter(
    "sidecar_follower_alarms_total", "Alarms about audit logs of followers that were changed, forked or set back."
)
PAGES: Final = Counter(
    "sidecar_replica_pages_total",
    "Questions that a follower asked its control plane, by what became of them.",
    ("outcome",),
)
WORKER_STARTS: Final = Counter(
    "sidecar_worker_starts_total", "Worker processes started; more than there are workers: some died."
)

FAMILIES: Final[tuple[Family, ...]] = (
    *(DECISIONS, DURATION, STAGES, BUDGET_DENIALS, TRANSITIONS),
    *(BATCH_SIZE, COMMIT, LOCK, COMMIT_FAILURES, QUEUE, APPENDS),
    *(REQUESTS, REPLAYS, LOAD_FAILURES, RELOADS, SHADOW, PAGES, WORKER_STARTS, SHIPPED, ALARMS),
)


class Counted(Collector):
    """Shows the families with the sums of what each worker counted."""

    def __init__(self, workers: list[Figures]) -> None:
        """Show the figures of ``workers``."""
        self._sums: dict[str, dict[tuple[str, ...], float]] = {family.name: {} for family in FAMILIES}
        for figures in workers:
            for (name, *names), value in figures.items():
                rows = self._sums.get(name)
                if rows is not None:  # what cannot be shown must not keep back what can
                    rows[tuple(names)] = rows.get(tuple(names), 0) + value

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        for family in FAMILIES:
            yield family.metric(self._sums[family.name])

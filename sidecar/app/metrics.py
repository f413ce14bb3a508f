"""What is counted and timed, and the one place where it is fed: a count is one addition in a cell of its own.

A single worker keeps its figures in memory. Several share a folder of files that are mapped into memory, one for each
worker *slot* and not for each process: a worker that is started again goes on where its predecessor in the slot was
killed, so no sum ever goes backwards and the number of files stays what it was at the start.
"""

import time
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from sidecar.app import families
from sidecar.app.cells import Cells, Timer, read_cells
from sidecar.core.model import Decision
from sidecar.core.reasons import CODES
from sidecar.core.shadow import OUTCOMES, Tally
from sidecar.doors.wire.context import Served
from sidecar.replica.follow import OUTCOMES as OUTCOMES_OF_FOLLOWING
from sidecar.replica.follow import Outcome
from sidecar.state.observe import Batch

log: Final = structlog.get_logger("sidecar.metrics")

BUDGET_CODES: Final = frozenset({"currency_not_budgeted", "budget_exceeded", "per_transaction_limit"})

RELOAD_OUTCOMES: Final = ("loaded", "unchanged", "refused", "unavailable")

TRANSITIONS: Final = {"settle": "settled", "release": "released", "expire": "expired", "refund": "refunded"}
"""Types of audit records that tell of a reservation, and what became of it."""

Stage = Literal["parse", "rule", "commit"]

ENDING: Final = ".cells"
"""What the names of the files of a share end with."""


class Share(msgspec.Struct, frozen=True):
    """The folder that the workers of one server share, this worker's place in it, and when the server started."""

    folder: Path
    slot: int
    started_at: float


class Metrics:
    """Implements the observers of the services, of the shadow, of the committer and of the endpoints.

    Each cell is counted in by one thread at a time (see ``cells``): those of commits by whichever thread commits, all
    others by the event loop.
    """

    def __init__(self, share: Share | None = None) -> None:
        """Begin at zero, or in a share where the slot's predecessor ended."""
        self._cells = cells = Cells(None if share is None else cells_file(share.folder, share.slot))
        self._values = cells.values
        self._share = share
        self.started_at = time.time() if share is None else share.started_at
        self._permits = self._place(families.DECISIONS, "allow", "permitted")
        self._denials = {code: self._place(families.DECISIONS, "deny", code) for code in CODES}
        self._budget_denials = {code: self._place(families.BUDGET_DENIALS, code) for code in sorted(BUDGET_CODES)}
        self._held = self._place(families.TRANSITIONS, "held")
        self._transitions = {kind: self._place(families.TRANSITIONS, state) for kind, state in TRANSITIONS.items()}
        self._duration = self._timer(families.DURATION)
        self._parse, self._rule, self._commit_stage = (
            self._timer(families.STAGES, stage) for stage in ("parse", "rule", "commit")
        )
        self._batch = self._timer(families.BATCH_SIZE)
        self._commit = self._timer(families.COMMIT)
        self._lock = self._timer(families.LOCK)
        self._failures = self._place(families.COMMIT_FAILURES)
        self._queue = self._place(families.QUEUE)
        self.waiting(0)  # in a share, what a killed predecessor left there
        self._shadow_failure = ""
        self._kinds: dict[str, int] = {}
        self._answers: dict[tuple[str, str, int], int] = {}
        self._replays = self._place(families.REPLAYS)
        self._load_failures = self._place(families.LOAD_FAILURES)
        self._shadow = {outcome: self._place(families.SHADOW, outcome) for outcome in OUTCOMES}
        self._pages = {outcome: self._place(families.PAGES, outcome) for outcome in OUTCOMES_OF_FOLLOWING}
        self._reloads = {outcome: self._place(families.RELOADS, outcome) for outcome in RELOAD_OUTCOMES}
        self._shipped, self._alarms = self._place(families.SHIPPED), self._place(families.ALARMS)
        self._values[self._place(families.WORKER_STARTS)] += 1

    def _place(self, family: families.Family, *labels: str) -> int:
        return self._cells.place(family.name, *labels)

    def _timer(self, family: families.Histogram, *labels: str) -> Timer:
        return Timer(self._cells, (family.name, *labels), family.bounds)

    def counted(self) -> families.Counted:
        """Return what this worker counted, or all that share its folder, as it is now."""
        if self._share is None:
            return families.Counted([self._cells.shown()])
        return families.Counted([read_cells(path) for path in self._share.folder.glob(f"*{ENDING}")])

    def course(self) -> "_Course":
        """Begin to time one call on its way to a decision."""
        return _Course(self)

    def ruled(self, seconds: float) -> None:
        """Count the time that a decision spent in the stage `rule`."""
        self._rule.observe(seconds)

    def decided(self, seconds: float, decisions: tuple[Decision, ...]) -> None:
        """Count the time that decisions spent in the stage `commit`, and them: they are on disk."""
        self._commit_stage.observe(seconds)
        values = self._values
        for decision in decisions:
            if decision.allowed:
                values[self._permits] += 1
                if decision.expires_at_us is not None:
                    values[self._held] += 1
                continue
            codes = [reason.code for reason in decision.reasons]
            values[self._denials[codes[0]]] += 1
            for code in BUDGET_CODES.intersection(codes):
                values[self._budget_denials[code]] += 1

    def followed(self, outcome: Outcome) -> None:
        """Count a question that a control plane was asked."""
        self._values[self._pages[outcome]] += 1

    def waiting(self, works: int) -> None:
        """Show how much work waits."""
        self._values[self._queue] = works

    def committed(self, batch: Batch) -> None:
        """Count a transaction that is on disk."""
        self._batch.observe(batch.works)
        self._commit.observe(batch.commit_seconds)
        self._lock.observe(batch.waited_seconds)
        values = self._values
        for kind in batch.appended:
            values[self._appended(kind)] += 1
            if kind in self._transitions:
                values[self._transitions[kind]] += 1

    def commit_failed(self) -> None:
        """Count a transaction that was lost."""
        self._values[self._failures] += 1

    def served(self, served: Served) -> None:
        """Count an answered request."""
        method, route, status, seconds, parse_seconds, is_decision, is_replay = served
        key = (method, route, status)
        place = self._answers.get(key)
        if place is None:
            place = self._answers[key] = self._place(families.REQUESTS, method, route, str(status))
        self._values[place] += 1
        if is_replay:
            self._values[self._replays] += 1
        if is_decision and parse_seconds is not None:
            self._parse.observe(parse_seconds)
            if status == 200:  # noqa: PLR2004 -- the status of every decision
                self._duration.observe(seconds)

    def reloaded(self, outcome: str) -> None:
        """Count a reload of policy files while the server runs; a refusal of files is counted by itself as well."""
        self._values[self._reloads[outcome]] += 1
        if outcome == "refused":
            self._values[self._load_failures] += 1

    def shadowed(self, tally: Tally) -> None:
        """Count what became of decisions that were to be compared with the shadow policies."""
        flips = tally.allow_to_deny.count, tally.deny_to_allow.count
        for outcome, count in zip(OUTCOMES, (tally.same, *flips, tally.errors, tally.dropped), strict=True):
            self._values[self._shadow[outcome]] += count

    def shadow_failed(self, error: Exception) -> None:
        """Log why a decision was not compared, once for as long as the reason stays the same."""
        reason = f"{type(error).__name__}: {error}"
        if reason != self._shadow_failure:
            self._shadow_failure = reason
            log.warning("shadow_failed", reason=reason)

    def shipped(self, records: int) -> None:
        """Count audit records that a follower shipped and that are on disk."""
        self._values[self._shipped] += records

    def alarmed(self) -> None:
        """Count a log of a follower that cannot be what it says."""
        self._values[self._alarms] += 1

    def _appended(self, kind: str) -> int:
        place = self._kinds.get(kind)
        if place is None:
            place = self._kinds[kind] = self._place(families.APPENDS, kind)
        return place


class _Course:
    """Times one call; the clock is read here so that services read none."""

    __slots__ = ("_metrics", "_since")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since = time.perf_counter()

    def ruled(self) -> None:
        """End the stage `rule`."""
        now = time.perf_counter()
        self._metrics.ruled(now - self._since)
        self._since = now

    def decided(self, *decisions: Decision) -> None:
        """End the stage `commit` and count what came of it."""
        self._metrics.decided(time.perf_counter() - self._since, decisions)


def cells_file(folder: Path, slot: int) -> Path:
    """Return the file of a slot."""
    return folder / f"{slot}{ENDING}"

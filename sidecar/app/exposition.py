"""The answer of ``/metrics``: what all workers counted, and what the store says of itself at this moment.

Counted figures come from this process or from the files of all slots. What lies in the store is the same for every
worker, so whichever answers looks it up; while the store cannot be read, those families are left out.
"""

import asyncio
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from sidecar.app.metrics import Metrics
from sidecar.core.errors import SidecarError
from sidecar.service.replication import Replication, Standing
from sidecar.state.figures import Figures

MICRO: Final = 1_000_000


class Exposition:
    """Renders the metrics of one worker, or of all that share its folder."""

    def __init__(
        self,
        metrics: Metrics,
        look: Callable[[], Figures | None],
        clock: Callable[[], int],
        replication: Replication | None = None,
    ) -> None:
        """Show ``metrics``; ``look`` is called in the event loop, ``clock`` gives the time in microseconds.

        ``replication`` is None where nothing is followed.
        """
        self._replication = replication
        self._metrics = metrics
        self._look = look
        self._clock = clock
        self._turn = asyncio.Lock()

    async def __call__(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type, as OpenMetrics where ``accept`` asks for it.

        They are gathered in a thread, a few milliseconds for each worker; two calls at a time do not multiply that.
        """
        async with self._turn:
            figures = self._look()
            present = Present(self._metrics.started_at, figures, self._clock(), self._standing(figures))
            return await asyncio.to_thread(self._render, accept, present)

    def _standing(self, figures: Figures | None) -> Standing | None:
        """Return how a follower stands; nothing of a server that follows nobody, or of a store that cannot be read."""
        if self._replication is None or figures is None:
            return None
        with suppress(SidecarError):
            return self._replication.standing()
        return None

    def _render(self, accept: str, present: "Present") -> tuple[bytes, str]:
        registry = CollectorRegistry()
        registry.register(self._metrics.counted())
        registry.register(present)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


class Present(Collector):
    """What is looked up when it is asked for."""

    def __init__(
        self, started_at: float, figures: Figures | None, now_us: int, standing: Standing | None = None
    ) -> None:
        """Show ``figures`` as of ``now_us``, and of a follower its ``standing``."""
        self._standing = standing
        self._started_at = started_at
        self._figures = figures
        self._now_us = now_us

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        build = {
            "version": version("agent-authorization-sidecar"),
            "python": platform.python_version(),
            "cedar": version("cedarpy"),
        }
        yield InfoMetricFamily("sidecar_build", "Versions of the sidecar, of Python and of the policy engine.", build)
        yield GaugeMetricFamily(
            "process_start_time_seconds", "When the server started, in seconds since 1970.", self._started_at
        )
        if self._figures is not None:
            yield from self._of_store(self._figures)
            yield from self._of_policies(self._figures)
        if self._standing is not None:
            yield from _of_follower(self._standing)

    def _of_store(self, seen: Figures) -> Iterator[Metric]:
        late_us = 0 if seen.next_expiry_us is None else max(0, self._now_us - seen.next_expiry_us)
        for name, text, value in (
            ("sidecar_reservations_held", "Reservations that are held now.", seen.entries["expiry"]),
            ("sidecar_audit_records", "Audit records in the store, over all logs.", seen.entries["audit"]),
            ("sidecar_expiry_lag_seconds", "How long the oldest overdue hold waits to be ended.", late_us / MICRO),
            ("sidecar_store_map_bytes", "Address space of the store, which grows by itself.", seen.map_bytes),
            ("sidecar_store_used_bytes", "Bytes of the store's file that were ever in use.", seen.used_bytes),
            ("sidecar_store_disk_free_bytes", "Free bytes on the store's disk.", seen.free_disk_bytes),
            ("sidecar_store_readers", "Read transactions that are open, in all processes.", seen.readers),
        ):
            yield GaugeMetricFamily(name, text, value)
        entries = GaugeMetricFamily("sidecar_store_entries", "Rows in a table of the store.", labels=["table"])
        for table, rows in seen.entries.items():
            entries.add_metric([table], rows)
        yield entries

    def _of_policies(self, seen: Figures) -> Iterator[Metric]:
        if seen.policies is not None:
            revision = {"revision": f"sha256:{seen.policies.hex()}"}
            yield InfoMetricFamily("sidecar_policy_revision", "The policy and schema files that hold.", revision)
        if seen.policies_since_us is not None:
            yield GaugeMetricFamily(
                "sidecar_policy_revision_age_seconds",
                "Time since the policy and schema files that hold were loaded for the first time.",
                max(0, self._now_us - seen.policies_since_us) / MICRO,
            )
            yield GaugeMetricFamily(
                "sidecar_policy_last_load_time_seconds",
                "When policy and schema files were last loaded that are good, in seconds since 1970.",
                seen.policies_since_us / MICRO,
            )


def _of_follower(seen: Standing) -> Iterator[Metric]:
    for name, text, value in (
        ("revision", "Revision of the control plane that decisions are made by.", seen.revision),
        ("lag_revisions", "Revisions of the control plane that are not here yet.", seen.lag_revisions),
        ("age_seconds", "Age of the data, left out while nobody can say.", _seconds(seen.age_us)),
        ("skew_seconds", "How far the control plane's clock is ahead, left out likewise.", _seconds(seen.skew_us)),
        ("connected", "1 where the control plane answered the last question, else 0.", int(seen.link.is_connected)),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"sidecar_replica_{name}", text, value)
    yield GaugeMetricFamily(
        "sidecar_audit_backlog_records", "Audit records that the control plane is not known to have.", seen.backlog
    )


def _seconds(number_us: int | None) -> float | None:
    return None if number_us is None else number_us / MICRO

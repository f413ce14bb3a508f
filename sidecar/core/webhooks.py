"""Webhook endpoints and the life of one delivery: waiting, tried, tried again later, and its end.

    waiting ──2xx──▶ delivered
      │ ├──410──▶ failed, and the endpoint is disabled
      │ └──anything else──▶ waiting for the next attempt, after the last one: failed
      └──the endpoint is disabled or deleted──▶ dropped

The schedule, the meaning of 410 and the signatures during a rotation are those of Standard Webhooks
(https://www.standardwebhooks.com). An endpoint's rows wait in its *lane*; each time it is enabled it gets a new one, so
what waited before is left behind and swept away in small pieces.
"""

from base64 import b64encode
from typing import Final, Literal

import msgspec

from sidecar.core.event_formats import Format, name_in
from sidecar.core.events import ALL, EventType

EndpointStatus = Literal["active", "disabled"]
DeliveryState = Literal["delivered", "retrying", "failed"]

ENDPOINTS_MAX: Final = 20
"""Endpoints of one tenant: each change announces to all of them in its own transaction, one row each."""

WAITING_MAX: Final = 100_000
"""Rows that wait for one endpoint; some 100 MB, after that it is down for good and is disabled."""

DELIVERIES_KEPT: Final = 1_000
"""Entries of one endpoint's delivery log: enough to see what is wrong, and a bound on a busy one."""

DELIVERY_KEPT_US: Final = 30 * 86_400 * 1_000_000
"""How long an entry of the delivery log is shown."""

RETRY_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Pauses before the second and every further attempt, as Standard Webhooks recommends: 10 attempts within 76 hours."""

SCHEDULE_US: Final = sum(RETRY_SECONDS) * 1_000_000

FAILING_US_MAX: Final = 5 * 86_400 * 1_000_000
"""After so long without one success an endpoint is disabled, though a backlog kept each event from its last attempt."""

JITTER_BP_MAX: Final = 1_000
"""A pause grows by up to a tenth, so that what failed together does not come back together."""

SECRET_BYTES: Final = 32
"""Standard Webhooks asks for 24 to 64."""

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 (a prefix, no secret)
_SHOWN: Final = 4
_GONE: Final = 410


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, without its secrets. ``number`` is its place among its tenant's; ``revision`` counts its changes.

    ``format`` never changes: what waits for it is in that format, and ``events`` are names of it.
    """

    webhook_id: str
    number: int
    lane: int
    url: str
    events: tuple[str, ...]
    description: str | None
    status: EndpointStatus = "active"
    disabled_reason: str | None = None
    secret_prefix: str
    created_at_us: int
    revision: int = 1
    format: Format = "standard"


class Secrets(msgspec.Struct, frozen=True):
    """What an endpoint's deliveries are signed with; stored as it is, since signing needs it and a hash cannot sign.

    It is in the store and in the one answer that makes it, never in a log, a record, an error or a stored answer.
    """

    current: bytes
    previous: bytes | None = None
    previous_until_us: int = 0

    def signing(self, now_us: int) -> tuple[bytes, ...]:
        """Return the secrets to sign with, the current one first."""
        if self.previous is None or now_us >= self.previous_until_us:
            return (self.current,)
        return self.current, self.previous

    def rotated(self, fresh: bytes, until_us: int) -> "Secrets":
        """Return the secrets after a rotation: the replaced one signs as well until ``until_us``."""
        return Secrets(fresh, self.current, until_us)


class Interest(msgspec.Struct, frozen=True):
    """One active endpoint as an announcement sees it."""

    number: int
    lane: int
    events: tuple[str, ...]
    format: Format = "standard"

    def wants(self, event_type: EventType) -> bool:
        """Whether the endpoint asked for events of this type, by the name that its format has for it."""
        name = name_in(self.format, event_type)
        return name is not None and (ALL in self.events or name in self.events)


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint; ``attempts`` have been made."""

    event_id: str
    type: str
    body: bytes
    created_at_us: int
    due_at_us: int
    attempts: int = 0


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint is doing since it was enabled. ``failing_since_us`` is the first failure after the last success.

    ``next_due_us`` is when its next attempt is due, None while nothing waits.
    """

    number: int
    waiting: int = 0
    next_due_us: int | None = None
    failing_since_us: int | None = None


class Response(msgspec.Struct, frozen=True):
    """What one attempt met: a status, or in its place an ``error``."""

    status_code: int | None
    error: str | None
    duration_ms: int

    @property
    def is_success(self) -> bool:
        """Whether the endpoint has taken the event."""
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004 -- RFC 9110 section 15.3


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of an endpoint's delivery log: one attempt."""

    event_id: str
    type: str
    attempt: int
    at_us: int
    status_code: int | None
    error: str | None
    duration_ms: int
    next_attempt_at_us: int | None
    state: DeliveryState


class Verdict(msgspec.Struct, frozen=True):
    """What follows from an attempt: its log entry, the row that waits on, and why the endpoint is to be disabled."""

    delivery: Delivery
    waiting: Waiting | None
    failing_since_us: int | None
    disabled_reason: str | None


def judge(waiting: Waiting, lane: Lane, response: Response, now_us: int, jitter_bp: int) -> Verdict:
    """Return what follows from one attempt at ``waiting``; ``jitter_bp`` is 0 to ``JITTER_BP_MAX``.

    An endpoint is disabled when it says that it is gone, when an event had its last attempt and none of any event
    succeeded since its first, and when nothing succeeded for ``FAILING_US_MAX``.
    """
    attempt = waiting.attempts + 1
    due_at_us = None if response.is_success or response.status_code == _GONE else _retry_at(attempt, now_us, jitter_bp)
    failing_since_us = None if response.is_success else _earliest(lane.failing_since_us, now_us)
    delivery = Delivery(
        event_id=waiting.event_id,
        type=waiting.type,
        attempt=attempt,
        at_us=now_us,
        status_code=response.status_code,
        error=response.error,
        duration_ms=response.duration_ms,
        next_attempt_at_us=due_at_us,
        state="delivered" if response.is_success else "failed" if due_at_us is None else "retrying",
    )
    kept = None if due_at_us is None else msgspec.structs.replace(waiting, attempts=attempt, due_at_us=due_at_us)
    return Verdict(delivery, kept, failing_since_us, _reason(delivery, failing_since_us, now_us))


def _retry_at(attempt: int, now_us: int, jitter_bp: int) -> int | None:
    if attempt > len(RETRY_SECONDS):
        return None
    return now_us + RETRY_SECONDS[attempt - 1] * (10_000 + jitter_bp) * 100


def _earliest(failing_since_us: int | None, now_us: int) -> int:
    return now_us if failing_since_us is None else failing_since_us


def _reason(delivery: Delivery, failing_since_us: int | None, now_us: int) -> str | None:
    if failing_since_us is None:
        return None
    if delivery.status_code == _GONE:
        return "gone"
    failing_us = now_us - failing_since_us
    # From its first attempt to its last an event takes at least the whole schedule.
    exhausted = delivery.state == "failed" and failing_us >= SCHEDULE_US
    return "failing" if exhausted or failing_us >= FAILING_US_MAX else None


def secret_text(secret: bytes) -> str:
    """Return a secret as it is shown once."""
    return SECRET_PREFIX + b64encode(secret).decode()


def shown_of(secret: bytes) -> str:
    """Return what may be displayed of a secret: enough to tell two apart."""
    return secret_text(secret)[: len(SECRET_PREFIX) + _SHOWN]

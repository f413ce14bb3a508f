"""The loop that ships a follower's audit log: as soon as there is something, in batches under load, at least once.

It runs beside the loop that follows, in the process on duty, and never ends by itself. What is wrong is logged when it
begins and when it is over, not at each try.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

import structlog

from sidecar.core.errors import Conflict, SidecarError
from sidecar.replica.backoff import full_jitter
from sidecar.replica.control_plane import CONFLICT, Rejected, Unreachable
from sidecar.service.shipping import Parcel, Shipping

log: Final = structlog.get_logger("sidecar.ship")

PATH: Final = "/v1/audit/records"

LOOK_SECONDS: Final = 0.1
"""How often the log is looked at while there is nothing to ship: one small read."""

HEARTBEAT_SECONDS: Final = 10.0
"""How often the control plane hears of this follower while there is nothing to ship."""

POST_SECONDS: Final = 30.0
"""How long the control plane may take: a batch is some milliseconds of work, and others ship too."""

PAUSE_SECONDS_MIN: Final = 0.25
PAUSE_SECONDS_MAX: Final = 30.0
"""The pause after a failure is drawn from nothing to the first of these, doubled with each further one up to the last:
followers that lost their control plane together do not come back together."""


class Plane(Protocol):
    """The control plane, as far as it is posted to."""

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> bytes:
        """Post ``body`` and return the answer."""


class Pace(NamedTuple):
    """How time passes: a clock in seconds, how to wait, and a fraction that is drawn for a pause."""

    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    fraction: Callable[[], float]


class Shipper:
    """Ships one follower's log."""

    def __init__(self, shipping: Shipping, plane: Plane, pace: Pace) -> None:
        """Ship to ``plane`` what ``shipping`` gives."""
        self._shipping = shipping
        self._plane = plane
        self._pace = pace
        self._asked_at: float | None = None
        self._is_confirmed = False
        self._failures = 0
        self._failure = ""

    async def run(self) -> None:
        """Ship until cancelled; it lives through every failure."""
        while True:
            await self._pace.sleep(await self.ship_once())

    async def ship_once(self) -> float:
        """Ask, ship a batch, or find nothing to do; return in how many seconds to go on."""
        try:
            sent = await self._ship()
        except Conflict as error:  # the control plane is told at once
            self._fail(error.message, error)
            self._asked_at = None
            return PAUSE_SECONDS_MIN if self._failures == 1 else self._pause(error)
        except SidecarError as error:
            if _is_conflict(error):
                await self._refuse(error.message)
            self._asked_at = None
            self._fail(error.message, error)
            return self._pause(error)
        except Exception as error:
            self._asked_at = None
            self._failures += 1
            log.exception("shipping_failed")
            return self._pause(error)
        if sent is not None and self._failures:
            log.info("shipping_resumed")
            self._failures, self._failure = 0, ""
        return LOOK_SECONDS if sent is None or sent.to_seq == sent.head else 0.0

    async def confirm(self) -> None:
        """Have the control plane say, once in the life of this process, whether this log goes on from what it has.

        What it says is kept: a store that was set back while nobody ran has a fault when this returns. Raises
        SidecarError where nothing was said.
        """
        if self._is_confirmed:
            return
        try:
            for pack in (self._shipping.question, self._shipping.parcel):  # the second tells where both went on
                parcel = await asyncio.to_thread(pack)
                if parcel is not None:
                    await self._post(parcel)
        except SidecarError as error:
            if _is_conflict(error):
                await self._shipping.refused(error.message)
            elif not isinstance(error, Conflict):  # which is noted already
                raise
        self._is_confirmed = True

    async def _ship(self) -> Parcel | None:
        now = self._pace.clock()
        parcel = None if self._asked_at is None else await asyncio.to_thread(self._shipping.parcel)
        if parcel is None:
            if self._asked_at is not None and now - self._asked_at < HEARTBEAT_SECONDS:
                return None
            parcel = await asyncio.to_thread(self._shipping.question)
        if parcel is None:
            return None
        await self._post(parcel)
        self._asked_at = now
        return parcel

    async def _post(self, parcel: Parcel) -> None:
        answer = await self._plane.post(PATH, parcel.body, POST_SECONDS)
        await self._shipping.received(parcel, answer)

    async def _refuse(self, reason: str) -> None:
        try:
            await self._shipping.refused(reason)
        except SidecarError as error:  # the next try says so again
            log.warning("shipping_fault_not_kept", reason=error.message)

    def _fail(self, reason: str, error: SidecarError) -> None:
        """Count a failure, and log it where it is another than the last one."""
        self._failures += 1
        if reason != self._failure:
            self._failure = reason
            is_refusal = isinstance(error, Conflict | Rejected)
            (log.error if is_refusal else log.warning)("shipping_failed", reason=reason)

    def _pause(self, error: Exception) -> float:
        drawn = full_jitter(self._failures - 1, PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX, self._pace.fraction)
        asked = error.retry_after_seconds if isinstance(error, Unreachable) else None
        return drawn if asked is None else max(float(asked), drawn)


def _is_conflict(error: SidecarError) -> bool:
    """Whether the control plane says that this log does not go on from what it has."""
    return isinstance(error, Rejected) and error.status == CONFLICT

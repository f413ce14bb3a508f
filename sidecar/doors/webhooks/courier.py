"""Which attempts run at a time: many endpoints at once, a few attempts each, and none waits for another's.

An endpoint gets up to ``LANE_ATTEMPTS_MAX`` attempts at a time, one while it fails, and failing ones together get half
of all there are, so that endpoints that hang until they time out cannot keep the others waiting. Work that is done
brings the next of the same endpoint at once; a failing one waits for the next tick.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from sidecar.core.errors import SidecarError
from sidecar.doors.webhooks.sender import Sender
from sidecar.service.deliveries import SWEPT_AT_ONCE, Dispatch, Parcel, Place

log: Final = structlog.get_logger("sidecar.webhooks")

ATTEMPTS_MAX: Final = 256
"""Attempts at a time: a socket and some ten KB each."""

FAILING_ATTEMPTS_MAX: Final = 128
"""Of them, those of endpoints whose newest attempt failed."""

LANE_ATTEMPTS_MAX: Final = 4
"""Attempts at a time for one endpoint that is well; more would take its events further out of order."""

UNRECORDED_SECONDS: Final = 30.0
"""How long an event rests whose outcome could not be written: without it, it would be sent again at each tick."""


class Courier:
    """Sends what is due. Every method belongs to one event loop."""

    def __init__(self, dispatch: Dispatch, sender: Sender, clock: Callable[[], int]) -> None:
        """Send what ``dispatch`` gives out."""
        self._dispatch = dispatch
        self._sender = sender
        self._clock = clock
        self._running: dict[Place, dict[str, asyncio.Task[None]]] = {}
        self._failing: set[Place] = set()
        self._count = 0
        self._failing_count = 0

    def tick(self) -> None:
        """Start what is due and has room; returns at once. A lane without room is passed over without a look.

        A lane that cannot be read is logged and passed over, and its neighbours are served.
        """
        ready = self._dispatch.ready(self._clock())
        self._failing.intersection_update(ready)
        for place in ready:
            if self._count >= ATTEMPTS_MAX:
                break
            if self._room(place) > 0:
                self._go_on(place)

    async def sweep(self) -> bool:
        """Remove some of what waits for endpoints that were disabled or deleted; whether more is left."""
        return await self._dispatch.sweep() == SWEPT_AT_ONCE

    async def close(self) -> None:
        """Give up what is under way, which is sent again by whoever comes next, and close the connections."""
        tasks = [task for running in self._running.values() for task in running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sender.close()

    def _fill(self, place: Place) -> None:
        """Start what is due in one lane, as far as there is room."""
        work = self._dispatch.due(place, self._clock(), LANE_ATTEMPTS_MAX)
        is_failing = work is not None and work.is_failing
        (self._failing.add if is_failing else self._failing.discard)(place)
        running = self._running.get(place, {})
        fresh = [each for each in (() if work is None else work.parcels) if each.waiting.event_id not in running]
        for parcel in fresh[: self._room(place)]:
            task = asyncio.create_task(self._attempt(parcel, is_failing=is_failing))
            self._running.setdefault(place, {})[parcel.waiting.event_id] = task
            self._count += 1
            self._failing_count += is_failing

    def _room(self, place: Place) -> int:
        """Return how many attempts may be added in one lane."""
        most, room = LANE_ATTEMPTS_MAX, ATTEMPTS_MAX - self._count
        if place in self._failing:
            most, room = 1, min(room, FAILING_ATTEMPTS_MAX - self._failing_count)
        return max(0, min(room, most - len(self._running.get(place, ()))))

    async def _attempt(self, parcel: Parcel, *, is_failing: bool) -> None:
        place, event_id = parcel.place, parcel.waiting.event_id
        is_success = False
        try:
            response = await self._sender.send(parcel, self._clock())
            await self._dispatch.record(parcel, response, self._clock())
            is_success = response.is_success
        except SidecarError as error:
            log.warning("webhook_outcome_not_recorded", event_id=event_id, reason=error.message)
            await asyncio.sleep(UNRECORDED_SECONDS)
        except Exception:
            log.exception("webhook_attempt_failed", event_id=event_id)
            await asyncio.sleep(UNRECORDED_SECONDS)
        finally:
            self._count -= 1
            self._failing_count -= is_failing
            del self._running[place][event_id]
            if not self._running[place]:
                del self._running[place]
        if is_success:
            self._go_on(place)

    def _go_on(self, place: Place) -> None:
        try:
            self._fill(place)
        except SidecarError as error:
            log.warning("webhook_work_failed", tenant=place.tenant, lane=place.lane, reason=error.message)
        except Exception:
            log.exception("webhook_work_failed", tenant=place.tenant, lane=place.lane)

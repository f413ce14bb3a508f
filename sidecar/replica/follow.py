"""The loop that follows a control plane: asks for what is wanted, has it applied, and never ends by itself.

It is run by the process on duty alone. Whatever comes or does not come, the last good state stays: a question that
failed is put again after a pause that grows, drawn at random so that followers which lost their control plane together
do not come back together. Each change of how things stand is told once, in the log and in the store.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Literal, get_args

import structlog

from sidecar.core.errors import SidecarError, ValidationFailed
from sidecar.core.feed import Page, read_page
from sidecar.core.staleness import Instant
from sidecar.replica.backoff import doubled, full_jitter
from sidecar.replica.control_plane import ANSWER_SECONDS, CONFLICT, ControlPlane, Rejected, Unreachable
from sidecar.service.feed_store import Link
from sidecar.service.following import Following, WantsPage, WantsSnapshot
from sidecar.service.replication import Replication

log: Final = structlog.get_logger("sidecar.follow")

WAIT_SECONDS_MAX: Final = 5
"""How long the control plane may wait for something new before it says that there is nothing; the age of what a quiet
follower has goes up to twice this."""

WAITS_OF_LIMIT: Final = 3
"""How many such waits fit into the least age that is allowed, so that a quiet control plane makes nothing old."""

ANSWER_SECONDS_MIN: Final = 2.0
"""How long the control plane may take at least, beside the wait, until it begins to answer. It may take a part of the
least age that is allowed where that is more, so that a connection which was lost without a word is given up in time,
and twice as long after each failure: one that is slow must be heard in the end."""

IDLE_SECONDS: Final = 1.0
"""The pause after an answer that came at once and brought nothing, as from a control plane too busy to let one wait."""

BACKOFF_SECONDS_MIN: Final = 0.25
BACKOFF_SECONDS_MAX: Final = 15.0
"""Bounds of the pause after a failure. It is drawn from zero up to a limit that doubles with each (full jitter)."""

PAUSES_OF_LIMIT: Final = 2
"""How many of the longest pauses that a control plane can ask for fit into the least age that is allowed: one answer
that asks for more, as of a proxy before one that restarts, must not make everything old."""

PAUSE_SECONDS_MIN: Final = 0.05
"""The least pause after a failure: a draw near zero must not make it a loop without any."""

UNKNOWN_TOKEN: Final = 401
REFUSALS_OF_TOKEN: Final = frozenset({UNKNOWN_TOKEN, 403})
REFUSALS_OF_CURSOR: Final = frozenset({400, CONFLICT})
"""What a control plane answers where a snapshot cannot go on; a 404 may be that of a proxy before one that restarts,
for which nothing of what has come is to be dropped."""

Outcome = Literal[
    "applied", "confirmed", "staged", "compacted", "ignored", "refused", "unreachable", "not_stored", "failed"
]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
"""What became of a question: the answer was taken in one of five ways (``sidecar.service.following.Taken``), or it was
refused by either side, did not come, or could not be stored; ``failed`` is a mistake of ours."""

_MICRO: Final = 1_000_000


class Follower:
    """Follows one control plane; one at a time may do so in a store."""

    def __init__(
        self,
        plane: ControlPlane,
        following: Following,
        replication: Replication,
        instant: Callable[[], Instant],
        least_age_seconds: int,
        count: Callable[[Outcome], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Ask ``plane`` and have ``following`` take what it says.

        ``least_age_seconds`` is the smallest age at which data is too old for some action. ``count`` is told of every
        outcome. ``draw`` gives numbers from 0 up to 1.
        """
        self._plane = plane
        self._following = following
        self._replication = replication
        self._instant = instant
        self._count = count
        self._sleep = sleep
        self._draw = draw
        self._wait_seconds = min(WAIT_SECONDS_MAX, least_age_seconds // WAITS_OF_LIMIT)
        self._idle_seconds = min(IDLE_SECONDS, least_age_seconds / WAITS_OF_LIMIT)
        self._answer_seconds = max(ANSWER_SECONDS_MIN, least_age_seconds / WAITS_OF_LIMIT)
        self._asked_seconds_max = max(BACKOFF_SECONDS_MAX, least_age_seconds / PAUSES_OF_LIMIT)
        self._failures = 0
        self._link = Link(is_connected=False)
        self._told: tuple[str, str] | None = None
        self._head = 0
        self._has_connected = self._is_caught_up = False
        self._is_current = False  # whether the last answer left nothing to ask for but news

    async def run(self) -> None:
        """Follow until cancelled."""
        self._link = self._replication.link()
        # What another process or another life left there says nothing of now.
        await self._keep(Link(is_connected=False, error=self._link.error, head=self._link.head))
        while True:
            await self._sleep(await self.step())

    async def step(self) -> float:
        """Put one question, have its answer taken, and return for how many seconds to pause before the next one."""
        asked = self._instant()
        outcome, error = await self._outcome(asked)
        self._count(outcome)
        await self._keep(self._link_after(outcome, error))
        self._tell(outcome, error)
        was_current, self._is_current = self._is_current, outcome in {"applied", "confirmed"}
        return self._pause(outcome, error, asked, is_first=self._is_current and not was_current)

    async def _outcome(self, asked: Instant) -> tuple[Outcome, SidecarError | None]:
        try:
            return await self._ask(asked), None
        except Unreachable as error:
            return "unreachable", error
        except (Rejected, ValidationFailed) as error:
            return "refused", error
        except SidecarError as error:
            return "not_stored", error
        except Exception:
            log.exception("following_failed")
            return "failed", SidecarError("something unexpected happened, see the log")

    async def _ask(self, asked: Instant) -> Outcome:
        wanted = self._following.wanted()
        if isinstance(wanted, WantsPage):
            page = await self._page(wanted)
            self._head = page.head
            return await self._following.take_page(page, asked)
        return await self._take_snapshot(wanted)

    async def _page(self, wanted: WantsPage) -> Page:
        # At first, after a failure and behind a snapshot what is here is old: that nothing is newer must not wait.
        wait = self._wait_seconds if self._is_current else 0
        answer = doubled(self._failures, self._answer_seconds, ANSWER_SECONDS)
        try:
            given = await self._plane.page(wanted.since, wanted.files_digest, wait, wanted.mark, answer)
        except Rejected as error:
            if wanted.is_staged and error.status == CONFLICT:
                await self._following.begin_anew()  # what is staged is of a state that is there no more
            raise
        return read_page(given)

    async def _take_snapshot(self, wanted: WantsSnapshot) -> Outcome:
        try:
            async with self._plane.snapshot(wanted.cursor, wanted.mark) as lines:
                await self._following.take_snapshot(lines)
        except Rejected as error:
            if wanted.cursor is not None and error.status in REFUSALS_OF_CURSOR:
                await self._following.begin_anew()  # it cannot go on there: too much has changed since
            raise
        return "staged"

    def _link_after(self, outcome: Outcome, error: SidecarError | None) -> Link:
        """Return how things stand after a question; a failure that is not the network's leaves the connection."""
        is_answered = outcome not in {"unreachable", "failed"} and not isinstance(error, Rejected)
        return Link(is_connected=is_answered, error=None if error is None else error.message, head=self._known_head())

    def _known_head(self) -> int:
        return max(self._head, self._link.head)

    async def _keep(self, link: Link) -> None:
        """Keep how things stand where that changed; where it cannot be kept, the next question tries again."""
        said = (self._link.is_connected, self._link.error)
        if said == (link.is_connected, link.error) and (link.error is None or link.head == self._link.head):
            return  # the head of an answer that was taken is in the contact
        try:
            await self._replication.keep_link(link)
        except SidecarError as error:
            log.debug("link_not_kept", reason=error.message)
            return
        self._link = link

    def _tell(self, outcome: Outcome, error: SidecarError | None) -> None:
        """Log how things stand, once while that does not change."""
        url = self._plane.url
        if error is None:
            if self._told is not None or not self._has_connected:
                log.info("control_plane_connected", url=url)
            self._told, self._has_connected = None, True
            if outcome in {"applied", "confirmed"} and not self._is_caught_up:
                log.info("control_plane_caught_up", url=url, revision=self._head)
            self._is_caught_up = outcome not in {"staged", "compacted"}
            return
        self._is_caught_up = False
        told = outcome, _kind(outcome, error)
        if self._told == told:
            return
        self._told = told
        if isinstance(error, Rejected) and error.status in REFUSALS_OF_TOKEN:
            log.error("control_plane_refuses_token", url=url, reason=error.message)
        elif outcome == "unreachable":
            log.warning("control_plane_lost", url=url, reason=error.message)
        else:
            log.warning("feed_not_taken", url=url, outcome=outcome, reason=error.message)

    def _pause(self, outcome: Outcome, error: SidecarError | None, asked: Instant, *, is_first: bool) -> float:
        """Return how long to wait: not at all after news, else so that neither side is kept busy for nothing.

        ``is_first`` says that the control plane was not asked to wait, and will be.
        """
        if error is None:
            self._failures = 0
            if outcome in {"applied", "staged"} or is_first:
                return 0.0
            waited = (self._instant().boottime_us - asked.boottime_us) / _MICRO
            return 0.0 if 2 * waited >= self._idle_seconds else self._idle_seconds
        drawn = max(
            PAUSE_SECONDS_MIN, full_jitter(self._failures, BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX, self._draw)
        )
        self._failures += 1
        asked_for = error.retry_after_seconds if isinstance(error, Unreachable) else None
        return drawn if asked_for is None else min(asked_for, self._asked_seconds_max) + drawn


def _kind(outcome: Outcome, error: SidecarError) -> str:
    """Return what tells one failure from another of its outcome: lost is lost, unknown unknown, in any words."""
    is_one = outcome == "unreachable" or (isinstance(error, Rejected) and error.status == UNKNOWN_TOKEN)
    return "" if is_one else error.message

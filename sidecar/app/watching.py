"""Watched folders: what changed there is tried once it has come to rest.

A content is tried when two looks in a row found it and it is not what was tried last, however that ended: a refused one
waits until it changes. What was tried last is kept in the store, so that whoever watches next does not begin anew. The
process that does the background work watches, and no other. This is a task of its own: holds expire while files are
loaded, and files are looked at while much expires.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from sidecar.core.errors import SidecarError

log: Final = structlog.get_logger("sidecar.watch")

TICK_SECONDS: Final = 0.25
"""Between two looks at folders in which nothing happens."""

REST_SECONDS: Final = 0.1
"""Between the look that saw a change and the one that must find the same."""

SHARE_MAX: Final = 20
"""A look at very many files may take one part in so many of the time."""

RETRY_SECONDS: Final = 5.0
"""Pause after a reload that nobody could find the outcome of, such as for want of room."""


class Watcher:
    """Watches one set of folders for changes."""

    def __init__(
        self,
        look: Callable[[], bytes],
        tried: Callable[[], bytes | None],
        reload: Callable[[], Awaitable[object]],
        is_on_duty: Callable[[], bool],
    ) -> None:
        """Compare what ``look`` returns, called in a thread, with what ``tried`` names, and ``reload`` what is new."""
        self._look = look
        self._tried = tried
        self._reload = reload
        self._is_on_duty = is_on_duty
        self._last: bytes | None = None

    async def run(self) -> None:
        """Watch until cancelled; whatever fails is logged and tried again."""
        while True:
            pause = TICK_SECONDS
            if self._is_on_duty():
                try:
                    pause = await self._step()
                except SidecarError as error:
                    log.warning("watch_failed", reason=error.message)
                    pause = RETRY_SECONDS
                except Exception:
                    log.exception("watch_failed")
                    pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _step(self) -> float:
        """Look once, reload what is new and at rest, and return how long to pause."""
        began = time.monotonic()
        content = await asyncio.to_thread(self._look)
        seconds = time.monotonic() - began
        last, self._last = self._last, content
        if content == self._tried():
            return max(TICK_SECONDS, SHARE_MAX * seconds)
        if content != last:
            return max(REST_SECONDS, seconds)
        await self._reload()
        return TICK_SECONDS

"""What the proxy does with what a permit holds: settled when its call is done, released when it is not.

Whether and when is said by the mapping of the tool. What is not ended here stays held until it expires.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from sidecar.core.errors import Forbidden, SidecarError
from sidecar.doors.mcp.arbiter import Verdict
from sidecar.doors.mcp.messages import Outcome

ENDING_ATTEMPTS: Final = 3
"""How often a settlement or release is tried; what stays held then expires."""

ENDING_PAUSE_SECONDS: Final = 0.5
"""Between two of them."""


class Arbiter(Protocol):
    """Whoever decides. Each method raises SidecarError where there is no answer."""

    async def ask(self, params: msgspec.Raw, key: str) -> Verdict:
        """Return what is decided of a call; the same key stands for the same call."""

    async def shown(self, names: list[str]) -> set[str]:
        """Return which tools are shown."""

    async def settle(self, decision_id: str) -> None:
        """Settle what a decision holds."""

    async def release(self, decision_id: str) -> None:
        """Free what a decision holds. Raises Forbidden where the caller may not."""


class Holds:
    """Ends what the permits of one session hold."""

    def __init__(
        self, arbiter: Arbiter, tell: Callable[[str], None], pause: Callable[[float], Awaitable[None]]
    ) -> None:
        """End them by ``arbiter``, and ``tell`` of what stays held."""
        self._arbiter = arbiter
        self._tell = tell
        self._pause = pause
        self._told_of_release = False

    async def settle_at_once(self, verdict: Verdict) -> None:
        """Settle what is to be settled before its call. Raises SidecarError, with all of it released if possible."""
        if verdict.settle == "at_once" and verdict.holds and verdict.decision_id is not None:
            try:
                await self._arbiter.settle(verdict.decision_id)
            except SidecarError:
                await self.release(verdict)
                raise

    async def end(self, verdict: Verdict, outcome: Outcome) -> None:
        """Settle or release what a call held, once it has ended, if its mapping wants it so."""
        if verdict.settle == "on_result":
            await (self._settle(verdict) if outcome == "done" else self.release(verdict))

    async def _settle(self, verdict: Verdict) -> None:
        await self._conclude(verdict, self._arbiter.settle)

    async def release(self, verdict: Verdict) -> None:
        """Release what a call held that was not made, or not done."""
        await self._conclude(verdict, self._arbiter.release)

    async def _conclude(self, verdict: Verdict, end: Callable[[str], Awaitable[None]]) -> None:
        """End what is held, if anything is; it is tried again for a while, as nobody waits for it."""
        if not verdict.holds or verdict.decision_id is None:
            return
        for left in range(ENDING_ATTEMPTS - 1, -1, -1):
            try:
                await end(verdict.decision_id)
            except Forbidden:
                self._tell_of_release()
            except SidecarError as error:
                if left:
                    await self._pause(ENDING_PAUSE_SECONDS)
                    continue
                self._tell(f"what `{verdict.decision_id}` holds stays held until it expires: {error.message}")
            return

    def _tell_of_release(self) -> None:
        if not self._told_of_release:
            self._told_of_release = True
            self._tell("calls that fail stay held until they expire: releasing needs a token with `may_release`")

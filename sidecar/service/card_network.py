"""What card networks ask and tell: a swipe that is decided like any payment, and events that are booked on its hold."""

from collections.abc import Callable

import msgspec

from sidecar.core.card_events import CardEvent, CardProgram, Swipe, Told
from sidecar.core.model import Decision
from sidecar.service.authorize import Authorizer
from sidecar.service.observe import Observer, Unobserved
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store


class Asked(msgspec.Struct, frozen=True):
    """The decision on a swipe, and whether it is the one that the same request of the network was answered before."""

    decision: Decision
    repeated: bool = False


class CardNetwork:
    """Decides swipes and books what networks tell, for every tenant. Who asks was authenticated by its door."""

    def __init__(
        self,
        store: Store,
        authorizer: Authorizer,
        snapshots: Snapshots,
        new_id: Callable[[str, int], str],
        observer: Observer | None = None,
    ) -> None:
        """Decide as ``authorizer`` does."""
        self._store = store
        self._authorizer = authorizer
        self._snapshots = snapshots
        self._new_id = new_id
        self._observer = observer or Unobserved()

    async def ask(self, tenant_id: str, program: CardProgram, swipe: Swipe, now_us: int) -> Asked:
        """Decide ``swipe`` and return once the decision is on disk.

        The same request again, by ``event_id``, gets the same answer and changes nothing, whatever was blocked
        meanwhile. Raises NotFound for a card that nobody knows, ValidationFailed for a request that does not fit,
        IdempotencyConflict for an ``event_id`` with other content, Conflict for too many requests of one
        authorization, Unavailable when it cannot be recorded; nothing is changed then.
        """
        raise NotImplementedError

    async def tell(self, tenant_id: str, program: CardProgram, event: CardEvent, now_us: int) -> Told:
        """Record ``event``, book what it tells, and return what became of it once that is on disk.

        Raises ValidationFailed for an event that cannot be (a text or figure beyond its limits), Unavailable when it
        cannot be recorded; nothing is changed then.
        """
        raise NotImplementedError

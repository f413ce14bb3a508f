"""What the control plane decides and holds for its followers, under the followers' decision ids."""

from sidecar.core.access import Caller
from sidecar.core.delegation import Word
from sidecar.core.model import AuthorizeRequest
from sidecar.service.authorize import Authorizer
from sidecar.service.store import Store


class Reservations:
    """Decides for followers."""

    def __init__(self, store: Store, authorizer: Authorizer) -> None:
        """Decide as ``authorizer`` does."""
        self._store = store
        self._authorizer = authorizer

    async def reserve(self, caller: Caller, decision_id: str, request: AuthorizeRequest, now_us: int) -> Word:
        """Decide a follower's request by every budget that is not its own, and hold what is granted.

        The same decision id with the same request returns the first word. Raises Forbidden for anyone but a follower,
        NotFound for an identity outside its scope, IdempotencyConflict for another request, Conflict for a decision id
        that is not this follower's, Unavailable.
        """
        raise NotImplementedError

    async def cancel(self, caller: Caller, decision_id: str, now_us: int) -> None:
        """Release what is held for a decision of a follower, or see to it that a late request holds nothing.

        A second time changes nothing. Raises Forbidden, NotFound for a decision that is not this follower's.
        """
        raise NotImplementedError

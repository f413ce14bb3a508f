"""What the control plane may hold for a follower and no permit stands for: cancelled until it is acknowledged."""

from sidecar.service.delegation import Delegate
from sidecar.service.store import Store


class Canceller:
    """Cancels reservations at the control plane that came to nothing."""

    def __init__(self, store: Store, delegate: Delegate) -> None:
        """Work on ``store`` through ``delegate``."""
        self._store = store
        self._delegate = delegate

    async def cancel_due(self, now_us: int) -> int:
        """Cancel some of what is due; returns how many were acknowledged. Raises Unavailable where no answer came."""
        raise NotImplementedError

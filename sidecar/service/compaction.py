"""The change feed is kept as far back as followers are expected to come from; who is further behind takes a snapshot."""

from sidecar.service.store import Store


class Compactor:
    """Forgets old entries of the change feed."""

    def __init__(self, store: Store, kept: int) -> None:
        """Keep the last ``kept`` revisions of each tenant in ``store``."""
        self._store = store
        self._kept = kept

    async def compact_some(self) -> bool:
        """Forget some entries of some tenants; returns whether there may be more to do at once."""
        raise NotImplementedError

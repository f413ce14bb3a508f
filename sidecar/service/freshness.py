"""Whether the data of a follower is fresh enough to decide on, looked at in the transaction that decides.

What is known of the control plane lies in the store, so all workers see a contact together; the clocks are read here,
once a look. A server that follows nobody has no ``Freshness`` at all.
"""

from collections.abc import Callable

from sidecar.core.errors import Unavailable
from sidecar.core.schema import SchemaModel
from sidecar.core.staleness import Freshly, Instant, StalenessLimits, age_us, is_timed, lead_us
from sidecar.service.store import Transaction


class Freshness:
    """How old the data of this follower may be, and is."""

    def __init__(self, limits: StalenessLimits, instant: Callable[[], Instant]) -> None:
        """Judge by ``limits``; ``instant`` reads the clocks."""
        self._limits = limits
        self._instant = instant

    def look(self, txn: Transaction, schema: SchemaModel, action: str, now_us: int) -> Freshly:
        """Return how old the data is that a request of ``action`` is decided on at its time.

        An action that the schema does not know is in no group. Raises Unavailable where nothing was followed yet: that
        is no state to decide on, not even to deny.
        """
        replica = txn.replica
        if replica.state() is None:
            raise Unavailable("nothing has come from the control plane yet")
        known = schema.actions.get(action)
        contact, now = replica.contact(), self._instant()
        return Freshly(
            age_us=age_us(contact, now),
            limit_us=self._limits.of(action, () if known is None else known.groups),
            skew_us=0 if contact is None else lead_us(contact, now, now_us),
            fault=replica.fault(),
        )

    def may_expire(self, txn: Transaction, now_us: int) -> bool:
        """Whether the time is sure enough to end holds by it.

        It is not where it is off the control plane's, where nobody confirmed it since the machine started, and where
        there is a fault: what is held stays held, which costs nobody more than patience.
        """
        replica = txn.replica
        return replica.fault() is None and is_timed(replica.contact(), self._instant(), now_us)

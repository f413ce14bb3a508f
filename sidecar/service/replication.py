"""How a server stands with the control plane that it follows: what it has, how old that is, and what is wrong.

Everything is read from the store, so that all worker processes say the same, whichever of them does the following.
"""

from collections.abc import Callable

import msgspec

from sidecar.core.errors import Unavailable
from sidecar.core.staleness import Instant, age_us, skew_us
from sidecar.service.feed_store import Link, ReplicaState
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, Transaction


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a follower. ``state`` is None before the first time that it had the whole state.

    ``head`` is the newest revision that the control plane was heard to have; ``age_us`` how old the data is and
    ``skew_us`` how far the control plane's clock is ahead, None where nobody can say. ``staged`` counts the records of
    a snapshot that have come, None while none is being taken. ``fault`` is why nothing may be decided until someone has
    looked. ``records`` and ``shipped`` count the audit log: how long it is, and how much the control plane has of it.
    """

    state: ReplicaState | None
    link: Link
    head: int
    age_us: int | None
    skew_us: int | None
    staged: int | None
    fault: str | None
    records: int
    shipped: int

    @property
    def revision(self) -> int | None:
        """The control plane's revision that decisions are made by, None before there is any."""
        return None if self.state is None else self.state.revision

    @property
    def lag_revisions(self) -> int:
        """How many revisions of the control plane are missing here, as far as anybody heard."""
        return max(0, self.head - (self.revision or 0))

    @property
    def backlog(self) -> int:
        """How many audit records wait to be shipped."""
        return max(0, self.records - self.shipped)


class Replication:
    """What the store of a follower says of its following."""

    def __init__(self, store: Store, snapshots: Snapshots, instant: Callable[[], Instant], control_plane: str) -> None:
        """Look into ``store``; ``instant`` gives the present moment, ``control_plane`` is the address followed."""
        self.control_plane = control_plane
        self._store = store
        self._snapshots = snapshots
        self._instant = instant

    def standing(self) -> Standing:
        """Return how this server stands."""
        with self._store.read() as txn:
            return self._standing(txn)

    def told(self) -> tuple[Standing, str | None]:
        """Return how this server stands, and the revision of the tenant's policies, None before there are any."""
        with self._store.read() as txn:
            standing = self._standing(txn)
            tenant = None if standing.state is None else txn.tenants.find(standing.state.tenant_id)
            revision = None if tenant is None else self._snapshots.policies(txn, txn.of(tenant)).revision
            return standing, revision

    def is_synced(self) -> bool:
        """Whether the whole state was here once and the control plane knows this log, so that decisions can be made."""
        with self._store.read() as txn:
            state = txn.replica.state()
            return state is not None and txn.replica.acknowledged() == state.follower_id

    def require_ready(self) -> None:
        """Raise Unavailable, saying why, unless decisions can be made."""
        with self._store.read() as txn:
            state, link, fault = txn.replica.state(), txn.replica.link(), txn.replica.fault()
            acknowledged = txn.replica.acknowledged()
        if state is None:
            why = "" if link is None or link.error is None else f": {link.error}"
            raise Unavailable(f"this server has nothing of its control plane yet{why}")
        if fault is not None:
            raise Unavailable(f"this server must not decide until someone has looked: {fault}")
        if acknowledged != state.follower_id:
            raise Unavailable("the control plane has not taken the audit log of this server yet")

    def link(self) -> Link:
        """Return how it stands between this server and its control plane."""
        with self._store.read() as txn:
            return txn.replica.link() or Link(is_connected=False)

    async def keep_link(self, link: Link) -> None:
        """Note how it stands. Raises Unavailable where that cannot be stored."""
        await self._store.write(lambda txn: txn.replica.keep_link(link))

    def _standing(self, txn: Transaction) -> Standing:
        replica, now = txn.replica, self._instant()
        state, contact, staging = replica.state(), replica.contact(), replica.staging()
        link = replica.link() or Link(is_connected=False)
        tenant = None if state is None else txn.tenants.find(state.tenant_id)
        return Standing(
            state=state,
            link=link,
            head=max(link.head, 0 if contact is None else contact.head),
            age_us=age_us(contact, now),
            skew_us=None if contact is None else skew_us(contact, now),
            staged=None if staging is None else staging.records,
            fault=replica.fault(),
            records=0 if tenant is None else txn.of(tenant).audit.head().next_index,
            shipped=replica.shipped(),
        )

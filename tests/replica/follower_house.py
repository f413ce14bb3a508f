"""A follower in this process, over a store of its own: the product's loop, put one step forward at a time.

Nothing waits: a pause that the loop asks for passes on the clock that is set by hand.
"""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from sidecar.core.access import Caller
from sidecar.core.ids import new_id
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.staleness import DEFAULT_LIMITS, Instant
from sidecar.replica.control_plane import ControlPlane
from sidecar.replica.follow import Follower, Outcome
from sidecar.service.authorize import Authorizer
from sidecar.service.feed_store import ReplicaState
from sidecar.service.following import Following
from sidecar.service.following_policies import VetPolicies
from sidecar.service.freshness import Freshness
from sidecar.service.replication import Replication
from sidecar.service.snapshots import Snapshots
from sidecar.state.environment import open_environment
from sidecar.state.fsck import check
from sidecar.state.headroom import Headroom
from sidecar.state.store import LmdbStore
from tests.doors.door import SetClock
from tests.replica.control_plane_house import State
from tests.service.builders import CountingIds

LIMITS: Final = DEFAULT_LIMITS
MAP_SIZE: Final = 1 << 24
MICRO: Final = 1_000_000
GOOD: Final[frozenset[Outcome]] = frozenset({"applied", "confirmed"})
OPERATOR: Final = Caller("operator")


class FollowerHouse:
    """One follower. ``asked_us`` is when it asked last what was answered with the newest state, None for never."""

    def __init__(
        self,
        folder: Path,
        runner: asyncio.Runner,
        clock: SetClock,
        transport: httpx.AsyncBaseTransport,
        token: str,
        vet: VetPolicies,
        *,
        number: int = 0,
    ) -> None:
        """Start it on what is in ``folder``; ``number`` makes its ids and pauses other ones than those of others."""
        self.folder = folder
        self.clock = clock
        self.token = token
        self.asked_us: int | None = None
        self.outcomes: list[Outcome] = []
        self._number = number
        self._ids = CountingIds()
        self._runner = runner
        self._transport = transport
        self._vet = vet
        self._is_open = False
        self.open()

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def open(self) -> None:
        """Start on what is in its folder."""
        self.environment = open_environment(self.folder / "db", durability="process-crash", map_size=MAP_SIZE)
        self.broken: list[Exception] = []
        self.store = LmdbStore(
            self.environment, Headroom(self.environment.data_file(), 0), shared=False, fail=self.broken.append
        )
        snapshots = Snapshots()
        self.plane = ControlPlane("http://control-plane.test", self.token, transport=self._transport)
        self.following = Following(self.store, snapshots, self._vet, self._log_id, self.clock, self.instant)
        self.replication = Replication(self.store, snapshots, self.instant, self.plane.url)
        self.loop = Follower(
            self.plane,
            self.following,
            self.replication,
            self.instant,
            60,
            self.outcomes.append,
            draw=lambda: 0.5,
        )
        self.authorizer = Authorizer(self.store, snapshots, self._ids, freshness=Freshness(LIMITS, self.instant))
        self._is_open = True

    def close(self) -> None:
        """End it, if it runs; its store stays as it is."""
        if self._is_open:
            self._is_open = False
            self._runner.run(self.plane.close())
            self.store.close()

    def restart(self) -> None:
        """End it and start it again on what it left."""
        self.close()
        self.open()

    def instant(self) -> Instant:
        """Return the moment on both clocks, which agree."""
        return Instant("one run of the machine", self.clock.now_us, self.clock.now_us)

    def _log_id(self) -> str:
        return new_id("log", self.clock.now_us, self._number.to_bytes(10)).removeprefix("log_").lower()

    # --- Following ----------------------------------------------------------------------------------------------------

    def step(self) -> Outcome:
        """Put one question and have its answer taken."""
        return self._runner.run(self.stepped())

    async def stepped(self) -> Outcome:
        """Put one question and have its answer taken; what it asks to pause for is for the caller to let pass."""
        asked_us = self.clock.now_us
        self.pause_seconds = await self.loop.step()
        if self.outcomes[-1] in GOOD:
            self.asked_us = asked_us
        return self.outcomes[-1]

    def catch_up(self, steps_max: int = 40) -> None:
        """Step until nothing is newer than what holds."""
        for _ in range(steps_max):
            if self.step() == "confirmed":
                return
            self.clock.now_us += int(self.pause_seconds * MICRO)
        raise AssertionError(f"still not there: {self.outcomes[-steps_max:]}, {self.replication.standing()}")

    # --- Looking ------------------------------------------------------------------------------------------------------

    @property
    def followed(self) -> ReplicaState | None:
        """How far it has come."""
        with self.store.read() as txn:
            return txn.replica.state()

    def state(self) -> State:
        """Return the records that hold."""
        followed = self.followed
        if followed is None:
            return State()
        with self.store.read() as txn:
            tenant = txn.tenants.find(followed.tenant_id)
            assert tenant is not None
            return State.of(txn.of(tenant))

    def decide(self, request: AuthorizeRequest) -> Decision:
        """Decide a request of the operator."""
        followed = self.followed
        tenant_id = None if followed is None else followed.tenant_id
        deciding = self.authorizer.authorize(OPERATOR, tenant_id, request, None, self.clock.now_us)
        return self._runner.run(deciding).decision

    @property
    def is_stale_for_spending(self) -> bool:
        """Whether what it has been told last is too old to spend on."""
        limit_us = LIMITS.seconds["spend"] * MICRO
        return self.asked_us is None or self.clock.now_us - self.asked_us > limit_us

    def faults(self) -> list[str]:
        """Return what the check of the whole store finds wrong."""
        return [f"{fault.invariant}: {fault.message}" for tenant in check(self.environment) for fault in tenant.faults]

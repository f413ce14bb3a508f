"""A world that follows a control plane, as far as decisions see it: what it heard and when, on clocks set by hand."""

from sidecar.core.staleness import Contact, Instant, StalenessLimits
from sidecar.service.authorize import Authorizer
from sidecar.service.batch import BatchAuthorizer
from sidecar.service.feed_store import ReplicaState
from sidecar.service.freshness import Freshness
from sidecar.service.observe import Witness
from sidecar.service.settlement import Settler
from sidecar.state.clock import PatientClock
from tests.service.builders import SECOND, World

LIMITS = StalenessLimits({"spend": 60, "use": 3_600, "default": 30})
HEAD = 7


class Follower:
    """The machine of a follower, whose ``world`` decides by its clock, and the clock of its control plane."""

    def __init__(self, world: World, *, is_synced: bool = True, witness: Witness | None = None) -> None:
        """Begin in good time, with a state if it ``is_synced``, and without having heard anything."""
        self.world = world
        world.only_says_it_follows = True  # its records are made here, as no follower's are
        self.boots = 1
        self.up_us = 500 * SECOND
        self.wall_us = self.true_us = world.now_us
        self._start_clock()
        freshness = Freshness(LIMITS, self.instant)
        world.authorizer = Authorizer(world.store, world.snapshots, world.ids, None, witness, freshness)
        world.batches = BatchAuthorizer(world.store, world.authorizer)
        world.settler = Settler(world.store, freshness)
        if is_synced:
            self.sync()

    def _start_clock(self) -> None:
        self._clock = PatientClock(self.world.now_us, lambda: self.wall_us, lambda: self.up_us)
        self.world.now_us = self._clock()

    def sync(self) -> None:
        """Have a state."""
        state = ReplicaState(
            tenant_id="t_one",
            origin="sidecar.local/cp",
            follower_id="tok_1",
            scope=None,
            revision=HEAD,
            files_digest="",
        )
        self.world.write(lambda txn: txn.replica.keep_state(state))
        self.world.write(lambda txn: txn.replica.acknowledge(state.follower_id))

    def instant(self) -> Instant:
        """Return this moment on the clocks of the machine."""
        return Instant(f"boot_{self.boots}", self.up_us, self.wall_us)

    def hear(self) -> Contact:
        """Hear from the control plane, in no time, that nothing is newer."""
        contact = Contact(self.instant(), HEAD, self.true_us - self.wall_us)
        self.world.write(lambda txn: txn.replica.keep_contact(contact))
        return contact

    def fail(self, fault: str | None) -> None:
        """Have a fault, or none any more."""
        self.world.write(lambda txn: txn.replica.keep_fault(fault))

    def wait(self, us: int) -> None:
        """Let time pass."""
        self.up_us += us
        self.wall_us += us
        self.true_us += us
        self.world.now_us = self._clock()

    def jump(self, us: int) -> None:
        """Set the wall clock ahead, or back."""
        self.wall_us += us
        self.world.now_us = self._clock()

    def restart(self, off_us: int, jump_us: int = 0) -> None:
        """Turn the machine off and on again; its wall clock may have been set meanwhile."""
        self.boots += 1
        self.up_us = SECOND
        self.wall_us += off_us + jump_us
        self.true_us += off_us
        self._start_clock()

"""A control plane and a follower, each a world of its own, and what goes between them."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import orjson
from msgspec.structs import replace

from sidecar.core.access import Caller
from sidecar.core.delegation import Word
from sidecar.core.history import Ended
from sidecar.core.log_entries import link, text_of
from sidecar.core.model import AuthorizeRequest
from sidecar.core.staleness import Contact, Instant
from sidecar.core.windows import Period
from sidecar.service.authorize import Authorizer
from sidecar.service.budget_changes import record_budget
from sidecar.service.delegation import Delegation
from sidecar.service.feed_store import ReplicaState
from sidecar.service.followers import Followers, LogName
from sidecar.service.paging import PageRequest
from sidecar.service.shipments import Batch, Receipt, Receiver, Status, UsageReport
from sidecar.service.shipping import Parcel, Shipping
from sidecar.service.store import TenantTransaction, Transaction
from sidecar.service.tokens import TokenDraft
from tests.service.builders import OPERATOR, World, limit

GIVEN = Instant("boot", 5_000_000, 5_000_000)


class Counts:
    """Counts what is shipped."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.records = 0
        self.alarms = 0

    def shipped(self, records: int) -> None:
        """Count records."""
        self.records += records

    def alarmed(self) -> None:
        """Count an alarm."""
        self.alarms += 1


class Nobody:
    """A control plane that decides nothing, for a follower whose budgets are all its own."""

    async def reserve(self, decision_id: str, request: AuthorizeRequest) -> Word:
        """Fail."""
        raise AssertionError(decision_id, request)

    async def cancel(self, decision_id: str) -> None:
        """Fail."""
        raise AssertionError(decision_id)


class Fleet:
    """A control plane ``above`` and a follower ``below``, both of tenant `t_one` with the same beginning.

    The follower's records are made as if it had applied a feed, so that what it lacks the control plane has as well.
    """

    def __init__(self, folder: Path) -> None:
        """Make both."""
        (folder / "above").mkdir(parents=True)
        (folder / "below").mkdir()
        self.above, self.below = World(folder / "above"), World(folder / "below")
        for world in (self.above, self.below):
            world.tenant()
            world.identity("ann")
            world.identity("bob")
        below = self.below
        alone = Delegation(below.store, Nobody())
        below.authorizer = Authorizer(below.store, below.snapshots, below.ids, delegation=alone)
        self.ended: list[tuple[str, Ended]] = []
        self.counts = Counts()
        self.receiver = self.received_anew()
        self.followers = Followers(self.above.store)
        self.caller = self.token()
        self.below.run(self.below.desk.create(OPERATOR, "t_one", _token("edge", None), self.below.now_us))
        self.follow(self.caller.name)
        self.shipping = self.restarted()

    def _end(self, _txn: Transaction, _part: TenantTransaction, follower_id: str, ended: Ended, _now_us: int) -> None:
        self.ended.append((follower_id, ended))

    def __enter__(self) -> Self:
        """Give the fleet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        self.above.close()
        self.below.close()

    def token(self, name: str = "edge", scope: str | None = None) -> Caller:
        """Make a follower's token on the control plane."""
        made = self.above.desk.create(OPERATOR, "t_one", _token(name, scope), self.above.now_us)
        minted = self.above.run(made).value
        return self.above.desk.authenticate(minted.text, self.above.now_us)

    def follow(self, follower_id: str, revision: int = 3) -> None:
        """Let the follower have followed with a token, with which its log is known."""
        state = ReplicaState(
            tenant_id="t_one", origin="", follower_id=follower_id, scope=None, revision=revision, files_digest=""
        )
        self.below.write(lambda txn: txn.replica.keep_state(state))
        self.below.write(lambda txn: txn.replica.acknowledge(follower_id))
        self.below.write(lambda txn: txn.replica.keep_contact(Contact(GIVEN, revision)))

    def restarted(self) -> Shipping:
        """A process of the follower that has just begun."""
        return Shipping(self.below.store, lambda: Instant("boot", 7_000_000, self.below.now_us))

    def assign(self, period: Period = "daily", follower_id: str | None = None, owner: str = "ann") -> str:
        """Make a budget on both that this follower alone decides on, or another one; returns its id."""
        self.above.ids.made = self.below.ids.made = max(self.above.ids.made, self.below.ids.made)
        made = [self._assigned(world, period, follower_id, owner) for world in (self.above, self.below)]
        assert made[0] == made[1]
        return made[0]

    def _assigned(self, world: World, period: Period, follower_id: str | None, owner: str) -> str:
        budget = world.budget(limit("100.00", owner, period=period)).budget

        def work(txn: Transaction) -> None:
            tenant = txn.tenants.find("t_one")
            assert tenant is not None
            part, revision = txn.of(tenant), txn.tenants.advance(tenant.number)
            held = replace(budget, follower_id=follower_id or self.caller.name, revision=revision)
            part.budgets.change(held.budget_id, held, revision)
            record_budget(part, "budget_updated", held, "test", world.now_us)

        world.write(work)
        return budget.budget_id

    def received_anew(self) -> Receiver:
        """A process of the control plane that has just begun."""
        return Receiver(self.above.store, self.counts, self._end)

    # --- Shipping -----------------------------------------------------------------------------------------------------

    def bodies(self) -> tuple[bytes, ...]:
        """Every record of the follower as it lies."""
        with self.below.look() as part:
            return tuple(body for _, body in part.audit.read(0, 1_000_000))

    @property
    def origin(self) -> str:
        """The name of the follower's log."""
        with self.below.look() as part:
            return part.audit.origin

    def batch(self, start: int = 0, end: int | None = None, **status: int | str | tuple[UsageReport, ...]) -> Batch:
        """Records of the follower as a batch without facts."""
        bodies = self.bodies()
        said = Status(revision=3, age_ms=5, head=len(bodies))
        return Batch(
            origin=self.origin,
            from_seq=start,
            records=bodies[start:end],
            facts=(),
            status=replace(said, **status) if status else said,
        )

    def send(self, batch: Batch, caller: Caller | None = None) -> Receipt:
        """Give a batch to the control plane."""
        taken = self.receiver.receive(caller or self.caller, None, batch, self.above.now_us)
        return self.above.run(taken)

    def deliver(self, parcel: Parcel) -> bytes:
        """Give a parcel to the control plane as its door would; returns the answer."""
        taken = self.send(batch_of(parcel))
        return orjson.dumps({**msgspec.to_builtins(taken), "follower_id": self.caller.name})

    def ship(self) -> int:
        """Ship until there is nothing to ship; returns how many parcels it took."""
        for number in count():
            parcel = self.shipping.parcel()
            if parcel is None:
                return number
            self.below.run(self.shipping.received(parcel, self.deliver(parcel)))
        raise AssertionError

    # --- Looking ------------------------------------------------------------------------------------------------------

    def stored(self, origin: str | None = None, follower_id: str | None = None) -> tuple[bytes, ...]:
        """What the control plane has of a follower's log, the one that is shipped unless told."""
        with self.above.look() as part:
            log = part.shipments.log(follower_id or self.caller.name, origin or self.origin)
            return () if log is None else tuple(body for _, body in part.shipments.reader(log).read(0, 1_000_000))

    def verified(self, name: LogName | None = None) -> tuple[bool, int, int]:
        """Whether the shipped log is whole, how many records were checked, and how many facts are missing."""
        name = name or LogName(self.caller.name)
        report = self.above.auditor.verify(OPERATOR, "t_one", 0, None, name).report
        return report.valid, report.entries_checked, report.facts_missing

    def alarm(self) -> str | None:
        """The alarm that is in force, about the log or the follower."""
        known = self.followers.get(OPERATOR, "t_one", self.caller.name)
        alarms = [each.log.alarm for each in known.logs] + [known.follower.alarm]
        return next((each.reason for each in alarms if each is not None), None)

    def listed(self) -> list[str]:
        """The followers that the control plane knows."""
        return [each.follower.token_id for each in self.followers.listed(OPERATOR, "t_one", PageRequest()).values]

    def fault(self) -> str | None:
        """Why the follower decides nothing more."""
        with self.below.store.read() as txn:
            return txn.replica.fault()

    def faults(self) -> list[str]:
        """What does not hold in either store, apart from what comes of a follower that nothing was applied on."""
        return [each for world in (self.above, self.below) for each in world.faults() if "the replica" not in each]

    def resealed(self, change: Callable[[dict[str, object]], None], seq: int) -> tuple[bytes, ...]:
        """The follower's records with one changed and all after it sealed again: a forked log."""
        bodies = [orjson.loads(body) for body in self.bodies()]
        change(bodies[seq])
        found = list(self.bodies()[:seq])
        for body in bodies[seq:]:
            if found:
                body["prev"] = text_of(link(found[-1]))
            found.append(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
        return tuple(found)


def _token(name: str, scope: str | None) -> TokenDraft:
    return TokenDraft(name, "follower", scope, may_release=False, expires_at_us=None)


def batch_of(parcel: Parcel) -> Batch:
    """What a parcel says, read as a door reads it."""
    said = orjson.loads(parcel.body)
    status = said["status"]
    return Batch(
        origin=said["origin"],
        from_seq=said["from_seq"],
        records=tuple(text.encode() for text in said["records"]),
        facts=tuple(text.encode() for text in said["facts"]),
        status=Status(
            revision=status["revision"],
            age_ms=status["age_ms"],
            head=status["head"],
            hash=status["hash"],
            usages=tuple(UsageReport(*row) for row in status["usages"]),
        ),
    )

"""Decisions are compared with shadow policies when they are on disk, behind the answer and never in its way.

``witness`` puts a decision into a queue and does nothing else. A task takes one at a time out of it, and the event loop
has a turn after each; a turn that took long means that others have work, and then the task rests nine times as long as
it worked: it takes a tenth of a busy loop and all of an idle one. What does not fit into the queue is dropped and
counted. Whatever fails here is counted and kept from everybody else.

What was found is written in a transaction of its own, some of it at a time, and only while the shadow files are those
that it was found with. A process that is killed loses what it has not written, half a second or so; one that ends in
the proper way loses nothing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from sidecar.core.directory import Tenant
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.shadow import DROPPED, ERROR, Difference, Tally, tally_of
from sidecar.service.ruling import Proposal
from sidecar.service.shadow_policies import Case, ShadowPolicies, ShadowSet
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, Transaction

QUEUE_MAX: Final = 4_096
"""Decisions that wait, each a few hundred bytes beside its view: what ten seconds of load leave over at most."""

WRITTEN_MAX: Final = 64
"""Differences, and tenants, that one transaction writes: a millisecond or two, which others wait for."""

WRITE_SECONDS: Final = 0.5
"""How long something that was found may wait to be written."""

PAUSE_SECONDS: Final = 0.005
"""How often the queue is looked at for ``WRITE_SECONDS`` after a decision was put into it."""

BUSY_SECONDS: Final = 0.0001
"""A turn of the event loop that takes longer than this did work."""

REST: Final = 9
"""How many times as long as it worked the task rests on a busy loop."""


class Pulse(NamedTuple):
    """The time as the task sees it, in seconds from anywhere, and what lets some of it pass."""

    clock: Callable[[], float]
    rest: Callable[[float], Awaitable[None]]


class ShadowObserver(Protocol):
    """Who counts what became of decisions."""

    def shadowed(self, tally: Tally) -> None:
        """Count what was written."""

    def shadow_failed(self, error: Exception) -> None:
        """Take note of why something was not compared or not written."""


class _Found:
    """What was found of one tenant and is not written yet."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.tally = Tally()
        self.differences: list[Difference] = []


class Shadow:
    """Implements ``sidecar.service.observe.Witness`` for one process."""

    def __init__(self, store: Store, snapshots: Snapshots, observer: ShadowObserver, pulse: Pulse) -> None:
        """Begin with an empty queue; nothing happens before ``run``."""
        self._store = store
        self._policies = ShadowPolicies(store, snapshots)
        self._observer = observer
        self._pulse = pulse
        self._queue: deque[Case] = deque()
        self._arrived = asyncio.Event()
        self._digest: bytes | None = None
        self._found: dict[int, _Found] = {}
        self._differences = 0

    def witness(self, tenant: Tenant, request: AuthorizeRequest, proposal: Proposal, decision: Decision) -> None:
        """Let a decision wait for its comparison, or count it as dropped."""
        if len(self._queue) < QUEUE_MAX:
            self._queue.append(Case(tenant, request, proposal, decision))
        else:
            self._of(tenant).tally += DROPPED
        self._arrived.set()

    async def run(self) -> None:
        """Compare and write until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._pulse.rest(PAUSE_SECONDS)  # the answer first, and what its caller asks next
            until = self._pulse.clock() + WRITE_SECONDS
            while self._pulse.clock() < until and not self._is_full():
                await (self._step() if self._queue else self._pulse.rest(PAUSE_SECONDS))
            if not await self._write():
                await self._pulse.rest(WRITE_SECONDS)
            if self._queue or self._found:
                self._arrived.set()

    async def finish(self) -> None:
        """Compare all that waits and write it."""
        while self._queue:
            await self._compare(self._queue.popleft())
            if self._is_full():
                await self._write()
        while self._found and await self._write():
            pass

    async def _step(self) -> None:
        """Compare one decision, then rest if others had work."""
        worked = await self._compare(self._queue.popleft())
        begun = self._pulse.clock()
        await asyncio.sleep(0)
        if self._pulse.clock() - begun > BUSY_SECONDS:
            await self._pulse.rest(worked * REST)

    async def _compare(self, case: Case) -> float:
        """Compare one decision; returns for how many seconds nobody else could do anything."""
        try:
            shadow = await self._policies.of(case)
        except Exception as error:  # noqa: BLE001 -- whatever fails here must not reach anybody
            self._fail(case, error)
            return 0
        begun = self._pulse.clock()
        if shadow is None:
            self._forget()
        else:
            self._keep(case, shadow)
        return self._pulse.clock() - begun

    def _keep(self, case: Case, shadow: ShadowSet) -> None:
        if self._digest != shadow.digest:
            if self._digest is not None:
                self._forget()
            self._digest = shadow.digest
        try:
            with self._store.read() as txn:
                compared = self._policies.rule(txn.of(case.tenant), case, shadow)
        except Exception as error:  # noqa: BLE001 -- as above
            self._fail(case, error)
            return
        found = self._of(case.tenant)
        found.tally += tally_of(compared)
        if compared is not None:
            found.differences.append(compared)
            self._differences += 1

    def _fail(self, case: Case, error: Exception) -> None:
        self._of(case.tenant).tally += ERROR
        self._observer.shadow_failed(error)

    def _of(self, tenant: Tenant) -> _Found:
        found = self._found.get(tenant.number)
        if found is None:
            found = self._found[tenant.number] = _Found(tenant)
        return found

    def _forget(self) -> None:
        """Forget what was found with files that hold no more."""
        self._digest = None
        self._found.clear()
        self._differences = 0

    def _is_full(self) -> bool:
        return max(self._differences, len(self._found)) >= WRITTEN_MAX

    async def _write(self) -> bool:
        """Write some of what was found; False where it could not be, and its decisions count as dropped then."""
        digest, part = self._digest, [self._found.pop(number) for number in list(self._found)[:WRITTEN_MAX]]
        self._differences -= sum(len(each.differences) for each in part)
        if not part:
            return True
        try:
            self._store.require_room()
            written = await self._store.write(lambda txn: _add(txn, part, digest), apart=True)
        except Exception as error:  # noqa: BLE001 -- as above
            self._observer.shadow_failed(error)
            for each in part:
                self._of(each.tenant).tally += Tally(dropped=each.tally.all)
            return False
        if written:
            self._observer.shadowed(sum((each.tally for each in part), Tally()))
        return True


def _add(txn: Transaction, found: list[_Found], digest: bytes | None) -> bool:
    """Add what was found with the files of ``digest``, with any where that is None, unless others are loaded now."""
    present = txn.shadow_files.digest()
    if present is None or digest not in {None, present}:
        return False
    for each in found:
        shadows = txn.of(each.tenant).shadows
        shadows.keep_tally(shadows.tally() + each.tally)
        for difference in each.differences:
            shadows.add(difference)
    return True

"""What makes a server a follower: where it gets its state from, which calls it answers, and what it does beside them.

A follower decides and tells what it follows. Nothing that is followed may be changed here, so every other call is
refused by name; the calls that are let through are listed, since one that is added later must not slip in.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

import msgspec
import structlog

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, Forbidden, Unauthenticated, Unavailable
from sidecar.core.staleness import Instant, StalenessLimits
from sidecar.doors.wire.endpoint import Ask, Call, Function
from sidecar.doors.wire.http import Answer
from sidecar.replica.cancelling import Cancelling
from sidecar.replica.control_plane import ControlPlane
from sidecar.replica.follow import Follower as FollowLoop
from sidecar.replica.follow import Outcome
from sidecar.replica.reservations import RemoteDelegate
from sidecar.replica.ship import Pace, Shipper
from sidecar.service.delegation import Delegation
from sidecar.service.following import Following
from sidecar.service.following_policies import VetPolicies
from sidecar.service.intents import Canceller
from sidecar.service.reload import Reloaded
from sidecar.service.replication import Replication
from sidecar.service.shipping import Shipping
from sidecar.service.snapshots import Snapshots
from sidecar.service.tenants import new_log_id
from sidecar.settings import Settings
from sidecar.state.store import LmdbStore

log: Final = structlog.get_logger("sidecar.follower")

DUTY_POLL_SECONDS: Final = 0.05
"""How late the process that comes on duty begins to follow."""

RESTART_SECONDS: Final = 1.0
"""Pause before background work that ended by a mistake of ours is begun again."""

SERVED: Final = frozenset(
    {
        "POST /v1/authorize",
        "POST /v1/authorize/batch",
        "POST /v1/decisions/{decision_id}/settle",
        "POST /v1/decisions/{decision_id}/release",
        "POST /v1/decisions/{decision_id}/refund",
        "GET /v1/decisions/{decision_id}",
        "* /envoy/{path:path}",
        "* /forward-auth",
        "GET /v1/audit",
        "GET /v1/audit/verify",
        "GET /v1/replica",
        "GET /v1/tenants",
        "GET /v1/tenants/{tenant_id}",
        "GET /v1/identities",
        "GET /v1/identities/{identity_id}",
        "GET /v1/identities/{identity_id}/chain",
        "GET /v1/policies",
        "GET /v1/policies/{policy_id}",
        "GET /v1/budgets",
        "GET /v1/budgets/{budget_id}",
        "GET /v1/treasury/cards",
        "GET /v1/treasury/cards/{card_id}",
        "GET /v1/tokens",
        "POST /access/v1/evaluation",
        "POST /access/v1/evaluations",
        "POST /access/v1/search/action",
        "POST /access/v1/search/resource",
        "POST /access/v1/search/subject",
        "POST /mcp/authorize",
    }
)
"""The calls of a follower beside those that need no token: decisions with what ends them, and what is followed."""

FEED: Final = frozenset({"GET /v1/changes", "GET /v1/snapshot"})
"""What another follower would ask first. It must hear why there is nothing, though its token is not known here."""


class Work(Protocol):
    """Background work of a follower."""

    async def run(self) -> None:
        """Work until cancelled."""


class OnDuty:
    """Runs works in whichever process is on duty."""

    def __init__(self, is_on_duty: Callable[[], bool], works: Sequence[Work]) -> None:
        """Run ``works`` from the moment on at which ``is_on_duty``; who is on duty stays so until it ends."""
        self._is_on_duty = is_on_duty
        self._works = works

    async def run(self) -> None:
        """Run them until cancelled; one that ends by a mistake is begun again and ends no other."""
        while not self._is_on_duty():  # noqa: ASYNC110 -- another process lets go of a lock, no event tells
            await asyncio.sleep(DUTY_POLL_SECONDS)
        async with asyncio.TaskGroup() as group:
            for work in self._works:
                group.create_task(_kept(work))


async def _kept(work: Work) -> None:
    while True:
        try:
            await work.run()
        except Exception:
            log.exception("background_work_ended", work=type(work).__name__)
        await asyncio.sleep(RESTART_SECONDS)


class Follower(msgspec.Struct, frozen=True):
    """A worker's parts that only a follower has; ``works`` run in the process on duty."""

    replication: Replication
    plane: ControlPlane
    delegation: Delegation
    works: tuple[Work, ...]


def follower_of(
    settings: Settings,
    store: LmdbStore,
    snapshots: Snapshots,
    new_id: Callable[[str, int], str],
    clock: Callable[[], int],
    instant: Callable[[], Instant],
    vet: VetPolicies,
    count: Callable[[Outcome], None],
) -> Follower | None:
    """Return what a follower has, None for a server that follows nobody."""
    url, token = settings.control_plane, settings.control_plane_token
    if url is None or token is None:
        return None
    replication = Replication(store, snapshots, instant, url)
    plane = ControlPlane(url, token)
    shipper = Shipper(Shipping(store, instant), plane, Pace(time.monotonic, asyncio.sleep, random.random))
    following = Following(
        store, snapshots, vet, lambda: new_log_id(new_id, clock()), clock, instant, confirm_log=shipper.confirm
    )
    loop = FollowLoop(plane, following, replication, instant, least_age(settings.max_staleness), count)
    delegate = RemoteDelegate(plane)
    cancelling = Cancelling(Canceller(store, delegate), clock)
    return Follower(replication, plane, Delegation(store, delegate), (loop, shipper, cancelling))


def delegation_of(follower: Follower | None) -> Delegation | None:
    """Return what asks a follower's control plane to decide, None for a server that follows nobody."""
    return None if follower is None else follower.delegation


def least_age(limits: StalenessLimits) -> int:
    """Return the smallest age in seconds at which data is too old for something."""
    return min(limits.seconds.values())


def calls_of(follower: Follower | None, calls: Iterable[Call]) -> tuple[Call, ...]:
    """Return the calls of a server: of a follower, each that it does not answer says so, and whom to ask."""
    if follower is None:
        return tuple(calls)
    refuse = partial(_refuse, follower.replication.control_plane)
    return tuple(_answered(call, refuse) for call in calls)


def _answered(call: Call, refuse: Function) -> Call:
    name = f"{call.method} {call.path}"
    if call.is_open or name in SERVED:
        return call
    if name in FEED:
        return msgspec.structs.replace(call, run=_refuse_feed, is_open=True)
    # Whatever the body is: who hears that it is wrong would mend it and try again.
    return msgspec.structs.replace(call, run=refuse, request=object)


async def _refuse_feed(_ask: Ask) -> Answer:
    """Refuse without the address, which is for those who have a token."""
    raise Forbidden("this server is a follower itself, which cannot be followed: name its control plane instead")


async def _refuse(control_plane: str, _ask: Ask) -> Answer:
    raise Forbidden(f"this server follows a control plane and only decides: ask `{control_plane}`")


def authenticating(
    follower: Follower | None, authenticate: Callable[[str, int], Caller]
) -> Callable[[str, int], Caller]:
    """Return what authenticates: before a follower has anything, nobody can be known but its operator."""
    if follower is None:
        return authenticate
    replication = follower.replication

    def known(text: str, now_us: int) -> Caller:
        try:
            return authenticate(text, now_us)
        except Unauthenticated:
            if not replication.is_synced():
                raise Unavailable("this server has nothing of its control plane yet, try again") from None
            raise

    return known


class FilesFollowed:
    """Implements ``sidecar.service.reload.Load`` where policy files come from a control plane."""

    def __init__(self, control_plane: str) -> None:
        """Name ``control_plane`` to whoever asks."""
        self._control_plane = control_plane

    async def __call__(self, by: str) -> Reloaded:
        """Raise Conflict: no files lie here."""
        log.warning("policy_files_not_looked_at", by=by, reason="they come from the control plane")
        raise Conflict(f"the policy files come from the control plane `{self._control_plane}`")

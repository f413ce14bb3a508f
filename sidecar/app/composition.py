"""One worker's parts, put together: store, services, doors. Nothing runs yet when this returns."""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from sidecar.app.dialects import dialect_calls
from sidecar.app.duty import Chores, Duty
from sidecar.app.envoy_grpc import Listening, envoy_grpc
from sidecar.app.exposition import Exposition
from sidecar.app.follower import FilesFollowed, Follower, authenticating, calls_of, delegation_of, follower_of
from sidecar.app.foreign_doors import MANNERS, foreign_calls
from sidecar.app.metrics import Metrics, Share
from sidecar.app.reloading import Reloader
from sidecar.app.routing import application
from sidecar.app.sources import AscendingIds, random_bytes, retry_jitter_bp
from sidecar.app.watching import Watcher
from sidecar.core.errors import ConfigurationInvalid, SidecarError, StoreUnusable
from sidecar.core.snapshot import SourceFile
from sidecar.core.staleness import Instant
from sidecar.doors.native.accounts import AccountCalls
from sidecar.doors.native.audit import AuditCalls
from sidecar.doors.native.budgets import BudgetCalls
from sidecar.doors.native.card_programs import CardProgramCalls
from sidecar.doors.native.decisions import DecisionCalls
from sidecar.doors.native.feed import FeedCalls
from sidecar.doors.native.followers import FollowerCalls
from sidecar.doors.native.grants import GrantCalls
from sidecar.doors.native.identities import IdentityCalls
from sidecar.doors.native.passkeys import PasskeyCalls
from sidecar.doors.native.payments import PaymentCalls
from sidecar.doors.native.policies import PolicyCalls
from sidecar.doors.native.reference import ReferenceCalls
from sidecar.doors.native.replica import ReplicaCalls
from sidecar.doors.native.reservations import ReservationCalls
from sidecar.doors.native.shadow import ShadowCalls
from sidecar.doors.native.tenants import TenantCalls
from sidecar.doors.native.tokens import TokenCalls
from sidecar.doors.native.treasury import TreasuryCalls
from sidecar.doors.native.webhooks import WebhookCalls
from sidecar.doors.operations import OperationCalls
from sidecar.doors.webhooks.addresses import anywhere, public_only
from sidecar.doors.webhooks.courier import Courier
from sidecar.doors.webhooks.sender import local_sender, public_sender
from sidecar.doors.wire.application import Application
from sidecar.doors.wire.context import Context
from sidecar.doors.wire.endpoint import Call
from sidecar.replica.vetting import FeedVetting, ProcessVetting
from sidecar.replica.watched import WatchedFolders
from sidecar.service.accounts import Bank
from sidecar.service.announcement import Announcer
from sidecar.service.audit import Auditor
from sidecar.service.authorize import Authorizer
from sidecar.service.batch import BatchAuthorizer
from sidecar.service.budgets import Treasurer
from sidecar.service.card_programs import ProgramDesk
from sidecar.service.compaction import Compactor
from sidecar.service.deliveries import Dispatch
from sidecar.service.differences import Comparisons
from sidecar.service.feed import Audience, Publisher
from sidecar.service.feed_snapshot import SnapshotTeller
from sidecar.service.feed_waiting import Waiting
from sidecar.service.followers import Followers
from sidecar.service.freshness import Freshness
from sidecar.service.grants import Grants
from sidecar.service.identities import Registry
from sidecar.service.kill_switch import KillSwitch
from sidecar.service.passkeys import PasskeyDesk
from sidecar.service.payments import Paymaster
from sidecar.service.policies import Legislator
from sidecar.service.rates import Limiter
from sidecar.service.reload import Load, Reloading
from sidecar.service.remote_endings import apply_ending
from sidecar.service.reservations import Reservations
from sidecar.service.settlement import Settler
from sidecar.service.shadow import Pulse, Shadow
from sidecar.service.shipments import Receiver
from sidecar.service.snapshots import Snapshots
from sidecar.service.tenants import Tenancy
from sidecar.service.tokens import TokenDesk
from sidecar.service.transits import Transits
from sidecar.service.treasury import CardDesk
from sidecar.service.webhooks import WebhookDesk
from sidecar.settings import Settings
from sidecar.state.boot import newest_time
from sidecar.state.clock import Clock, Instants, PatientClock, boot_id
from sidecar.state.environment import open_environment
from sidecar.state.figures import Figures, measure
from sidecar.state.headroom import Headroom
from sidecar.state.rates import RateCounts
from sidecar.state.store import LmdbStore


class Worker(msgspec.Struct, frozen=True):
    """One process's application, the work that runs beside it, and what is to be closed at the end.

    ``shadow`` is None where decisions are compared with no other policies, ``follower`` where nobody is followed.
    ``waiting`` are calls that would keep the process from its end. ``further`` listens beside the HTTP server, if
    anything does.
    """

    application: Application
    duty: Duty
    shadow: Shadow | None
    reloader: Load
    watchers: tuple[Watcher, ...]
    store: LmdbStore
    rates: RateCounts
    waiting: Waiting
    follower: Follower | None
    further: Listening | None

    def is_synced(self) -> bool:
        """Whether there is a state to decide by, which a follower may still wait for."""
        try:
            return self.follower is None or self.follower.replication.is_synced()
        except SidecarError:  # a store that broke has told whoever stops the process
            return False


class Health:
    """Whether this process can decide."""

    def __init__(self) -> None:
        """Be well."""
        self.broken: StoreUnusable | None = None

    def require_ready(self) -> None:
        """Raise what broke the store."""
        if self.broken is not None:
            raise self.broken


def compose(settings: Settings, stop: Callable[[], None], health: Health, share: Share | None = None) -> Worker:
    """Open the store and return the parts of one worker.

    ``stop`` is called once, from any thread, when the store broke. ``share`` is where it counts together with others.
    """
    if settings.admin_token is None:
        raise ConfigurationInvalid("the operator's token is not set")

    def fail(error: StoreUnusable) -> None:
        health.broken = error
        stop()

    def require_ready() -> None:
        health.require_ready()
        store.require_room()

    def look() -> Figures | None:
        return measure(environment) if health.broken is None else None

    environment = open_environment(settings.store, durability=settings.durability, map_size=settings.map_size)
    headroom = Headroom(environment.data_file(), settings.free_bytes_min)
    metrics, instant = Metrics(share), Instants(boot_id())
    clock, freshness = _time(settings, newest_time(environment), instant)
    store = LmdbStore(environment, headroom, shared=settings.workers > 1, fail=fail, observer=metrics)
    snapshots, new_id, waiting = Snapshots(), AscendingIds(), Waiting(store, asyncio.sleep)
    registry, settler = Registry(store, snapshots, new_id), Settler(store, freshness)
    desk = TokenDesk(store, new_id, random_bytes, settings.admin_token)
    treasurer = Treasurer(store, snapshots, new_id)
    legislator = Legislator(store, snapshots, new_id, ProcessVetting(lambda: _schemas(store, snapshots)))
    shadow, announcer = _shadow(settings, store, snapshots, metrics), Announcer(store)
    follower = follower_of(settings, store, snapshots, new_id, clock, instant, FeedVetting(), metrics.followed)
    replication = None if follower is None else follower.replication
    reloading = Reloading(store, reloader := _loader(settings, store, announcer, clock, metrics))
    cards = CardDesk(store, treasurer, new_id)
    authorizer = Authorizer(store, snapshots, new_id, metrics, shadow, freshness, delegation_of(follower))
    batch, transits = BatchAuthorizer(store, authorizer, metrics), Transits(store, clock)
    paymaster = Paymaster(store, authorizer, snapshots, new_id, transits, metrics)
    grants = Grants(store, snapshots, treasurer, legislator, settings.relying_party, new_id, random_bytes)
    calls = (
        *DecisionCalls(authorizer, batch, settler).calls(),
        *foreign_calls(settings, store, snapshots, authorizer, batch, settler, new_id, metrics),
        *TenantCalls(Tenancy(store, registry, desk, new_id)).calls(),
        *IdentityCalls(registry).calls(),
        *PolicyCalls(legislator, reloading).calls(),
        *BudgetCalls(treasurer).calls(),
        *TokenCalls(desk).calls(),
        *TreasuryCalls(cards, KillSwitch(store)).calls(),
        *PaymentCalls(paymaster).calls(),
        *GrantCalls(grants, settings.relying_party).calls(),
        *_told_calls(store, snapshots, waiting, clock, metrics),
        *_simple_calls(settings, store, new_id),
        *dialect_calls(store, new_id, registry, treasurer, legislator, desk, cards, paymaster),
        *ReplicaCalls(replication).calls(),
        *ReservationCalls(Reservations(store, authorizer)).calls(),
        *OperationCalls(
            require_ready, Exposition(metrics, look, clock, replication), reloading.state, replication
        ).calls(),
    )
    rates = RateCounts(settings.rate_counts)
    admit, authenticate = Limiter(rates.admit, settings.rate_limit).admit, authenticating(follower, desk.authenticate)
    context = Context(authenticate, clock, partial(new_id, "req"), admit, metrics.served)
    sender = local_sender() if settings.webhooks_allow_private else public_sender()
    courier = Courier(Dispatch(store, retry_jitter_bp), sender, clock)
    chores = Chores(courier, announcer, transits, Compactor(store, settings.changes_kept))
    duty = Duty(settings.data_dir / "background.lock", store, settler, clock, desk, chores)
    watchers = (_watcher(settings, store, reloader, duty),) if settings.watch and follower is None else ()
    served = application(context, calls_of(follower, (*calls, *ReferenceCalls(calls).calls())), MANNERS)
    further = envoy_grpc(settings, context, calls)
    return Worker(served, duty, shadow, reloader, watchers, store, rates, waiting, follower, further)


def _time(settings: Settings, newest_us: int, instant: Callable[[], Instant]) -> tuple[Clock, Freshness | None]:
    """Return the clock, and what knows how old a follower's data is: None for a server that follows nobody."""
    if settings.is_follower:
        return PatientClock(newest_us), Freshness(settings.max_staleness, instant)
    return Clock(newest_us), None


def _simple_calls(settings: Settings, store: LmdbStore, new_id: AscendingIds) -> tuple[Call, ...]:
    """Return the calls whose services need nothing but the store."""
    check_url = anywhere if settings.webhooks_allow_private else public_only
    return (
        *AccountCalls(Bank(store, new_id)).calls(),
        *CardProgramCalls(ProgramDesk(store, new_id)).calls(),
        *PasskeyCalls(PasskeyDesk(store, settings.relying_party, new_id, random_bytes)).calls(),
        *ShadowCalls(Comparisons(store)).calls(),
        *WebhookCalls(WebhookDesk(store, new_id, random_bytes, check_url)).calls(),
    )


def _loader(
    settings: Settings, store: LmdbStore, announcer: Announcer, clock: Callable[[], int], metrics: Metrics
) -> Load:
    """Return what loads the policy files that lie here, or says where they come from."""
    if settings.control_plane is not None:
        return FilesFollowed(settings.control_plane)
    return Reloader(settings, store, announcer, clock, metrics.reloaded)


def _told_calls(
    store: LmdbStore, snapshots: Snapshots, waiting: Waiting, clock: Callable[[], int], metrics: Metrics
) -> Iterable[Call]:
    """Return the calls about what was recorded, and those by which followers hear and tell."""
    audience = Audience(snapshots)
    teller = SnapshotTeller(store, audience, lambda: waiting.is_over)
    yield from AuditCalls(Auditor(store)).calls()
    yield from FollowerCalls(Receiver(store, metrics, apply_ending), Followers(store)).calls()
    yield from FeedCalls(Publisher(store, snapshots, audience, waiting), teller, clock).calls()


def _shadow(settings: Settings, store: LmdbStore, snapshots: Snapshots, metrics: Metrics) -> Shadow | None:
    """Return what compares decisions with other policies, None where there are none."""
    if settings.shadow_policies is None:
        return None
    return Shadow(store, snapshots, metrics, Pulse(time.perf_counter, asyncio.sleep))


def _watcher(settings: Settings, store: LmdbStore, reloader: Load, duty: Duty) -> Watcher:
    """Return the watcher of the policies that decide; a further set of folders gets one of its own."""

    def tried() -> bytes | None:
        with store.read() as txn:
            known = txn.policies_tried()
            return None if known is None else known.content

    look = WatchedFolders(settings.policy_folders).look
    return Watcher(look, tried, lambda: reloader("watch"), lambda: duty.is_on_duty)


def _schemas(store: LmdbStore, snapshots: Snapshots) -> tuple[SourceFile, ...]:
    with store.read() as txn:
        return snapshots.files(txn).files.schemas

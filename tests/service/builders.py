"""A whole sidecar below its doors: a real store in a temporary folder, every service, ids that count, and a set clock.

Nothing here sleeps or reads a clock. ``World.run`` awaits one call on the world's own event loop; what is started
together with ``World.together`` lands in one batch of the committer.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from hashlib import shake_256
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import orjson

from sidecar.core.access import Caller
from sidecar.core.audit import Body
from sidecar.core.budget import OnExceeded, OnExpiry
from sidecar.core.directory import Identity, Mode, Tenant
from sidecar.core.errors import StoreUnusable
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.ids import RANDOMNESS_BYTES, new_id
from sidecar.core.instants import from_datetime
from sidecar.core.model import AuthorizeRequest, Decision, Json, ResourceRef
from sidecar.core.money import Major
from sidecar.core.reservation import Reservation
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.core.windows import Period
from sidecar.replica.files import read_files
from sidecar.service.audit import Auditor
from sidecar.service.authorize import Answered, Authorizer
from sidecar.service.batch import AnsweredBatch, Batch, BatchAuthorizer, Item, Semantics
from sidecar.service.budget_changes import BudgetDraft, Metered
from sidecar.service.budgets import Treasurer
from sidecar.service.evaluations import Evaluator
from sidecar.service.identities import IdentityDraft, Registry
from sidecar.service.policies import Legislator, PolicyDraft
from sidecar.service.settlement import Settler, Wanted
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import TenantTransaction
from sidecar.service.tenants import Founded, Tenancy, TenantDraft
from sidecar.service.tokens import Minted, TokenDesk, TokenDraft
from sidecar.state.environment import Durability, Environment, open_environment
from sidecar.state.fsck import check
from sidecar.state.headroom import Headroom
from sidecar.state.store import LmdbStore
from sidecar.state.transaction import Transaction

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent
OPERATOR = Caller("operator")
OPERATOR_TOKEN = "the operator's own secret"
SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
MAP_SIZE = 1 << 28


def at(text: str, zone: str = "UTC") -> int:
    """The instant of a local time such as ``2026-03-01T12:00`` in microseconds."""
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


NOON = at("2026-02-03T12:00")
"""A Tuesday."""


@cache
def shipped_files() -> PolicyFiles:
    """The policies and schemas of the repository."""
    return read_files(ROOT / "policies", ROOT / "schemas")


def only_schemas(*extra: str) -> PolicyFiles:
    """The shipped schema without a policy, and the policies given here."""
    files = tuple(SourceFile(f"policies/extra{index}.cedar", text) for index, text in enumerate(extra))
    return PolicyFiles(schemas=shipped_files().schemas, shared=files, by_tenant={})


class CountingIds:
    """Ids whose random part counts, so that a run can be repeated to the byte."""

    def __init__(self) -> None:
        """Begin at one."""
        self.made = 0

    def __call__(self, prefix: str, now_us: int) -> str:
        """Return the next id."""
        self.made += 1
        return new_id(prefix, now_us, self.made.to_bytes(RANDOMNESS_BYTES))


class CountingBytes:
    """Bytes that differ at each call."""

    def __init__(self) -> None:
        """Begin at one."""
        self._made = 0

    def __call__(self, length: int) -> bytes:
        """Return the next ones."""
        self._made += 1
        return shake_256(self._made.to_bytes(8)).digest(length)


class World:
    """Everything below the doors, on one store in ``folder``; ``now_us`` is the time of every call made through it."""

    def __init__(
        self,
        folder: Path,
        *,
        files: PolicyFiles | None = None,
        now_us: int = NOON,
        durability: Durability = "process-crash",
        map_size: int = MAP_SIZE,
        free_bytes_min: int = 0,
        shared: bool = False,
        beside: "World | None" = None,
    ) -> None:
        """Open or create the store and load the policy files, the shipped ones unless told.

        What is ``beside`` another world runs on the same event loop, so that calls of one can await calls of the other.
        """
        self.only_says_it_follows = False
        self.now_us = now_us
        self.broken: list[StoreUnusable] = []
        self.vetted: list[str] = []
        self.environment: Environment = open_environment(folder / "db", durability=durability, map_size=map_size)
        headroom = Headroom(self.environment.data_file(), free_bytes_min)
        self.store = LmdbStore(self.environment, headroom, shared=shared, fail=self.broken.append)
        self.ids = CountingIds()
        self.snapshots = Snapshots()
        self.registry = Registry(self.store, self.snapshots, self.ids)
        self.desk = TokenDesk(self.store, self.ids, CountingBytes(), OPERATOR_TOKEN)
        self.tenancy = Tenancy(self.store, self.registry, self.desk, self.ids)
        self.treasurer = Treasurer(self.store, self.snapshots, self.ids)
        self.legislator = Legislator(self.store, self.snapshots, self.ids, self._vet)
        self.authorizer = Authorizer(self.store, self.snapshots, self.ids)
        self.batches = BatchAuthorizer(self.store, self.authorizer)
        self.evaluator = Evaluator(self.store, self.snapshots, self.authorizer, self.batches)
        self.settler = Settler(self.store)
        self.auditor = Auditor(self.store)
        self.runner: asyncio.Runner = asyncio.Runner() if beside is None else beside.runner
        self._owns_runner = beside is None
        self.load(shipped_files() if files is None else files)

    async def _vet(self, text: str, file: str) -> None:
        self.vetted.append(f"{file}\n{text}")

    def __enter__(self) -> Self:
        """Give the world."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """Finish what waits and close the store."""
        self.store.close()
        if self._owns_runner:
            self.runner.close()

    # --- Running ------------------------------------------------------------------------------------------------------

    def run(self, call: Coroutine[object, object, T]) -> T:
        """Await one call."""
        return self.runner.run(call)

    def together(self, *calls: Coroutine[object, object, T]) -> list[T | BaseException]:
        """Await several calls as one batch, in their order: each had read the store before the first was committed."""

        async def gathered() -> list[T | BaseException]:
            return await asyncio.gather(*calls, return_exceptions=True)

        return self.runner.run(gathered())

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a transaction of its own."""
        return self.run(self.store.write(work))

    def load(self, files: PolicyFiles) -> None:
        """Make these the policy files that hold."""
        self.write(lambda txn: txn.keep_policy_files(files))

    # --- What a tenant consists of ------------------------------------------------------------------------------------

    def found(
        self, tenant_id: str = "t_one", *, time_zone: str = "UTC", mode: Mode = "live", root_id: str = "root"
    ) -> Founded:
        """Make a tenant and its first key."""
        draft = TenantDraft("One", tenant_id, time_zone, mode, root_id, "Root", "user")
        return self.run(self.tenancy.create(OPERATOR, draft, self.now_us)).value

    def tenant(self, tenant_id: str = "t_one", *, time_zone: str = "UTC", mode: Mode = "live") -> Tenant:
        """Make a tenant in which every action is granted to everybody."""
        tenant = self.found(tenant_id, time_zone=time_zone, mode=mode).tenant
        self.grant(tenant_id)
        return tenant

    def grant(self, tenant_id: str = "t_one", rules: Rules | None = None, identity_id: str | None = None) -> str:
        """Make a policy of rules, one that grants every action unless told; returns its id."""
        draft = PolicyDraft("grant", identity_id, Rules() if rules is None else rules, "{}", None)
        return self.run(self.legislator.create(OPERATOR, tenant_id, draft, self.now_us)).value.record.policy_id

    def cedar(self, text: str, identity_id: str | None = None, *, tenant_id: str = "t_one") -> str:
        """Make a policy of Cedar text; returns its id."""
        draft = PolicyDraft("text", identity_id, None, None, text)
        return self.run(self.legislator.create(OPERATOR, tenant_id, draft, self.now_us)).value.record.policy_id

    def identity(
        self,
        identity_id: str,
        parent_id: str = "root",
        *,
        type_name: str = "agent",
        external_id: str | None = None,
        metadata: dict[str, Json] | None = None,
        tenant_id: str = "t_one",
    ) -> Identity:
        """Make an identity below another one."""
        draft = IdentityDraft(parent_id, type_name, identity_id.title(), identity_id, external_id, metadata or {})
        return self.run(self.registry.create(OPERATOR, tenant_id, draft, self.now_us)).value.identity

    def budget(self, draft: BudgetDraft, tenant_id: str = "t_one") -> Metered:
        """Make a budget."""
        return self.run(self.treasurer.create(OPERATOR, tenant_id, draft, self.now_us)).value

    def token(self, identity_id: str | None, *, may_release: bool = False, life_us: int | None = None) -> Caller:
        """Make a token of tenant `t_one`, of an agent or of the tenant; returns its caller."""
        return self.desk.authenticate(self.minted(identity_id, may_release, life_us).text, self.now_us)

    def minted(self, identity_id: str | None, may_release: bool = False, life_us: int | None = None) -> Minted:  # noqa: FBT001, FBT002
        """Make a token and return its text with it."""
        expires_at_us = None if life_us is None else self.now_us + life_us
        kind: Literal["tenant", "agent"] = "tenant" if identity_id is None else "agent"
        draft = TokenDraft("made for a test", kind, identity_id, may_release, expires_at_us)
        return self.run(self.desk.create(OPERATOR, "t_one", draft, self.now_us)).value

    # --- Deciding and settling ----------------------------------------------------------------------------------------

    def authorize(
        self,
        request: AuthorizeRequest,
        key: IdempotencyKey | None = None,
        *,
        caller: Caller = OPERATOR,
        tenant_id: str | None = "t_one",
    ) -> Answered:
        """Decide a request."""
        named = None if caller.token is not None else tenant_id
        return self.run(self.authorizer.authorize(caller, named, request, key, self.now_us))

    def batch(
        self,
        *requests: AuthorizeRequest,
        semantics: Semantics = "execute_all",
        key: IdempotencyKey | None = None,
        caller: Caller = OPERATOR,
    ) -> AnsweredBatch:
        """Decide several requests as one."""
        return self.run(self.batches.authorize(self.batch_of(*requests, semantics=semantics, caller=caller), key))

    def batch_of(
        self, *requests: AuthorizeRequest, semantics: Semantics = "execute_all", caller: Caller = OPERATOR
    ) -> Batch:
        """A batch of tenant `t_one`, now."""
        named = None if caller.token is not None else "t_one"
        return Batch(caller, named, tuple(Item(request) for request in requests), semantics, self.now_us)

    def decide(self, request: AuthorizeRequest) -> Decision:
        """Decide a request of the operator and return the decision."""
        return self.authorize(request).decision

    def settle(
        self,
        decision_id: str,
        amount: str | None = None,
        quantities: dict[str, int] | None = None,
        *,
        final: bool = True,
        key: IdempotencyKey | None = None,
        caller: Caller = OPERATOR,
    ) -> Reservation:
        """Settle what is named."""
        named = {name: Major(str(value)) for name, value in (quantities or {}).items()}
        wanted = Wanted(None if amount is None else Major(amount), named, final)
        tenant_id = None if caller.token is not None else "t_one"
        return self.run(self.settler.settle(caller, tenant_id, decision_id, wanted, key, self.now_us)).value

    def release(self, decision_id: str, caller: Caller = OPERATOR) -> Reservation:
        """Free what a decision holds."""
        tenant_id = None if caller.token is not None else "t_one"
        return self.run(self.settler.release(caller, tenant_id, decision_id, None, self.now_us)).value

    def refund(self, decision_id: str, amount: str, caller: Caller = OPERATOR) -> Reservation:
        """Give back a part of what was settled."""
        tenant_id = None if caller.token is not None else "t_one"
        return self.run(self.settler.refund(caller, tenant_id, decision_id, Major(amount), None, self.now_us)).value

    def expire(self) -> int:
        """End the holds whose time has come; returns how many."""
        return self.run(self.settler.expire_due(self.now_us))

    def revoke(self, identity_id: str) -> None:
        """Revoke an identity."""
        self.run(self.registry.revoke(OPERATOR, "t_one", identity_id, self.now_us))

    # --- Looking ------------------------------------------------------------------------------------------------------

    @contextmanager
    def look(self, tenant_id: str = "t_one") -> Iterator[TenantTransaction]:
        """Give the committed state of a tenant."""
        with self.store.read() as txn:
            tenant = txn.tenants.find(tenant_id)
            assert tenant is not None
            yield txn.of(tenant)

    def bodies(self, tenant_id: str = "t_one") -> list[Body]:
        """Return every audit record of a tenant."""
        with self.look(tenant_id) as part:
            return [orjson.loads(body) for _, body in part.audit.read(0, 1_000_000)]

    def kinds(self, tenant_id: str = "t_one") -> list[object]:
        """Return the types of a tenant's audit records."""
        return [body["type"] for body in self.bodies(tenant_id)]

    def used(self, budget_id: str) -> tuple[int, int]:
        """Return what a budget's present window has settled and held."""
        usage = self.treasurer.get(OPERATOR, "t_one", budget_id, self.now_us).usage
        return usage.settled, usage.held

    def faults(self) -> list[str]:
        """Return what the check of the whole store finds wrong, beside what is only told of a control plane."""
        found = [fault for tenant in check(self.environment) for fault in tenant.faults]
        kept = [each for each in found if not (self.only_says_it_follows and each.message.startswith("the replica "))]
        return [f"{fault.invariant}: {fault.message}" for fault in kept]


def payment(
    amount: str | int = "10.00",
    identity_id: str = "root",
    *,
    currency: str = "CAD",
    quantities: dict[str, int] | None = None,
    merchant: str = "AWS",
    ttl_seconds: int = 604_800,
) -> AuthorizeRequest:
    """A request to pay by card; an ``int`` amount is in minor units."""
    minor = amount if isinstance(amount, int) else Major(amount).minor(currency, "amount")
    return AuthorizeRequest(
        identity_id=identity_id,
        action="card.authorize",
        resource=ResourceRef("merchant", merchant),
        amount_minor=minor,
        currency=currency,
        quantities=quantities or {},
        ttl_seconds=ttl_seconds,
    )


def tool_call(
    identity_id: str = "root", *, tool: str = "search", quantities: dict[str, int] | None = None
) -> AuthorizeRequest:
    """A request to use a tool, which costs nothing."""
    return AuthorizeRequest(
        identity_id=identity_id,
        action="tool.call",
        resource=ResourceRef("tool", tool),
        quantities=quantities or {},
        ttl_seconds=604_800,
    )


def limit(
    amount: str | int,
    identity_id: str = "root",
    *,
    period: Period = "daily",
    dimension: str = "amount",
    currency: str | None = "CAD",
    actions: tuple[str, ...] = (),
    on_exceeded: OnExceeded = "deny",
    on_expiry: OnExpiry = "release",
) -> BudgetDraft:
    """A budget to be made, in major units."""
    return BudgetDraft(
        identity_id=identity_id,
        name=f"{period} {dimension}",
        dimension=dimension,
        period=period,
        limit=Major(str(amount)),
        currency=currency if dimension == "amount" else None,
        actions=actions,
        on_exceeded=on_exceeded,
        on_expiry=on_expiry,
        notify_at_bp=8_000,
    )


def key_for(request: AuthorizeRequest, text: str = "k1", caller: Caller = OPERATOR) -> IdempotencyKey:
    """The idempotency key of a request as a door makes it."""
    return idempotency_key(caller.name, "POST /v1/authorize", text, request.canonical())


def codes(decision: Decision) -> list[str]:
    """The codes of a decision's reasons, in their order."""
    return [reason.code for reason in decision.reasons]


def replaced(request: AuthorizeRequest, **changes: object) -> AuthorizeRequest:
    """The same request with other fields."""
    return msgspec.structs.replace(request, **changes)

"""What the use cases need of a store: the port that the LMDB store implements today and PostgreSQL will.

A ``Transaction`` sees one state of everything; ``of`` narrows it to one tenant, and nothing of another tenant can be
reached through what it returns. Work given to ``Store.write`` that raises leaves nothing of itself behind.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple, Protocol, TypeVar

from sidecar.core.access import Token
from sidecar.core.accounts import Account
from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.core.grants import Grant
from sidecar.core.passkeys import Passkey
from sidecar.core.snapshot import PolicyRecord
from sidecar.service.card_program_store import ProgramStore
from sidecar.service.card_store import CardAuthorizations
from sidecar.service.delegation_store import Delegations, Intents
from sidecar.service.event_store import Outbox, Ready, Webhooks
from sidecar.service.feed_store import Feed, Replica
from sidecar.service.ledger_store import Ledger
from sidecar.service.log_store import Answers, AuditLog
from sidecar.service.payment_store import Books, DuePayment, Payments
from sidecar.service.policy_store import PolicyStore
from sidecar.service.shadow_store import Shadows
from sidecar.service.shipment_store import Shipments
from sidecar.service.token_store import Tokens

T = TypeVar("T")


class Revisions(NamedTuple):
    """How far a tenant has changed: at all, and in its policies."""

    entities: int
    policies: int


class Listed(NamedTuple, Generic[T]):
    """A stored value and its place in every list of its kind, which a cursor names."""

    place: int
    value: T


class Due(NamedTuple):
    """A hold whose time has come."""

    tenant: int
    decision_id: str


class Collection(Protocol[T]):
    """The stored values of one kind in one tenant."""

    def get(self, key: str) -> T | None:
        """Return the value with this id."""

    def place_of(self, key: str) -> int:
        """Return the place of an existing value in every list of its kind."""

    def by_external_id(self, external_id: str) -> T | None:
        """Return the value with this external id."""

    def all(self, *, after: int = 0) -> Iterator[Listed[T]]:
        """Yield every value in order of creation, from the one after that place."""

    def owned(self, owner: str, *, after: int = 0) -> Iterator[Listed[T]]:
        """Yield the values that belong to ``owner`` in order of creation."""

    def changed(self, after: int, most: int) -> list[str] | None:
        """Return the ids of the values that changed after a revision, in the order of their changes.

        None where more than ``most`` changes of any kind would have to be looked through.
        """

    def add(self, key: str, value: T, revision: int, *, owner: str | None, external_id: str | None = None) -> None:
        """Store a new value; ``revision`` is its place in lists and in the change feed."""

    def change(self, key: str, value: T, revision: int, *, external_id: str | None = None) -> None:
        """Store a changed value; ``external_id`` is the one it is found by from now on."""

    def remove(self, key: str, revision: int) -> None:
        """Forget a value."""


class Tenants(Protocol):
    """The tenants of the deployment."""

    def find(self, tenant_id: str) -> Tenant | None:
        """Return the tenant with this id."""

    def get(self, number: int) -> Tenant | None:
        """Return the tenant with this number."""

    def by_external_id(self, external_id: str) -> tuple[Tenant, ...]:
        """Return the tenants with this external id, one of each mode at most, in order of creation."""

    def next_number(self) -> int:
        """Return the number that the next tenant gets."""

    def add(self, tenant: Tenant) -> None:
        """Store a new tenant."""

    def change(self, tenant: Tenant) -> None:
        """Store a changed tenant; its id, number, mode and external id stay."""

    def after(self, number: int) -> Iterator[Tenant]:
        """Yield the tenants in order of creation, from the one after ``number``."""

    def revisions(self, number: int) -> Revisions:
        """Return how far a tenant has changed."""

    def advance(self, number: int, *, policies: bool = False) -> int:
        """Raise a tenant's revision by one and return it."""

    def reach(self, number: int, revision: int, *, policies: bool) -> None:
        """Bring a tenant to a revision that another store is at; ``policies`` says that its policies are others now."""


class TenantTransaction(Protocol):
    """Everything of one tenant as one transaction sees it."""

    @property
    def tenant(self) -> Tenant:
        """The tenant."""

    @property
    def identities(self) -> Collection[Identity]:
        """Its identities, owned by their parents."""

    @property
    def policies(self) -> Collection[PolicyRecord]:
        """Its policies made by the API, owned by the identity they hang on."""

    @property
    def budgets(self) -> Collection[Budget]:
        """Its budgets, owned by the identity or card they limit."""

    @property
    def cards(self) -> Collection[Card]:
        """Its cards, owned by their identities and found by what their networks call them."""

    @property
    def tokens(self) -> Collection[Token]:
        """Its tokens by id, owned by the identity they belong to."""

    @property
    def accounts(self) -> Collection[Account]:
        """Its accounts, owned by their identities."""

    @property
    def grants(self) -> Collection[Grant]:
        """Its permission grants, owned by the identities that were granted something; active ones are found by key."""

    @property
    def passkeys(self) -> Collection[Passkey]:
        """Its passkeys, owned by the identities that sign with them and found by their credential ids."""

    @property
    def feed(self) -> Feed:
        """Its records that are followed."""

    @property
    def books(self) -> Books:
        """Its balances and the journal."""

    @property
    def payments(self) -> Payments:
        """Its payments."""

    @property
    def card_authorizations(self) -> CardAuthorizations:
        """What card networks told of its cards."""

    @property
    def ledger(self) -> Ledger:
        """Its counters and reservations."""

    @property
    def delegations(self) -> Delegations:
        """What was decided in it for followers."""

    @property
    def audit(self) -> AuditLog:
        """Its audit log."""

    @property
    def answers(self) -> Answers:
        """The answers given in it."""

    @property
    def webhooks(self) -> Webhooks:
        """Its webhook endpoints."""

    @property
    def outbox(self) -> Outbox:
        """Its events that wait to be delivered."""

    @property
    def shadows(self) -> Shadows:
        """What its decisions would have been under the shadow policies."""

    @property
    def shipments(self) -> Shipments:
        """The logs that its followers have shipped."""


class Transaction(PolicyStore, ProgramStore, Protocol):
    """One state of the whole store, and in a write everything that this write changed."""

    @property
    def tenants(self) -> Tenants:
        """The tenants."""

    @property
    def tokens(self) -> Tokens:
        """The tokens of every tenant."""

    @property
    def answers(self) -> Answers:
        """The answers to calls that belong to no tenant."""

    @property
    def replica(self) -> Replica:
        """What a follower keeps beside the records."""

    @property
    def intents(self) -> Intents:
        """What a follower's control plane may hold for it."""

    def of(self, tenant: Tenant) -> TenantTransaction:
        """Return the part that belongs to ``tenant``."""

    def keep_clock_event(self, expected_us: int, seen_us: int) -> None:
        """Note a jump of the clock; each tenant's log tells of it in front of its next record."""

    def due(self, now_us: int, most: int) -> list[Due]:
        """Return holds that expire at or before ``now_us``."""

    def due_payments(self, now_us: int, most: int) -> list[DuePayment]:
        """Return payments of any tenant that are on their way and are to be looked after by ``now_us``."""

    def prune_replays(self, now_us: int, most: int) -> int:
        """Forget stored outcomes whose day is over; returns how many."""

    def prune_former_secrets(self, now_us: int, most: int) -> int:
        """Forget secrets whose grace time is over; returns how many."""

    def ready_lanes(self, now_us: int, most: int) -> list[Ready]:
        """Return lanes of any tenant whose next attempt is due, the earliest first."""

    def sweep_lanes(self, most: int) -> int:
        """Remove rows of lanes that were dropped; returns how many."""


class Store(Protocol):
    """A store that is open in this process."""

    def read(self) -> AbstractContextManager[Transaction]:
        """Give the committed state of this moment; nothing may be awaited inside."""

    def require_room(self) -> None:
        """Raise Unavailable when so little room is left that only what ends a hold may still be written."""

    async def write(self, work: Callable[[Transaction], T], *, apart: bool = False, is_long: bool = False) -> T:
        """Run ``work`` in a durable transaction and return its result once it is on disk.

        It may run twice, and beside the event loop: it changes nothing but the transaction and waits for nothing. When
        it raises, what shares its transaction runs again unless it is ``apart``, as what often raises should be. What
        ``is_long`` is run beside the event loop and waited for however long it takes; other writes wait behind it.
        """

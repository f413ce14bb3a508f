"""Everything of one tenant as one transaction sees it: its tables as typed views, each made when it is asked for."""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from sidecar.core.access import Token
from sidecar.core.accounts import Account
from sidecar.core.audit import Head
from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.core.feed import RecordKind
from sidecar.core.grants import Grant
from sidecar.core.passkeys import Passkey
from sidecar.core.snapshot import PolicyRecord
from sidecar.state.answers import Answers
from sidecar.state.audit_log import AuditLog
from sidecar.state.books import Books
from sidecar.state.card_authorizations import CardAuthorizations
from sidecar.state.delegation import Delegations
from sidecar.state.environment import Table, Txn
from sidecar.state.feed import Feed
from sidecar.state.ledger import Counter, Ledger
from sidecar.state.outbox import Outbox
from sidecar.state.payments import Payments
from sidecar.state.records import Collection, Kind, stored
from sidecar.state.shadow import Shadows
from sidecar.state.shipments import Shipments
from sidecar.state.webhooks import Webhooks

_identity: Final = stored(msgspec.msgpack.Decoder(Identity))
_policy: Final = stored(msgspec.msgpack.Decoder(PolicyRecord))
_budget: Final = stored(msgspec.msgpack.Decoder(Budget))
_card: Final = stored(msgspec.msgpack.Decoder(Card))
_token: Final = stored(msgspec.msgpack.Decoder(Token))
_account: Final = stored(msgspec.msgpack.Decoder(Account))
_grant: Final = stored(msgspec.msgpack.Decoder(Grant))
_passkey: Final = stored(msgspec.msgpack.Decoder(Passkey))


V = TypeVar("V")


class lazy(Generic[V]):  # noqa: N801 -- used as a decorator, like ``property``
    """A part of a transaction that is made when it is first asked for: ``cached_property`` without its lock."""

    def __init__(self, make: Callable[[Any], V]) -> None:
        """Make it by ``make``."""
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, whole: object, _kind: type | None = None) -> V:
        """Make it and put it where it is found the next time."""
        made: V = self._make(whole)
        whole.__dict__[self._name] = made
        return made


class Seen(msgspec.Struct):
    """What a transaction has read and what it made of it, shared by all views of it: counters and heads of logs."""

    counters: dict[bytes, Counter]
    heads: dict[int, Head]
    appended: list[str]


class TenantTransaction:
    """Everything of one tenant as one transaction sees it."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: Tenant, seen: Seen) -> None:
        """Look through ``txn`` at ``tenant``; ``seen`` is that of the whole transaction."""
        self._txn = txn
        self._tables = tables
        self._seen = seen
        self.tenant = tenant

    @lazy
    def identities(self) -> Collection[Identity]:
        """Its identities, owned by their parents."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.IDENTITY, _identity)

    @lazy
    def policies(self) -> Collection[PolicyRecord]:
        """Its policies made by the API, owned by the identity they hang on."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.POLICY, _policy)

    @lazy
    def budgets(self) -> Collection[Budget]:
        """Its budgets, owned by the identity or card they limit."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.BUDGET, _budget)

    @lazy
    def cards(self) -> Collection[Card]:
        """Its cards, owned by their identities and found by what their networks call them."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.CARD, _card)

    @lazy
    def tokens(self) -> Collection[Token]:
        """Its tokens by id, owned by the identity they belong to."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.TOKEN, _token)

    @lazy
    def accounts(self) -> Collection[Account]:
        """Its accounts, owned by their identities."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.ACCOUNT, _account)

    @lazy
    def grants(self) -> Collection[Grant]:
        """Its permission grants, owned by the identities that were granted something; active ones are found by key."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.GRANT, _grant)

    @lazy
    def passkeys(self) -> Collection[Passkey]:
        """Its passkeys, owned by the identities that sign with them and found by their credential ids."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.PASSKEY, _passkey)

    @lazy
    def feed(self) -> Feed:
        """Its records that are followed."""
        followed: dict[RecordKind, Collection[Any]] = {
            "identity": self.identities,
            "policy": self.policies,
            "budget": self.budgets,
            "card": self.cards,
            "token": self.tokens,
        }
        return Feed(self._txn, self._tables, self.tenant.number, followed)

    @lazy
    def books(self) -> Books:
        """Its balances and the journal."""
        return Books(self._txn, self._tables, self.tenant.number)

    @lazy
    def payments(self) -> Payments:
        """Its payments."""
        return Payments(self._txn, self._tables, self.tenant.number)

    @lazy
    def card_authorizations(self) -> CardAuthorizations:
        """What card networks told of its cards."""
        return CardAuthorizations(self._txn, self._tables, self.tenant.number)

    @lazy
    def ledger(self) -> Ledger:
        """Its counters and reservations."""
        return Ledger(self._txn, self._tables, self.tenant.number, self._seen.counters)

    @lazy
    def delegations(self) -> Delegations:
        """What was decided in it for followers."""
        return Delegations(self._txn, self._tables, self.tenant.number)

    @lazy
    def audit(self) -> AuditLog:
        """Its audit log."""
        return AuditLog(self._txn, self._tables, self.tenant, self._seen.heads, self._seen.appended)

    @lazy
    def answers(self) -> Answers:
        """The answers given in it."""
        return Answers(self._txn, self._tables, self.tenant.number)

    @lazy
    def webhooks(self) -> Webhooks:
        """Its webhook endpoints."""
        return Webhooks(self._txn, self._tables, self.tenant.number)

    @lazy
    def outbox(self) -> Outbox:
        """Its events that wait to be delivered."""
        return Outbox(self._txn, self._tables, self.tenant)

    @lazy
    def shadows(self) -> Shadows:
        """What its decisions would have been under the shadow policies."""
        return Shadows(self._txn, self._tables, self.tenant.number)

    @lazy
    def shipments(self) -> Shipments:
        """The logs that its followers have shipped."""
        return Shipments(self._txn, self._tables, self.tenant, self.audit)

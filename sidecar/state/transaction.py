"""One transaction of the store, with its tables as typed views; a tenant's part is reached through ``of`` only."""

from functools import cached_property
from typing import Final

import msgspec

from sidecar.core.access import Token
from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.core.snapshot import PolicyFiles, PolicyRecord
from sidecar.service.event_store import Ready
from sidecar.service.store import Due
from sidecar.state.answers import Answers, prune_replays
from sidecar.state.audit_log import AuditLog, keep_clock_event
from sidecar.state.codec import U64, decode, encode
from sidecar.state.environment import Table, Txn
from sidecar.state.ledger import Ledger, due_reservations
from sidecar.state.outbox import Outbox, ready_lanes, sweep_lanes
from sidecar.state.records import Collection, Kind
from sidecar.state.tenants import DEPLOYMENT, Tenants
from sidecar.state.tokens import Tokens, prune_former_secrets
from sidecar.state.webhooks import Webhooks, forget_replaced

_identity: Final = msgspec.msgpack.Decoder(Identity)
_policy: Final = msgspec.msgpack.Decoder(PolicyRecord)
_budget: Final = msgspec.msgpack.Decoder(Budget)
_card: Final = msgspec.msgpack.Decoder(Card)
_token: Final = msgspec.msgpack.Decoder(Token)
_policy_files: Final = msgspec.msgpack.Decoder(PolicyFiles)
_POLICY_FILES: Final = b"policy_files"
_POLICY_FILES_DIGEST: Final = b"policy_files_digest"
_POLICY_FILES_SINCE: Final = b"policy_files_since"
_POLICY_FILES_CHECKS: Final = b"policy_files_checks"


class TenantTransaction:
    """Everything of one tenant as one transaction sees it."""

    def __init__(self, txn: Txn, tables: dict[str, Table], tenant: Tenant, appended: list[str]) -> None:
        """Look through ``txn`` at ``tenant``; the type of each audit record that is added goes to ``appended``."""
        self._txn = txn
        self._tables = tables
        self._appended = appended
        self.tenant = tenant

    @cached_property
    def identities(self) -> Collection[Identity]:
        """Its identities, owned by their parents."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.IDENTITY, _identity)

    @cached_property
    def policies(self) -> Collection[PolicyRecord]:
        """Its policies made by the API, owned by the identity they hang on."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.POLICY, _policy)

    @cached_property
    def budgets(self) -> Collection[Budget]:
        """Its budgets, owned by the identity or card they limit."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.BUDGET, _budget)

    @cached_property
    def cards(self) -> Collection[Card]:
        """Its cards, owned by their identities and found by what their networks call them."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.CARD, _card)

    @cached_property
    def tokens(self) -> Collection[Token]:
        """Its tokens by id, owned by the identity they belong to."""
        return Collection(self._txn, self._tables, self.tenant.number, Kind.TOKEN, _token)

    @cached_property
    def ledger(self) -> Ledger:
        """Its counters and reservations."""
        return Ledger(self._txn, self._tables, self.tenant.number)

    @cached_property
    def audit(self) -> AuditLog:
        """Its audit log."""
        return AuditLog(self._txn, self._tables, self.tenant, self._appended)

    @cached_property
    def answers(self) -> Answers:
        """The answers given in it."""
        return Answers(self._txn, self._tables, self.tenant.number)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Its webhook endpoints."""
        return Webhooks(self._txn, self._tables, self.tenant.number)

    @cached_property
    def outbox(self) -> Outbox:
        """Its events that wait to be delivered."""
        return Outbox(self._txn, self._tables, self.tenant)


class Transaction:
    """One state of the whole store."""

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``; ``appended`` gathers the types of the audit records that are added."""
        self._txn = txn
        self._tables = tables
        self.appended: list[str] = []

    @cached_property
    def tenants(self) -> Tenants:
        """The tenants."""
        return Tenants(self._txn, self._tables)

    @cached_property
    def tokens(self) -> Tokens:
        """The tokens of every tenant."""
        return Tokens(self._txn, self._tables)

    @cached_property
    def answers(self) -> Answers:
        """The answers to calls that belong to no tenant, under the number of the deployment."""
        return Answers(self._txn, self._tables, DEPLOYMENT)

    def of(self, tenant: Tenant) -> TenantTransaction:
        """Return the part that belongs to ``tenant``."""
        return TenantTransaction(self._txn, self._tables, tenant, self.appended)

    def policy_files(self) -> PolicyFiles | None:
        """Return the policy files that hold, None before the first load."""
        data = self._txn.get(_POLICY_FILES, db=self._tables["meta"])
        return None if data is None else decode(bytes(data), _policy_files)

    def policy_files_digest(self) -> bytes | None:
        """Return what stands for exactly the policy files that hold, None before the first load."""
        data = self._txn.get(_POLICY_FILES_DIGEST, db=self._tables["meta"])
        return None if data is None else bytes(data)

    def keep_policy_files(self, files: PolicyFiles) -> None:
        """Replace the policy files and raise the deployment's revision."""
        self._txn.put(_POLICY_FILES, encode(files), db=self._tables["meta"])
        self._txn.put(_POLICY_FILES_DIGEST, files.digest(), db=self._tables["meta"])
        self.tenants.advance(DEPLOYMENT, policies=True)

    def keep_policy_files_checks(self, name: str) -> None:
        """Note which checks the policy files have passed."""
        self._txn.put(_POLICY_FILES_CHECKS, name.encode(), db=self._tables["meta"])

    def policy_files_checks(self) -> str | None:
        """Return which checks the policy files have passed, None where nobody noted it."""
        data = self._txn.get(_POLICY_FILES_CHECKS, db=self._tables["meta"])
        return None if data is None else bytes(data).decode()

    def keep_policy_files_since(self, now_us: int) -> None:
        """Note when the policy files were replaced."""
        self._txn.put(_POLICY_FILES_SINCE, U64.pack(now_us), db=self._tables["meta"])

    def policy_files_since(self) -> int | None:
        """Return when the policy files were replaced, None where nobody noted it."""
        data = self._txn.get(_POLICY_FILES_SINCE, db=self._tables["meta"])
        return None if data is None else int(U64.unpack(bytes(data))[0])

    def keep_clock_event(self, expected_us: int, seen_us: int) -> None:
        """Note a jump of the clock; each tenant's log tells of it in front of its next record."""
        keep_clock_event(self._txn, self._tables["meta"], expected_us, seen_us)

    def due(self, now_us: int, most: int) -> list[Due]:
        """Return up to ``most`` holds that expire at or before ``now_us``, the earliest first."""
        return due_reservations(self._txn, self._tables, now_us, most)

    def prune_replays(self, now_us: int, most: int) -> int:
        """Forget up to ``most`` stored outcomes whose day is over; returns how many."""
        return prune_replays(self._txn, self._tables, now_us, most)

    def prune_former_secrets(self, now_us: int, most: int) -> int:
        """Forget up to ``most`` secrets each of tokens and webhooks whose grace time is over; returns how many."""
        of_tokens = prune_former_secrets(self._txn, self._tables, now_us, most)
        return of_tokens + forget_replaced(self._txn, self._tables, now_us, most)

    def ready_lanes(self, now_us: int, most: int) -> list[Ready]:
        """Return up to ``most`` lanes of any tenant whose next attempt is due, the earliest first."""
        return ready_lanes(self._txn, self._tables, now_us, most)

    def sweep_lanes(self, most: int) -> int:
        """Remove up to ``most`` rows of lanes that were dropped; returns how many."""
        return sweep_lanes(self._txn, self._tables, most)

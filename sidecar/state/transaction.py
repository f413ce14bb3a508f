"""One transaction of the store, with its tables as typed views; a tenant's part is reached through ``of`` only."""

from collections.abc import Iterable
from typing import Final

import msgspec

from sidecar.core.directory import Tenant
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.service.event_store import Ready
from sidecar.service.payment_store import DuePayment
from sidecar.service.policy_store import PoliciesLoaded, Tried, Untold
from sidecar.service.store import Due
from sidecar.state.answers import Answers, prune_replays
from sidecar.state.audit_log import keep_shared_fact
from sidecar.state.card_programs import CardPrograms, forget_former
from sidecar.state.codec import U64, U64_MAX, U64_PAIR, decode, encode
from sidecar.state.delegation import Intents
from sidecar.state.environment import Table, Txn
from sidecar.state.ledger import due_reservations
from sidecar.state.notices import keep_clock_event, keep_policies_loaded, notices
from sidecar.state.outbox import ready_lanes, sweep_lanes
from sidecar.state.payments import due_payments
from sidecar.state.readings import Readings
from sidecar.state.replica import Replica
from sidecar.state.shadow import ShadowFiles
from sidecar.state.tenant_transaction import Seen, TenantTransaction, lazy
from sidecar.state.tenants import DEPLOYMENT, Tenants
from sidecar.state.tokens import Tokens, prune_former_secrets
from sidecar.state.webhooks import forget_replaced

_policy_files: Final = msgspec.msgpack.Decoder(PolicyFiles)
_tried: Final = msgspec.msgpack.Decoder(Tried)
_POLICY_FILES_DIGEST: Final = b"policy_files_digest"
_POLICY_FILES: Final = b"policy_files"
_POLICY_FILES_SINCE: Final = b"policy_files_since"
_POLICY_FILES_CHECKS: Final = b"policy_files_checks"
_POLICIES_TRIED: Final = b"policies_tried"
_POLICIES_TOLD: Final = b"policies_told"
_ALL: Final = U64_MAX
"""In place of the number of the last tenant that was told: all were."""


class Transaction:
    """One state of the whole store.

    Counters, revisions and the heads of logs are read once, so nobody else may write them in the same LMDB transaction.
    """

    def __init__(self, txn: Txn, tables: dict[str, Table]) -> None:
        """Look through ``txn``; ``appended`` gathers the types of the audit records that are added."""
        self._txn = txn
        self._tables = tables
        self._parts: dict[int, TenantTransaction] = {}
        self.appended: list[str] = []
        self._seen = Seen({}, {}, self.appended)

    @lazy
    def tenants(self) -> Tenants:
        """The tenants."""
        return Tenants(self._txn, self._tables)

    @lazy
    def tokens(self) -> Tokens:
        """The tokens of every tenant."""
        return Tokens(self._txn, self._tables)

    @lazy
    def card_programs(self) -> CardPrograms:
        """The card programs of every tenant."""
        return CardPrograms(self._txn, self._tables)

    @lazy
    def answers(self) -> Answers:
        """The answers to calls that belong to no tenant, under the number of the deployment."""
        return Answers(self._txn, self._tables, DEPLOYMENT)

    @lazy
    def readings(self) -> Readings:
        """What was read out of policies."""
        return Readings(self._txn, self._tables)

    @lazy
    def replica(self) -> Replica:
        """What a follower keeps beside the records."""
        return Replica(self._txn, self._tables)

    @lazy
    def intents(self) -> Intents:
        """What a follower's control plane may hold for it."""
        return Intents(self._txn, self._tables)

    @lazy
    def shadow_files(self) -> ShadowFiles:
        """The shadow files."""
        return ShadowFiles(self._txn, self._tables)

    def of(self, tenant: Tenant) -> TenantTransaction:
        """Return the part that belongs to ``tenant``."""
        found = self._parts.get(tenant.number)
        if found is None or found.tenant != tenant:
            found = self._parts[tenant.number] = TenantTransaction(self._txn, self._tables, tenant, self._seen)
        return found

    def policy_files(self) -> PolicyFiles | None:
        """Return the policy files that hold, None before the first load."""
        data = self._txn.get(_POLICY_FILES, db=self._tables["meta"])
        return None if data is None else decode(bytes(data), _policy_files)

    def policy_files_digest(self) -> bytes | None:
        """Return what stands for exactly the policy files that hold, None before the first load."""
        data = self._txn.get(_POLICY_FILES_DIGEST, db=self._tables["meta"])
        return None if data is None else bytes(data)

    def keep_policy_files(self, files: PolicyFiles) -> None:
        """Replace the policy files, keep their texts as facts for all tenants, and raise the deployment's revision."""
        self.keep_file_texts(files.all)
        self.exchange_policy_files(files)

    def exchange_policy_files(self, files: PolicyFiles) -> None:
        """Replace the policy files, whose texts are kept already, and raise the deployment's revision."""
        self._txn.put(_POLICY_FILES, encode(files), db=self._tables["meta"])
        self._txn.put(_POLICY_FILES_DIGEST, files.digest(), db=self._tables["meta"])
        self.tenants.advance(DEPLOYMENT, policies=True)

    def keep_file_texts(self, files: Iterable[SourceFile]) -> None:
        """Keep the texts of files as facts that the records of any tenant may name."""
        for file in files:
            keep_shared_fact(self._txn, self._tables["facts"], file.text.encode())

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

    def keep_policies_loaded(self, loaded: PoliciesLoaded) -> None:
        """Note that policy files took the place of others; each log tells of it in front of its next record."""
        reached = msgspec.structs.replace(loaded, tenants_below=self.tenants.next_number())
        keep_policies_loaded(self._txn, self._tables["meta"], reached)

    def untold_load(self) -> Untold | None:
        """Return the newest load of policy files while there may be tenants that were not told of it."""
        loaded = notices(self._txn, self._tables["meta"]).loaded
        if loaded is None:
            return None
        data = self._txn.get(_POLICIES_TOLD, db=self._tables["meta"])
        number, after = (0, 0) if data is None else U64_PAIR.unpack(bytes(data))
        if number != loaded.number:
            return Untold(loaded, 0)
        return None if after == _ALL else Untold(loaded, after)

    def keep_told(self, loaded: PoliciesLoaded, after: int | None) -> None:
        """Note up to which tenant's number a load was told; None for all of them."""
        row = U64_PAIR.pack(loaded.number, _ALL if after is None else after)
        self._txn.put(_POLICIES_TOLD, row, db=self._tables["meta"])

    def policies_tried(self) -> Tried | None:
        """Return what was tried last, None where nobody noted it."""
        data = self._txn.get(_POLICIES_TRIED, db=self._tables["meta"])
        return None if data is None else decode(bytes(data), _tried)

    def keep_policies_tried(self, tried: Tried) -> None:
        """Note what was tried last."""
        self._txn.put(_POLICIES_TRIED, encode(tried), db=self._tables["meta"])

    def keep_clock_event(self, expected_us: int, seen_us: int) -> None:
        """Note a jump of the clock; each tenant's log tells of it in front of its next record."""
        keep_clock_event(self._txn, self._tables["meta"], expected_us, seen_us)

    def due(self, now_us: int, most: int) -> list[Due]:
        """Return up to ``most`` holds that expire at or before ``now_us``, the earliest first."""
        return due_reservations(self._txn, self._tables, now_us, most)

    def due_payments(self, now_us: int, most: int) -> list[DuePayment]:
        """Return up to ``most`` payments of any tenant that are to be looked after, the earliest first."""
        return due_payments(self._txn, self._tables, now_us, most)

    def prune_replays(self, now_us: int, most: int) -> int:
        """Forget up to ``most`` stored outcomes whose day is over; returns how many."""
        return prune_replays(self._txn, self._tables, now_us, most)

    def prune_former_secrets(self, now_us: int, most: int) -> int:
        """Forget up to ``most`` secrets each of tokens, webhooks and card programs after their grace times.

        Returns how many.
        """
        prune = (prune_former_secrets, forget_replaced, forget_former)
        return sum(forget(self._txn, self._tables, now_us, most) for forget in prune)

    def ready_lanes(self, now_us: int, most: int) -> list[Ready]:
        """Return up to ``most`` lanes of any tenant whose next attempt is due, the earliest first."""
        return ready_lanes(self._txn, self._tables, now_us, most)

    def sweep_lanes(self, most: int) -> int:
        """Remove up to ``most`` rows of lanes that were dropped; returns how many."""
        return sweep_lanes(self._txn, self._tables, most)

"""What happened in a filled store: decisions that were made and settled, and holds that are still open.

One decision is made and settled by the services; the others are its copies, each with an id, a time, a merchant and
figures of its own, written by the same tables. So each permit has its audit record, its request as a fact, its stored
answer and its reservation, and counters are the sums. What is left out: idempotency keys, events of webhooks, denials,
and any variety in who asks: all of it is one agent's, on one budget.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import orjson

from bench.bulk import Bulk
from bench.population import ACTION, OPERATOR, Filled
from sidecar.core.audit import encode_hash
from sidecar.core.budget import Budget
from sidecar.core.model import AuthorizeRequest, Decision, ResourceRef
from sidecar.core.reservation import Posting, Reservation
from sidecar.service.access import tenant_of
from sidecar.service.authorize import Authorizer
from sidecar.service.identities import IdentityDraft
from sidecar.service.settlement import Settler, Wanted
from sidecar.service.store import TenantTransaction, Transaction

AMOUNT_MINOR: Final = 100
HOLD_SECONDS: Final = 30 * 86_400
CHUNK: Final = 1_000
"""Copies that are booked on the counter together."""


class Mould(msgspec.Struct, frozen=True):
    """One decision in all its parts: as it was made, and after it was settled."""

    request: AuthorizeRequest
    decision: Decision
    record: dict[str, Any]
    held: Reservation
    settlement: dict[str, Any]
    settled: Reservation
    budget: Budget


class Clerk:
    """Copies the decisions of one new agent, whose team has the one budget that they claim."""

    def __init__(self, bulk: Bulk, filled: Filled) -> None:
        """Make the agent and the first decision."""
        self._bulk = bulk
        self._tenant = bulk.do(lambda txn: tenant_of(txn, OPERATOR, filled.tenant_id))
        self._mould = bulk.call(self._cast(filled))
        before = self._mould.record["budgets"][0]
        self._settled, self._held = before[4] + AMOUNT_MINOR, before[5]
        self._count = 0

    async def _cast(self, filled: Filled) -> Mould:
        bulk, tenant_id = self._bulk, filled.tenant_id
        draft = IdentityDraft(filled.team_id, "agent", "Clerk")
        agent = (await bulk.registry.create(OPERATOR, tenant_id, draft, bulk.now_us())).value.identity
        request = AuthorizeRequest(
            identity_id=agent.identity_id,
            action=ACTION,
            resource=ResourceRef("merchant", "shop"),
            amount_minor=AMOUNT_MINOR,
            currency="CAD",
            merchant_category="7372",
            ttl_seconds=HOLD_SECONDS,
        )
        authorizer = Authorizer(bulk, bulk.snapshots, bulk.new_id)
        decision = (await authorizer.authorize(OPERATOR, tenant_id, request, None, bulk.now_us())).decision
        if decision.decision_id is None or not decision.allowed or decision.audit is None:
            raise RuntimeError(f"the decision to be copied is no permit: {decision.reasons}")
        with bulk.read() as txn:
            part = txn.of(self._tenant)
            held, budget = part.ledger.reservation(decision.decision_id), part.budgets.get(filled.team_budget_id)
        wanted = Wanted(None, {}, final=True)
        done = await Settler(bulk).settle(OPERATOR, tenant_id, decision.decision_id, wanted, None, bulk.now_us())
        with bulk.read() as txn:
            record, settlement = [
                orjson.loads(body) for _, body in txn.of(self._tenant).audit.read(decision.audit.seq, 2)
            ]
        if held is None or budget is None:
            raise LookupError(decision.decision_id)
        return Mould(request, decision, record, held, settlement, done.value, budget)

    def settled(self, count: int, told: Callable[[int], object]) -> None:
        """Copy the decision ``count`` times, each settled at once: two records each."""
        self._repeat(count, told, self._settle)

    def open(self, count: int, told: Callable[[int], object]) -> None:
        """Copy the decision ``count`` times, each held for as long as a hold can live: one record each."""
        self._repeat(count, told, self._hold)

    def _repeat(self, count: int, told: Callable[[int], object], end: Callable[[TenantTransaction, str], None]) -> None:
        for begin in range(0, count, CHUNK):
            copies = min(CHUNK, count - begin)
            self._bulk.do(partial(self._copy, copies=copies, end=end), pieces=copies)
            told(copies)

    def _copy(self, txn: Transaction, copies: int, end: Callable[[TenantTransaction, str], None]) -> None:
        part, settled, held = txn.of(self._tenant), self._settled, self._held
        for _ in range(copies):
            end(part, self._permit(part))
        posting = Posting(self._mould.held.claims[0], self._settled - settled, self._held - held)
        part.ledger.grant(posting, self._mould.budget)

    def _permit(self, part: TenantTransaction) -> str:
        """Record and store a permit and return its id; its reservation is for whoever ends it."""
        mould, now_us = self._mould, self._bulk.now_us()
        self._count += 1
        decision_id = self._bulk.new_id("dec", now_us)
        resource = ResourceRef("merchant", f"shop-{self._count}")
        request = msgspec.structs.replace(mould.request, resource=resource)
        budget_id, revision, fact, start, _, _, asked = mould.record["budgets"][0]
        expires_at_us = now_us + HOLD_SECONDS * 1_000_000
        body = mould.record | {
            "decision": decision_id,
            "now": now_us,
            "resource": {"type": resource.type, "id": resource.id},
            "request": encode_hash(part.audit.keep_request(request.canonical())),
            "budgets": [[budget_id, revision, fact, start, self._settled, self._held, asked]],
            "expires": expires_at_us,
        }
        used = self._settled + self._held
        check = msgspec.structs.replace(
            mould.decision.budget_checks[0],
            settled=self._settled,
            reserved=self._held,
            remaining=mould.budget.limit - used,
        )
        decision = msgspec.structs.replace(
            mould.decision,
            decision_id=decision_id,
            budget_checks=(check,),
            evaluated_at_us=now_us,
            expires_at_us=expires_at_us,
            audit=part.audit.append("decision", now_us, body),
        )
        part.answers.keep_decision(decision)
        return decision_id

    def _settle(self, part: TenantTransaction, decision_id: str) -> None:
        self._keep(part, self._mould.settled, decision_id)
        body = self._mould.settlement | {"decision": decision_id}
        part.audit.append(self._mould.settlement["type"], self._bulk.now_us(), body)
        self._settled += AMOUNT_MINOR

    def _hold(self, part: TenantTransaction, decision_id: str) -> None:
        self._keep(part, self._mould.held, decision_id)
        self._held += AMOUNT_MINOR

    def _keep(self, part: TenantTransaction, mould: Reservation, decision_id: str) -> None:
        now_us = self._bulk.now_us()
        expires_at_us = now_us + HOLD_SECONDS * 1_000_000
        reservation = msgspec.structs.replace(
            mould, decision_id=decision_id, created_at_us=now_us, expires_at_us=expires_at_us
        )
        part.ledger.keep(reservation)

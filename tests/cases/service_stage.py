"""Stories on the services alone: no door, no policy process, a clock that is set, requests in minor units."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from sidecar.app.sources import AscendingIds, random_bytes
from sidecar.core.access import Caller
from sidecar.core.budget import Budget, OnExceeded
from sidecar.core.idempotency import idempotency_key
from sidecar.core.instants import utc_text
from sidecar.core.model import AuthorizeRequest, BudgetCheck, Decision, Reason, ResourceRef
from sidecar.core.money import Major, major_text
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyFiles
from sidecar.core.staleness import DEFAULT_LIMITS, Contact, Instant
from sidecar.core.windows import Period
from sidecar.replica.files import read_files
from sidecar.service.audit import AuditFilter, Auditor, Entry
from sidecar.service.authorize import Answered, Authorizer
from sidecar.service.batch import Batch, BatchAuthorizer, Item, Semantics
from sidecar.service.budget_changes import BudgetDraft, BudgetPatch
from sidecar.service.budgets import Treasurer
from sidecar.service.card_drafts import CardDraft
from sidecar.service.explain import explain
from sidecar.service.feed_store import ReplicaState
from sidecar.service.freshness import Freshness
from sidecar.service.identities import IdentityDraft, IdentityPatch, Registry
from sidecar.service.kill_switch import KillSwitch
from sidecar.service.paging import PageRequest
from sidecar.service.policies import Legislator, PolicyDraft
from sidecar.service.settlement import Settler, Wanted
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Transaction
from sidecar.service.tenants import Tenancy, TenantDraft
from sidecar.service.tokens import TokenDesk
from sidecar.service.treasury import CardDesk
from sidecar.state.environment import open_environment
from sidecar.state.headroom import Headroom
from sidecar.state.store import LmdbStore
from tests.cases.story import ROOT_NAME, Decided, Document, Figure, Limit, Member, Plastic, Policy, Question

T = TypeVar("T")
OPERATOR = Caller("operator")


async def trust(text: str, file: str) -> None:
    """Let every policy text pass: those of the stories are our own."""


class ServiceStage:
    """The services over a store of their own in ``folder``."""

    def __init__(self, folder: Path, policies: Path, schemas: Path) -> None:
        """Open the store and load the files."""
        environment = open_environment(folder / "db")
        self._store = LmdbStore(environment, Headroom(environment.data_file(), 0), shared=False, fail=print)
        self._runner = asyncio.Runner()
        snapshots, new_id = Snapshots(), AscendingIds()
        self._registry = Registry(self._store, snapshots, new_id)
        desk = TokenDesk(self._store, new_id, random_bytes, "unused")
        self._tenancy = Tenancy(self._store, self._registry, desk, new_id)
        self._legislator = Legislator(self._store, snapshots, new_id, trust)
        self._treasurer = Treasurer(self._store, snapshots, new_id)
        self._cards = CardDesk(self._store, self._treasurer, new_id)
        self._kill_switch = KillSwitch(self._store)
        following = Freshness(DEFAULT_LIMITS, lambda: Instant("boot", self._now_us, self._now_us))
        self._standing, self._followed = (
            Authorizer(self._store, snapshots, new_id, freshness=freshness) for freshness in (None, following)
        )
        self._authorizer = self._standing
        self._batches = BatchAuthorizer(self._store, self._authorizer)
        self._settler = Settler(self._store)
        self._auditor = Auditor(self._store)
        files: PolicyFiles = read_files(policies, schemas)
        self._run(self._store.write(lambda txn: txn.keep_policy_files(files)))
        self._now_us = 0
        self._tenant = ""
        self._budgets: dict[str, Budget] = {}

    def __enter__(self) -> Self:
        """Give the stage."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self._store.close()
        self._runner.close()

    def _run(self, work: Coroutine[object, object, T]) -> T:
        return self._runner.run(work)

    def set_clock(self, now_us: int) -> None:
        """Make it that time."""
        self._now_us = now_us

    def open(self, tenant_id: str, time_zone: str) -> None:
        """Make the tenant."""
        draft = TenantDraft("Acme", tenant_id, time_zone, "live", ROOT_NAME, "Ann", "user")
        self._tenant = tenant_id
        self._run(self._tenancy.create(OPERATOR, draft, self._now_us))

    def add_identity(self, member: Member) -> None:
        """Make an identity."""
        draft = IdentityDraft(member.parent, member.type, member.id, member.id, metadata=member.metadata)
        self._run(self._registry.create(OPERATOR, self._tenant, draft, self._now_us))

    def add_policy(self, policy: Policy) -> str:
        """Make a policy."""
        rules = None if policy.rules is None else msgspec.convert(policy.rules, Rules, dec_hook=major)
        text = None if policy.rules is None else msgspec.json.encode(policy.rules).decode()
        draft = PolicyDraft(policy.name, policy.of, rules, text, policy.cedar)
        stored = self._run(self._legislator.create(OPERATOR, self._tenant, draft, self._now_us)).value
        return stored.record.policy_id

    def add_card(self, card: Plastic) -> str:
        """Make a card."""
        draft = CardDraft(identity_id=card.of, currency=card.currency, allowed_mccs=card.mccs)
        return self._run(self._cards.create(OPERATOR, self._tenant, draft, None, self._now_us)).value.card.card_id

    def add_budget(self, limit: Limit) -> str:
        """Make a budget."""
        draft = BudgetDraft(
            identity_id=limit.of,
            card_id=limit.card,
            name=limit.name,
            dimension=limit.dimension,
            period=msgspec.convert(limit.period, Period),
            limit=Major(str(limit.limit)),
            currency=limit.currency,
            actions=limit.actions,
            on_exceeded=msgspec.convert(limit.on_exceeded, OnExceeded),
            on_expiry="release",
            notify_at_bp=8_000,
        )
        made = self._run(self._treasurer.create(OPERATOR, self._tenant, draft, self._now_us)).value.budget
        self._budgets[made.budget_id] = made
        return made.budget_id

    def decide(self, question: Question) -> Decided:
        """Have a request decided."""
        request = asked(question)
        key = None if question.key is None else idempotency_key("operator", "decide", question.key, request.canonical())
        answered = self._run(
            self._authorizer.authorize(OPERATOR, self._tenant, request, key, self._now_us, explain=question.explain)
        )
        decision = answered.decision
        assert decision.decision_id is not None
        assert decision.audit is not None
        _, page = self._auditor.listed(
            OPERATOR, self._tenant, AuditFilter(), PageRequest(after=decision.audit.seq, limit=1)
        )
        return Decided(
            decision_id=decision.decision_id,
            allowed=decision.allowed,
            reasons=[reason(each) for each in decision.reasons],
            budgets=[checked(each) for each in decision.budget_checks],
            reservation=held(decision),
            record=self._record(page.values[0]),
            nearest=near(answered),
        )

    def batch(self, questions: list[Question], semantics: str) -> list[bool]:
        """Have several requests decided as one."""
        items = tuple(Item(asked(question), question.explain) for question in questions)
        batch = Batch(OPERATOR, self._tenant, items, msgspec.convert(semantics, Semantics), self._now_us)
        answered = self._run(self._batches.authorize(batch, None))
        return [each.decision.allowed for each in answered.answers]

    def _record(self, entry: Entry) -> Document:
        body: Document = dict(entry.body)
        document = {name: body.get(name) for name in ("verdict", "codes", "action", "resource", "matched", "currency")}
        if "amount" in body:
            document["amount"] = major_text(body["amount"], body["currency"])
        optional = ("replay_of", "card", "age_ms", "stale_after_ms")
        document |= {name: body[name] for name in optional if name in body}
        return document | {
            "type": body["type"],
            "identity": body["identity"],
            "chain": [link[0] for link in body["chain"]],
            "budgets": [claim_row(row, self._budgets[row[0]].currency) for row in body["budgets"]],
        }

    def end(self, kind: str, decision_id: str, amount: Figure | None, *, final: bool) -> None:
        """Settle, release or refund."""
        exact = None if amount is None else Major(str(amount))
        now_us = self._now_us
        if kind == "settle":
            wanted = Wanted(exact, {}, final)
            self._run(self._settler.settle(OPERATOR, self._tenant, decision_id, wanted, None, now_us))
        elif kind == "release":
            self._run(self._settler.release(OPERATOR, self._tenant, decision_id, None, now_us))
        else:
            assert exact is not None
            self._run(self._settler.refund(OPERATOR, self._tenant, decision_id, exact, None, now_us))

    def mark(self, kind: str, identity_id: str) -> None:
        """Revoke, suspend or resume an identity."""
        if kind == "revoke":
            self._run(self._registry.revoke(OPERATOR, self._tenant, identity_id, self._now_us))
            return
        patch = IdentityPatch(status="suspended" if kind == "suspend" else "active")
        self._run(self._registry.change(OPERATOR, self._tenant, identity_id, patch, self._now_us))

    def turn(self, kind: str, card_id: str) -> None:
        """Freeze, unfreeze or close a card."""
        call = {"freeze": self._cards.freeze, "unfreeze": self._cards.unfreeze, "close": self._cards.close}[kind]
        self._run(call(OPERATOR, self._tenant, card_id, None, self._now_us))

    def kill(self, identity_id: str) -> None:
        """Use the kill switch."""
        self._run(self._kill_switch.kill(OPERATOR, self._tenant, identity_id, None, self._now_us))

    def limit(self, budget_id: str, limit: Figure) -> None:
        """Change the limit of a budget."""
        patch = BudgetPatch(Major(str(limit)), None, None, None)
        self._run(self._treasurer.change(OPERATOR, self._tenant, budget_id, patch, self._now_us))

    def drop_policy(self, policy_id: str) -> None:
        """Delete a policy."""
        self._run(self._legislator.delete(OPERATOR, self._tenant, policy_id, self._now_us))

    def follow(self, age_seconds: int | None) -> None:
        """Have the data of a follower that was confirmed so long ago, or be none."""
        self._authorizer = self._standing if age_seconds is None else self._followed
        if age_seconds is None:
            return
        asked_us = self._now_us - age_seconds * 1_000_000
        contact = Contact(Instant("boot", asked_us, asked_us), 0)
        state = ReplicaState(
            tenant_id=self._tenant, origin="cp", follower_id="tok", scope=None, revision=0, files_digest=""
        )

        def keep(txn: Transaction) -> None:
            txn.replica.keep_state(state)
            txn.replica.acknowledge(state.follower_id)
            txn.replica.keep_contact(contact)

        self._run(self._store.write(keep))


def major(wanted: type, value: object) -> object:
    """Return an amount of a rules policy."""
    assert wanted is Major
    return Major(str(value))


def asked(question: Question) -> AuthorizeRequest:
    """Return the request as a door would hand it on."""
    thing = question.resource
    amount = None
    if thing.amount is not None:
        assert thing.currency is not None
        amount = Major(str(thing.amount)).minor(thing.currency, "amount")
    return AuthorizeRequest(
        identity_id=question.identity,
        action=question.action,
        resource=ResourceRef(thing.type, thing.id),
        amount_minor=amount,
        currency=thing.currency,
        merchant_category=thing.merchant_category,
        quantities=thing.quantities,
        attributes=thing.attributes,
        context=question.context,
        card_id=question.card,
        ttl_seconds=question.ttl_seconds,
    )


def shown(value: int | None, currency: str | None) -> object:
    """Return a figure in major units."""
    return value if value is None or currency is None else major_text(value, currency)


def reason(value: Reason) -> Document:
    """Return a reason in the words of a story."""
    return {
        "code": value.code,
        "policy": value.policy_id,
        "rule": value.matched_rule,
        "source": value.source,
        "advice": value.advice,
        "identity": value.identity_id,
        "card": value.card_id,
        "budget": value.budget_id,
        "requested": shown(value.requested, value.currency),
        "remaining": shown(value.remaining, value.currency),
        "retry_at": None if value.retry_at_us is None else utc_text(value.retry_at_us),
    }


def checked(value: BudgetCheck) -> Document:
    """Return what a budget said in the words of a story."""
    document: Document = {
        name: shown(getattr(value, name), value.currency)
        for name in ("limit", "settled", "reserved", "requested", "remaining")
    }
    resets_at = None if value.resets_at_us is None else utc_text(value.resets_at_us)
    return document | {"budget": value.budget_id, "allowed": value.allowed, "resets_at": resets_at}


def held(decision: Decision) -> Document | None:
    """Return what a permit holds in the words of a story."""
    if decision.expires_at_us is None:
        return None
    return {
        "state": "held",
        "amount": shown(decision.reserved_minor, decision.currency),
        "currency": decision.currency,
        "expires_at": utc_text(decision.expires_at_us),
    }


def near(answered: Answered) -> Document | None:
    """Return the nearest that would pass in the words of a story: amount and currency, and from when."""
    if answered.grounds is None:
        return None
    found = explain(OPERATOR, answered.grounds, answered.decision).nearest
    if found is None:
        return None
    document: Document = {}
    if found.amount_minor is not None:
        document |= {"amount": shown(found.amount_minor, found.currency), "currency": found.currency}
    if found.currencies:
        document["currencies"] = found.currencies
    return document if found.at_us is None else document | {"at": utc_text(found.at_us)}


def claim_row(row: list[Any], currency: str | None) -> Document:
    """Return a budget's row of a record in the words of a story."""
    settled, used, wanted = (shown(value, currency) for value in row[4:7])
    return {"budget": row[0], "settled": settled, "held": used, "asked": wanted}

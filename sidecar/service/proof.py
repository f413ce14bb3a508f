"""The proof of a history: each recorded decision is decided again by what held then, and must come out the same.

Same means the same bytes: the body of the record is built anew from the judgement and from counters that were folded
from the records before, none of them copied. ``sidecar.service.chain_proof`` reads the same records apart from it, so
that both can be done at once. A log for which both hold was neither changed nor written by anything that decides
otherwise.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import orjson

from sidecar.core.audit import Body, Capture, DecisionFacts, Verdict, decision_body, encode_hash, forced_body
from sidecar.core.errors import ConfigurationInvalid, Conflict, NotFound, SidecarError, StoreUnusable, ValidationFailed
from sidecar.core.history import Decided, Enacted, Ended, Event, Forced, Opened, opening, read_event
from sidecar.core.model import AuthorizeRequest
from sidecar.core.policy import engine
from sidecar.service.books import Books
from sidecar.service.card_opening import capture_claims, capture_facts, capture_request, settled_at_once
from sidecar.service.chain_proof import CHUNK, Chain, Difference
from sidecar.service.chronicle import Chronicle, FactMissing, Facts, reopened
from sidecar.service.judgement import Judgement, reserve
from sidecar.service.past import Past
from sidecar.service.scene import Trial
from sidecar.service.snapshots import identity_version

FAILURES: Final = (NotFound, ValidationFailed, Conflict, StoreUnusable)


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that was erased, and the record that needs it."""

    seq: int
    decision_id: str | None
    what: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. ``decisions`` are those that were decided again, up to ``difference`` where there is one."""

    tenant_id: str
    entries: int
    decisions: int
    missing: tuple[Missing, ...]
    missing_count: int
    difference: Difference | None

    @property
    def is_exact(self) -> bool:
        """Whether every decision that could be decided again came out as it was recorded."""
        return self.difference is None


MISSING_MAX: Final = 10_000
"""Missing facts that are named; all are counted."""


def joined(chain: Chain, proof: Proof) -> Proof:
    """Return the proof of a log whose chain was verified as well: what breaks that is what is wrong."""
    return proof if chain.fault is None else msgspec.structs.replace(proof, difference=chain.fault)


class Prover:
    """Proves one history; ``accept_engine`` decides by this engine what another one decided."""

    def __init__(self, chronicle: Chronicle, told: Callable[[int], object], *, accept_engine: bool) -> None:
        """Prove ``chronicle``; ``told`` hears how many records are done."""
        self._chronicle = chronicle
        self._told = told
        self._accept_engine = accept_engine
        self._decisions = 0
        self._missing: list[Missing] = []
        self._missing_count = 0

    def prove(self) -> Proof:
        """Return what comes of deciding again.

        Raises ConfigurationInvalid for a record of a format or by an engine that this version does not have.
        """
        chronicle = self._chronicle
        course: _Course | None = None
        for seq, body in chronicle.entries():
            try:
                event = read_event(body)
                if course is None:
                    course = _Course(chronicle, opening(event))
                difference = self._take(course, event, body)
                course.last_us = max(course.last_us, event.ts_us)
            except FAILURES as error:
                difference = _broken(seq, None, error)
            if difference is not None:
                return self._end(seq, difference)
            if seq % CHUNK == 0:
                self._told(seq)
        return self._end(chronicle.size, None)

    def _take(self, course: "_Course", event: Event, body: bytes) -> Difference | None:
        if isinstance(event, Decided):
            return self._decide(course, event, body)
        if isinstance(event, Forced):
            return self._force(course, event, body)
        if isinstance(event, Ended):
            course.books.end_exactly(event)
            return None
        known = len(course.past.lost)
        course.take(event)
        for seq, what in course.past.lost[known:]:
            self._note(Missing(seq=seq, decision_id=None, what=what))
        return None

    def _decide(self, course: "_Course", decided: Decided, body: bytes) -> Difference | None:
        if decided.engine != engine() and not self._accept_engine:
            raise ConfigurationInvalid(
                f"{self._chronicle.place(decided.seq)}: decided by `{decided.engine}`, which cannot be proven by"
                f" `{engine()}`; install that engine, or decide by this one with --accept-engine"
            )
        try:
            made = course.decide(decided)
        except FactMissing as missing:
            self._note(Missing(seq=decided.seq, decision_id=decided.decision_id, what=missing.what))
            course.books.permit_as_recorded(decided, course.past.scene.budgets.get)
            return None
        except FAILURES as error:
            return _broken(decided.seq, decided.decision_id, error)
        self._decisions += 1
        return None if made == body else _difference(decided, body, made)

    def _force(self, course: "_Course", forced: Forced, body: bytes) -> Difference | None:
        """Claim again what was captured without a hold."""
        try:
            made = course.force(forced)
        except FactMissing as missing:
            self._note(Missing(seq=forced.seq, decision_id=forced.decision_id, what=missing.what))
            course.books.force_as_recorded(forced, course.past.scene.budgets.get)
            return None
        except FAILURES as error:
            return _broken(forced.seq, forced.decision_id, error)
        return None if made == body else _difference(forced, body, made)

    def _note(self, missing: Missing) -> None:
        self._missing_count += 1
        if len(self._missing) < MISSING_MAX:
            self._missing.append(missing)

    def _end(self, entries: int, difference: Difference | None) -> Proof:
        self._told(entries)
        return Proof(
            tenant_id=self._chronicle.tenant_id,
            entries=entries,
            decisions=self._decisions,
            missing=tuple(self._missing),
            missing_count=self._missing_count,
            difference=difference,
        )


class _Course:
    """What happened then, once more."""

    def __init__(self, chronicle: Chronicle, opened: Opened) -> None:
        self.past = Past(opened, Facts(chronicle))
        self.books = Books(reopened(chronicle))
        self.last_us = 0
        self._trial: Trial | None = None

    def take(self, event: Event) -> None:
        """Change the scene, and what rolling budgets still count, as a record says."""
        self.past.take(event)
        for rebound in self.past.rebounds:
            self.books.counters.sweep(*rebound)

    def decide(self, decided: Decided) -> bytes:
        """Decide again, book what comes of it, and return the body of the record that it makes."""
        past, trial = self.past, self._tried(decided)
        request = past.facts.request(decided)
        judgement = trial.again(request, decided)
        placed = None
        if judgement.allowed:
            placed = reserve(judgement.findings, request, decided.decision_id, decided.now_us, decided.seat)
        self.books.permit(placed)
        expires_us = placed.reservation.expires_at_us if placed is not None and placed.reservation.is_visible else None
        fields = _fields(decided, request, judgement, expires_us)
        fields |= decided.frame | {"ts": max(self.last_us, decided.now_us), "entity_revision": past.revision}
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)

    def force(self, forced: Forced) -> bytes:
        """Claim again what was captured without a hold, book it, and return the body of the record that it makes."""
        trial = self._tried(forced)
        view = trial.view(forced.identity, forced.card)
        capture = Capture(
            decision_id=forced.decision_id,
            network=forced.network,
            authorization_id=forced.authorization,
            merchant=forced.merchant,
            by=forced.by,
        )
        request = capture_request(forced.identity, forced.card, forced.amount, forced.currency)
        claimed = capture_claims(trial.ledger, view, request, forced.now_us)
        self.books.permit(settled_at_once(request, capture, claimed, forced.now_us))
        fields = forced_body(
            request=request,
            capture=capture,
            claimed=claimed,
            facts=capture_facts(view, claimed),
            now_us=forced.now_us,
            entity_revision=self.past.revision,
        )
        fields |= forced.frame | {"ts": max(self.last_us, forced.now_us)}
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)

    def _tried(self, enacted: Enacted) -> Trial:
        """Return the scene under the policies that a record names."""
        self.past.require_enacted(enacted)
        policies = self.past.statutes.of(enacted)
        if self._trial is None:
            self._trial = Trial(self.past.scene, policies, self.books.counters)
        self._trial.turn_to(policies)
        return self._trial


def _fields(decided: Decided, request: AuthorizeRequest, judgement: Judgement, expires_us: int | None) -> Body:
    """Return the body of a decision's record; what no ruling makes is taken from the one that lies there."""
    proposal, findings = judgement.proposal, judgement.findings
    view = proposal.view
    verdict = Verdict(
        decision_id=decided.decision_id,
        allowed=judgement.allowed,
        codes=tuple([reason.code for reason in judgement.reasons]),
        determining=proposal.ruling.determining,
        errors=tuple([fault.policy_id for fault in proposal.ruling.errors]),
        expires_at_us=expires_us,
        replay_of=decided.replay_of,
        freshly=decided.freshly,
        seat=decided.seat,
        referral=decided.referral,
    )
    facts = DecisionFacts(
        request=decided.request,
        policies=encode_hash(view.policies.digest) if decided.engine == engine() else decided.policies,
        chain=view.identity_versions,
        budgets=tuple([view.budget_versions[claim.budget.budget_id] for claim, _ in findings.claimed]),
        others=tuple([identity_version(identity) for identity in proposal.others]),
        card=view.card_version,
    )
    return decision_body(
        request=request,
        verdict=verdict,
        claimed=findings.claimed,
        facts=facts,
        engine=decided.engine,
        token_id=decided.token,
        now_us=decided.now_us,
        entity_revision=decided.entity_revision,
    )


def _difference(decided: Enacted, body: bytes, made: bytes) -> Difference:
    recorded, found = orjson.loads(body), orjson.loads(made)
    names = [*(name for name in TELLING if recorded.get(name) != found.get(name)), *sorted({**recorded, **found})]
    name = next(name for name in names if recorded.get(name) != found.get(name))
    return Difference(
        seq=decided.seq,
        decision_id=decided.decision_id,
        field=name,
        recorded=_told(recorded.get(name)),
        found=_told(found.get(name)),
    )


TELLING: Final = ("verdict", "codes", "policies", "errors", "matched", "chain", "cards", "budgets")
"""Fields in the order in which a difference in them says most."""


def _told(value: object) -> str:
    return f"`{orjson.dumps(value).decode()}`"


def _broken(seq: int, decision_id: str | None, error: SidecarError) -> Difference:
    return Difference(seq=seq, decision_id=decision_id, field="", recorded="", found=error.message)

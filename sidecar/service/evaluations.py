"""AuthZEN's questions: each made a request with what its tenant lets the asker claim, and decided as natively.

Who or what nobody here knows is a denial and no mistake, so it is answered and not recorded: nothing was decided. Of
several questions, each that cannot be decided counts as denied and fails no other one; they are sorted out first, since
a batch is decided as a whole or not at all.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from sidecar.core.access import Caller
from sidecar.core.directory import tag_text, walk
from sidecar.core.errors import Conflict, Forbidden, NotFound, SidecarError, TooLarge, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.limits import BODY_BYTES_MAX
from sidecar.core.metadata import check_metadata
from sidecar.core.model import AuthorizeRequest, ClaimedTags, check_key, check_plain
from sidecar.core.snapshot import TenantPolicies
from sidecar.service.access import tenant_of
from sidecar.service.authorize import Answered, Authorizer
from sidecar.service.batch import DECISIVE, SLICE, Batch, BatchAuthorizer, Item, Semantics
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, TenantTransaction, Transaction

Outcome: TypeAlias = Answered | SidecarError
"""A decision, or why there is none, which is a denial."""

MISTAKES: Final = (ValidationFailed, NotFound, Forbidden, Conflict, TooLarge)
"""What is wrong with one question and says nothing about the others."""


class Evaluation(msgspec.Struct, frozen=True):
    """One question.

    ``request`` is what it says in the sidecar's own fields. The acting identity must be of ``subject_type``; properties
    take part as far as the tenant allows.
    """

    subject_type: str
    request: AuthorizeRequest
    subject_properties: Mapping[str, object] = {}
    resource_properties: Mapping[str, object] = {}


class Evaluations(msgspec.Struct, frozen=True):
    """Who asks several questions, and when; one that could not be read is its mistake."""

    caller: Caller
    tenant_id: str | None
    items: tuple[Evaluation | SidecarError, ...]
    semantics: Semantics
    now_us: int


class AnsweredEvaluations(msgspec.Struct, frozen=True):
    """The outcomes, fewer than the questions where one decided all; whether each is to be told with its context."""

    outcomes: tuple[Outcome, ...]
    replayed: bool
    item_context: bool


class _Sifted(msgspec.Struct, frozen=True):
    """Questions apart by whether they can be decided: those that cannot by their place."""

    items: tuple[Item, ...]
    mistakes: Mapping[int, SidecarError]
    item_context: bool


class Evaluator:
    """Answers AuthZEN's questions in this process."""

    def __init__(self, store: Store, snapshots: Snapshots, authorizer: Authorizer, batches: BatchAuthorizer) -> None:
        """Decide as ``authorizer`` and ``batches`` do."""
        self._store = store
        self._snapshots = snapshots
        self._authorizer = authorizer
        self._batches = batches

    async def evaluate(
        self, caller: Caller, tenant_id: str | None, asked: Evaluation, key: IdempotencyKey | None, now_us: int
    ) -> Outcome:
        """Decide a question and return once the decision is on disk; NotFound is returned where nobody knows a part.

        Raises ValidationFailed and Conflict for a question that does not fit, IdempotencyConflict, Unavailable.
        """
        try:
            request = self._request(caller, tenant_id, asked)
            return await self._authorizer.authorize(caller, tenant_id, request, key, now_us)
        except NotFound as error:
            return _of_a_part(error)

    def rehearse(self, caller: Caller, tenant_id: str | None, asked: Evaluation, now_us: int) -> Outcome:
        """Return what would be decided now; nothing is reserved or recorded. Returns and raises as ``evaluate``."""
        try:
            request = self._request(caller, tenant_id, asked)
            return self._authorizer.rehearse(caller, tenant_id, request, now_us)
        except NotFound as error:
            return _of_a_part(error)

    async def evaluate_all(self, asked: Evaluations, key: IdempotencyKey | None) -> AnsweredEvaluations:
        """Decide several questions as one and return once all decisions are on disk.

        A repeated ``key`` returns the stored decisions. Raises IdempotencyConflict for a key with other content, or
        where other questions can be decided by now, and Unavailable; nothing is changed then.
        """
        sifted = await self._sift(asked)
        if not sifted.items:
            return _put_back(asked, sifted, (), replayed=False)
        answered = await self._batches.authorize(_batch(asked, sifted), _key_without(key, sifted.mistakes))
        return _put_back(asked, sifted, answered.answers, replayed=answered.replayed)

    async def rehearse_all(self, asked: Evaluations) -> AnsweredEvaluations:
        """Return what would be decided now, each after those before it; nothing is reserved or recorded."""
        sifted = await self._sift(asked)
        answers = (await self._batches.rehearse(_batch(asked, sifted))).answers if sifted.items else ()
        return _put_back(asked, sifted, answers, replayed=False)

    def _request(self, caller: Caller, tenant_id: str | None, asked: Evaluation) -> AuthorizeRequest:
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return self.completed(txn, part, caller, asked)

    def completed(
        self, txn: Transaction, part: TenantTransaction, caller: Caller, asked: Evaluation
    ) -> AuthorizeRequest:
        """Return the request that a question comes to, with the properties that its tenant allows.

        Those of the subject are tags of the acting identity. Those of a resource are tags where it is an identity,
        attributes otherwise. Raises NotFound where the subject is unknown, of another type or out of reach, which are
        not told apart, and ValidationFailed for a property that no tag or attribute can be.
        """
        request = asked.request
        chain = walk(request.identity_id, part.identities.get)
        caller.require_reach(chain)
        if chain[0].type != asked.subject_type:
            raise NotFound(f"unknown identity `{request.identity_id}`", field="identity_id")
        if not asked.subject_properties and not asked.resource_properties:
            return request
        return with_properties(part, self._snapshots.policies(txn, part), asked)

    async def _sift(self, asked: Evaluations) -> _Sifted:
        """Return which questions can be decided, with a ruling on each that says so; some at a time, as in a batch.

        Where a denial decides all of them, nothing behind the first mistake matters.
        """
        items: list[Item] = []
        mistakes: dict[int, SidecarError] = {}
        item_context = False
        for start in range(0, len(asked.items), SLICE):
            if start > 0:
                await asyncio.sleep(0)
            with self._store.read() as txn:
                part = txn.of(tenant_of(txn, asked.caller, asked.tenant_id))
                item_context = part.tenant.authzen.item_context
                for index, each in enumerate(asked.items[start : start + SLICE], start):
                    try:
                        items.append(self._item(txn, part, asked, each))
                    except MISTAKES as error:
                        mistakes[index] = error
                        if DECISIVE[asked.semantics] is False:
                            return _Sifted(tuple(items), mistakes, item_context)
        return _Sifted(tuple(items), mistakes, item_context)

    def _item(
        self, txn: Transaction, part: TenantTransaction, asked: Evaluations, each: Evaluation | SidecarError
    ) -> Item:
        """Return a question as an item of a batch. Raises what would fail the batch."""
        if isinstance(each, SidecarError):
            raise each
        request = self.completed(txn, part, asked.caller, each)
        if len(request.canonical()) > BODY_BYTES_MAX:
            raise TooLarge(f"one evaluation has at most {BODY_BYTES_MAX} bytes")
        self._authorizer.propose(txn, part, asked.caller, request, asked.now_us)
        return Item(request)


def with_properties(part: TenantTransaction, policies: TenantPolicies, asked: Evaluation) -> AuthorizeRequest:
    """Return the request of a question with the properties that its tenant allows. Raises ValidationFailed."""
    allowed, request = part.tenant.authzen, asked.request
    subject = _among(asked.subject_properties, allowed.subject_properties)
    resource = _among(asked.resource_properties, allowed.resource_properties)
    if not subject and not resource:
        return request
    attributes: dict[str, object] = {}
    if request.resource.type not in policies.schema.forms.identity_types:
        attributes, resource = resource, attributes
    tags = ClaimedTags(_tags(subject, "subject.properties"), _tags(resource, "resource.properties"))
    return msgspec.structs.replace(
        request,
        attributes={
            check_key(name, "resource.properties"): check_plain(value, f"resource.properties.{name}")
            for name, value in attributes.items()
        },
        tags=tags if tags.principal or tags.resource else msgspec.UNSET,
    )


def _of_a_part(error: NotFound) -> NotFound:
    """Return what says that an entity is unknown; an unknown tenant is raised, as no question was asked of one."""
    if error.field == "tenant_id":
        raise error
    return error


def _among(properties: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    return {name: properties[name] for name in names if name in properties}


def _tags(values: Mapping[str, object], field: str) -> dict[str, str]:
    return {name: tag_text(value) for name, value in check_metadata(values, field).items()}


def _batch(asked: Evaluations, sifted: _Sifted) -> Batch:
    return Batch(asked.caller, asked.tenant_id, sifted.items, asked.semantics, asked.now_us)


def _key_without(key: IdempotencyKey | None, mistakes: Mapping[int, SidecarError]) -> IdempotencyKey | None:
    """Return the key of those questions that are decided: which ones these are is part of its content.

    The stored answer is read by their places, and an identity that was unknown may be known by the time of a repeat.
    """
    if key is None or not mistakes:
        return key
    places = ",".join(str(index) for index in mistakes)
    return IdempotencyKey(key.scope, hashlib.sha256(key.fingerprint + places.encode()).digest())


def _put_back(
    asked: Evaluations, sifted: _Sifted, answers: Sequence[Answered], *, replayed: bool
) -> AnsweredEvaluations:
    """Return the outcomes in the order of the questions, up to the one that decides all."""
    outcomes = tuple(_in_order(asked, sifted, iter(answers)))
    return AnsweredEvaluations(outcomes, replayed, sifted.item_context)


def _in_order(asked: Evaluations, sifted: _Sifted, answers: Iterator[Answered]) -> Iterator[Outcome]:
    for index in range(len(asked.items)):
        outcome = sifted.mistakes.get(index) or next(answers)
        yield outcome
        if is_allowed(outcome) is DECISIVE[asked.semantics]:
            return


def is_allowed(outcome: Outcome) -> bool:
    """Whether a question was answered with yes."""
    return isinstance(outcome, Answered) and outcome.decision.allowed

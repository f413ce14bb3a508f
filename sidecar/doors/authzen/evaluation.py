"""Calls of AuthZEN that decide: one evaluation, and several at once.

Source: OpenID AuthZEN Authorization API 1.0, sections 6 and 7. A permit reserves as natively, and is settled and
released by the native calls under the decision id that its context names.
"""

from typing import Final, cast

from sidecar.core.errors import NotFound, SidecarError, TooLarge, ValidationFailed
from sidecar.core.limits import BATCH_BODY_BYTES_MAX, BATCH_REQUESTS_MAX, BODY_BYTES_MAX
from sidecar.doors.authzen import drafts, render
from sidecar.doors.authzen.manner import AUTHZEN
from sidecar.doors.authzen.shapes import PARTS, PATHS, EvaluationBody, EvaluationsBody, tenant_path
from sidecar.doors.native.replays import MARKED
from sidecar.doors.wire import typed
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.evaluations import Evaluation, Evaluations, Evaluator, Outcome

KEY: Final = "Idempotency-Key"


class EvaluationCalls:
    """The calls, over the service that does them."""

    def __init__(self, evaluator: Evaluator) -> None:
        """Translate for this service."""
        self._evaluator = evaluator

    def calls(self) -> tuple[Call, ...]:
        """Return the calls; each takes a tenant's path as well."""
        one, several = PATHS["access_evaluation_endpoint"], PATHS["access_evaluations_endpoint"]
        return (
            Call(
                method="POST",
                path=one,
                aliases=(tenant_path(one),),
                run=self.evaluate,
                request=object,
                is_idempotent=True,
                is_decision=True,
                is_documented=False,
                manner=AUTHZEN,
            ),
            Call(
                method="POST",
                path=several,
                aliases=(tenant_path(several),),
                run=self.evaluate_all,
                request=object,
                is_idempotent=True,
                is_decision=True,
                body_bytes_max=BATCH_BODY_BYTES_MAX,
                is_documented=False,
                manner=AUTHZEN,
            ),
        )

    async def evaluate(self, ask: Ask) -> Answer:
        """Decide a question; who or what nobody knows is denied."""
        body = typed.convert(ask.body, EvaluationBody)
        tenant_id, key = tenant_of(ask), ask.idempotency_key()
        outcome: Outcome
        with drafts.called():
            try:
                asked = drafts.evaluation(body.subject, body.action, body.resource, body.context)
            except NotFound as error:
                return json_answer(render.answer(error))
            if body.options.dry_run:
                _require_no_key(ask)
                outcome = self._evaluator.rehearse(ask.caller, tenant_id, asked, ask.now_us)
            else:
                outcome = await self._evaluator.evaluate(ask.caller, tenant_id, asked, key, ask.now_us)
        is_replay = not isinstance(outcome, SidecarError) and outcome.replayed
        return json_answer(render.answer(outcome), headers=MARKED if is_replay else ())

    async def evaluate_all(self, ask: Ask) -> Answer:
        """Decide several questions in their order; without any, the one that stands beside them."""
        body = typed.convert(ask.body, EvaluationsBody)
        if not body.evaluations:
            if len(ask.raw) > BODY_BYTES_MAX:
                raise TooLarge(f"one evaluation has at most {BODY_BYTES_MAX} bytes")
            return await self.evaluate(ask)
        if len(body.evaluations) > BATCH_REQUESTS_MAX:
            raise ValidationFailed(f"at most {BATCH_REQUESTS_MAX} evaluations", field="evaluations")
        document = cast("dict[str, object]", ask.body)
        defaults: dict[str, object] = {name: document[name] for name in PARTS if name in document}
        items = tuple(_item(defaults, item) for item in body.evaluations)
        options = body.options
        asked = Evaluations(ask.caller, tenant_of(ask), items, options.evaluations_semantic, ask.now_us)
        if options.dry_run:
            _require_no_key(ask)
            answered = await self._evaluator.rehearse_all(asked)
        else:
            answered = await self._evaluator.evaluate_all(asked, ask.idempotency_key())
        shown = render.answer if answered.item_context or options.item_context else render.verdict
        evaluations = [shown(outcome) for outcome in answered.outcomes]
        return json_answer({"evaluations": evaluations}, headers=MARKED if answered.replayed else ())


def tenant_of(ask: Ask) -> str | None:
    """Return the tenant that the path or the query names. Raises ValidationFailed when they differ."""
    return ask.tenant_id(ask.path.get("tenant_id"))


def _item(defaults: dict[str, object], item: object) -> Evaluation | SidecarError:
    """Return a question with what it has of the defaults, or why it is none.

    A key of its own takes the place of the whole default: nothing of the two is mixed.
    """
    try:
        given = typed.convert(item, dict[str, object])
        body = typed.convert(defaults | given, EvaluationBody)
        return drafts.evaluation(body.subject, body.action, body.resource, body.context)
    except (ValidationFailed, NotFound) as error:
        return error


def _require_no_key(ask: Ask) -> None:
    if ask.key_text is not None:
        raise ValidationFailed("a dry run changes nothing and takes no idempotency key", field=KEY)

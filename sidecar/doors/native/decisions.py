"""Calls about decisions: authorize, look up, settle, release, refund."""

import asyncio
from typing import Final, cast

from starlette.concurrency import run_in_threadpool

from sidecar.core.access import Caller
from sidecar.core.errors import ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.limits import BATCH_BODY_BYTES_MAX
from sidecar.core.reservation import Reservation
from sidecar.doors.native import batch_drafts, drafts, render, render_explanation, shapes, verdicts
from sidecar.doors.native.replays import MARKED
from sidecar.doors.wire.endpoint import Ask, Call, Function, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.authorize import Answered, Authorizer
from sidecar.service.batch import Batch, BatchAuthorizer
from sidecar.service.explain import explain
from sidecar.service.idempotency import Done
from sidecar.service.settlement import Settler

NEAREST_IN_BATCH_MAX: Final = 4
"""Denials of one batch whose nearest requests are sought, 20 to 30 milliseconds of CPU each."""


class DecisionCalls:
    """The calls, over the services that do them."""

    def __init__(self, authorizer: Authorizer, batches: BatchAuthorizer, settler: Settler) -> None:
        """Translate for these services."""
        self._authorizer = authorizer
        self._batches = batches
        self._settler = settler
        # One explanation at a time: they are all Python, and a second one would only slow the event loop down further.
        self._explaining = asyncio.Lock()

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls, the hot one first."""
        one = "/v1/decisions/{decision_id}"
        return (
            Call(
                method="POST",
                path="/v1/authorize",
                aliases=("/authorize",),
                run=self.authorize,
                request=shapes.AuthorizeBody,
                is_idempotent=True,
                is_decision=True,
                answer=verdicts.Decision,
                tag="decisions",
            ),
            Call(
                method="POST",
                path="/v1/authorize/batch",
                run=self.batch,
                request=shapes.BatchBody,
                is_idempotent=True,
                is_decision=True,
                body_bytes_max=BATCH_BODY_BYTES_MAX,
                answer=verdicts.Decisions,
                operation="authorize_batch",
                tag="decisions",
            ),
            Call(method="GET", path=one, run=self.get, answer=verdicts.Decision, operation="get_decision"),
            _ending(f"{one}/settle", self.settle, shapes.SettleBody),
            _ending(f"{one}/release", self.release, shapes.TenantOnlyBody),
            _ending(f"{one}/refund", self.refund, shapes.RefundBody),
        )

    async def authorize(self, ask: Ask) -> Answer:
        """Decide a request."""
        body = cast("shapes.AuthorizeBody", ask.body)
        request = drafts.authorize(body)
        tenant_id = ask.tenant_id(body.tenant_id)
        key = ask.idempotency_key()
        if body.dry_run:
            _require_no_key(key)
            answered = self._authorizer.rehearse(ask.caller, tenant_id, request, ask.now_us, explain=body.explain)
        else:
            answered = await self._authorizer.authorize(
                ask.caller, tenant_id, request, key, ask.now_us, explain=body.explain
            )
        document = render.decision(answered.decision)
        if body.explain:
            document["explanation"] = await self._explanation(ask.caller, answered)
        return json_answer(document, headers=MARKED if answered.replayed else ())

    async def batch(self, ask: Ask) -> Answer:
        """Decide several requests as one."""
        body = cast("shapes.BatchBody", ask.body)
        items = batch_drafts.items(body)
        tenant_id = ask.tenant_id(batch_drafts.tenant_id(body))
        key = ask.idempotency_key()
        batch = Batch(ask.caller, tenant_id, items, body.semantics, ask.now_us)
        if body.dry_run:
            _require_no_key(key)
            answered = await self._batches.rehearse(batch)
        else:
            answered = await self._batches.authorize(batch, key)
        decisions, sought = [], 0
        for each, item in zip(answered.answers, items, strict=False):  # those behind a deciding item were left out
            document = render.decision(each.decision)
            if item.explain:
                explanation = await self._explanation(ask.caller, each, seek_nearest=sought < NEAREST_IN_BATCH_MAX)
                sought += explanation is not None and explanation["nearest_sought"]
                document["explanation"] = explanation
            decisions.append(document)
        return json_answer({"decisions": decisions}, headers=MARKED if answered.replayed else ())

    async def _explanation(
        self, caller: Caller, answered: Answered, *, seek_nearest: bool = True
    ) -> verdicts.Explanation | None:
        """Explain a decision in a thread, after those that came first; a stored one keeps no explanation."""
        grounds = answered.grounds
        if grounds is None:
            return None
        async with self._explaining:
            found = await run_in_threadpool(explain, caller, grounds, answered.decision, seek_nearest=seek_nearest)
        return render_explanation.explanation(found)

    async def get(self, ask: Ask) -> Answer:
        """Show a decision with its reservation as it is now."""
        found = self._settler.find(ask.caller, ask.tenant_id(), ask.path["decision_id"])
        return json_answer(render.decision(found.decision, found.reservation))

    async def settle(self, ask: Ask) -> Answer:
        """Settle a reservation or a part of it."""
        body = cast("shapes.SettleBody", ask.body)
        done = await self._settler.settle(
            ask.caller,
            ask.tenant_id(body.tenant_id),
            ask.path["decision_id"],
            drafts.settlement(body),
            ask.idempotency_key(),
            ask.now_us,
        )
        return _reservation(done)

    async def release(self, ask: Ask) -> Answer:
        """Free what a reservation holds."""
        body = cast("shapes.TenantOnlyBody", ask.body)
        tenant_id = ask.tenant_id(body.tenant_id)
        key = ask.idempotency_key()
        return _reservation(
            await self._settler.release(ask.caller, tenant_id, ask.path["decision_id"], key, ask.now_us)
        )

    async def refund(self, ask: Ask) -> Answer:
        """Give back a part of what was settled."""
        body = cast("shapes.RefundBody", ask.body)
        tenant_id = ask.tenant_id(body.tenant_id)
        key = ask.idempotency_key()
        return _reservation(
            await self._settler.refund(ask.caller, tenant_id, ask.path["decision_id"], body.amount, key, ask.now_us)
        )


def _require_no_key(key: IdempotencyKey | None) -> None:
    if key is not None:
        raise ValidationFailed("a dry run changes nothing and takes no idempotency key", field="Idempotency-Key")


def _ending(path: str, run: Function, request: type) -> Call:
    """Return a call that changes a reservation."""
    return Call(
        method="POST",
        path=path,
        run=run,
        request=request,
        is_idempotent=True,
        answer=verdicts.Reservation,
        operation=f"{path.rpartition('/')[2]}_decision",
    )


def _reservation(done: Done[Reservation]) -> Answer:
    return json_answer(render.reservation_of(done.value), headers=MARKED if done.replayed else ())

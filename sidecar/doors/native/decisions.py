"""Calls about decisions: authorize, look up, settle, release, refund."""

from typing import Final, cast

from sidecar.core.errors import ValidationFailed
from sidecar.core.reservation import Reservation
from sidecar.doors.native import drafts, render, shapes, verdicts
from sidecar.doors.wire.endpoint import Ask, Call, Function, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.authorize import Authorizer
from sidecar.service.idempotency import Done
from sidecar.service.settlement import Settler

REPLAYED: Final = (("Idempotent-Replayed", "true"),)


class DecisionCalls:
    """The calls, over the services that do them."""

    def __init__(self, authorizer: Authorizer, settler: Settler) -> None:
        """Translate for these services."""
        self._authorizer = authorizer
        self._settler = settler

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
                answer=verdicts.Decision,
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
            if key is not None:
                raise ValidationFailed(
                    "a dry run changes nothing and takes no idempotency key", field="Idempotency-Key"
                )
            return json_answer(render.decision(self._authorizer.dry_run(ask.caller, tenant_id, request, ask.now_us)))
        answered = await self._authorizer.authorize(ask.caller, tenant_id, request, key, ask.now_us)
        return json_answer(render.decision(answered.decision), headers=REPLAYED if answered.replayed else ())

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
    return json_answer(render.reservation_of(done.value), headers=REPLAYED if done.replayed else ())

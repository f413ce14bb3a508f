"""Calls of followers about what is decided and held here for a decision of theirs."""

from typing import cast

import msgspec

from sidecar.core.currencies import places
from sidecar.core.delegation import Word
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import DECISION, check_action, check_name, check_type, ulid_bytes
from sidecar.core.model import AuthorizeRequest, ClaimedTags, ResourceRef
from sidecar.doors.native import drafts, shapes
from sidecar.doors.native.reservation_shapes import AskedBody, ReservationBody
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.reservations import Reservations

PATH = "/v1/reservations"


class ReservationCalls:
    """The calls, over the service that does them."""

    def __init__(self, reservations: Reservations) -> None:
        """Translate for this service."""
        self._reservations = reservations

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        return (
            Call(
                method="POST",
                path=PATH,
                run=self.reserve,
                request=ReservationBody,
                answer=Word,
            ),
            Call(
                method="POST",
                path=f"{PATH}/{{decision_id}}/cancel",
                run=self.cancel_reservation,
                request=shapes.EmptyBody,
                status=204,
            ),
        )

    async def reserve(self, ask: Ask) -> Answer:
        """Decide a request of a follower by the budgets that are not its own, and hold what is granted."""
        body = cast("ReservationBody", ask.body)
        decision_id = _decision_id(body.decision_id)
        request, tenant_id = asked(body.request), ask.tenant_id()
        word = await self._reservations.reserve(ask.caller, tenant_id, decision_id, request, ask.now_us)
        return json_answer(msgspec.to_builtins(word))

    async def cancel_reservation(self, ask: Ask) -> Answer:
        """Release what is held for a decision of a follower, also if it is asked for only later."""
        decision_id = _decision_id(ask.path["decision_id"])
        await self._reservations.cancel(ask.caller, ask.tenant_id(), decision_id, ask.now_us)
        return Answer(204)


def _decision_id(text: str) -> str:
    if ulid_bytes(text, DECISION) is None:
        raise ValidationFailed("expected the id of a decision", field="decision_id")
    return text


def asked(body: AskedBody) -> AuthorizeRequest:
    """Return the request of a follower. Raises ValidationFailed naming the place of what does not pass its grammar."""
    if (body.amount_minor is None) != (body.currency is None):
        missing = "currency" if body.currency is None else "amount_minor"
        raise ValidationFailed("an amount and its currency are given together", field=f"request.{missing}")
    if body.currency is not None:
        places(body.currency, "request.currency")
    for name in body.quantities:
        if check_type(name, "request.quantities") in {"amount", "count"}:
            raise ValidationFailed(f"`{name}` is no quantity", field=f"request.quantities.{name}")
    category, field = body.merchant_category, "request.merchant_category"
    return AuthorizeRequest(
        identity_id=body.identity_id,
        action=check_action(body.action, "request.action"),
        resource=ResourceRef(
            check_type(body.resource.type, "request.resource.type"), check_name(body.resource.id, "request.resource.id")
        ),
        amount_minor=body.amount_minor,
        currency=body.currency,
        merchant_category=None if category is None else drafts.merchant_category(category, field),
        quantities=body.quantities,
        attributes=drafts.plain(body.attributes, "request.attributes"),
        context=drafts.plain(body.context, "request.context"),
        card_id=body.card_id,
        ttl_seconds=body.ttl_seconds,
        tags=msgspec.UNSET if body.tags is None else ClaimedTags(body.tags.principal, body.tags.resource),
    )

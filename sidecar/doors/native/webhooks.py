"""Calls about webhooks: endpoints that are told what happens in a tenant, and the log of what they were sent."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal, cast

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.event_formats import Format, LedgerType
from sidecar.core.events import ALL, Subscribable
from sidecar.core.grammar import Name, TenantId
from sidecar.core.ids import check_name
from sidecar.core.instants import utc_text
from sidecar.core.limits import GRACE_SECONDS_MAX
from sidecar.core.webhooks import Delivery, EndpointStatus
from sidecar.doors.native import webhook_answers
from sidecar.doors.native.answers import Page
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.render import Document, instant
from sidecar.doors.native.replays import done_answer
from sidecar.doors.native.shapes import TenantOnlyBody
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.webhooks import Hooked, Signed, WebhookDesk, WebhookDraft, WebhookPatch

GRACE_SECONDS_DEFAULT: Final = 86_400
"""A day to bring the new secret to every receiver."""

SUBSCRIPTIONS_MAX: Final = 32
"""More than there are types."""

Subscription = Literal["*", Subscribable, LedgerType]

Subscriptions = Annotated[tuple[Subscription, ...], msgspec.Meta(min_length=1, max_length=SUBSCRIPTIONS_MAX)]
Url = Annotated[
    str, msgspec.Meta(description="`https` on a public host", examples=["https://hooks.example.com/sidecar"])
]
Grace = Annotated[int, msgspec.Meta(ge=0, le=GRACE_SECONDS_MAX)]


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/webhooks``; ``events`` are types of events, or ``*`` for all that there are and will be.

    ``format`` is for receivers that were written for another vendor; it decides body and signature and which types
    there are, and cannot be changed.
    """

    tenant_id: TenantId | None = None
    url: Url
    events: Subscriptions
    description: Name | None = None
    format: Format = "standard"


class WebhookPatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``PATCH /v1/webhooks/{id}``."""

    tenant_id: TenantId | None = None
    url: Url | None = None
    events: Subscriptions | None = None
    description: Name | None = None
    status: EndpointStatus | None = None


class RotateWebhookBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/webhooks/{id}/rotate``; for so long deliveries carry a signature of the old secret as well."""

    tenant_id: TenantId | None = None
    grace_seconds: Grace = GRACE_SECONDS_DEFAULT


class WebhookCalls:
    """The calls, over the service that does them."""

    def __init__(self, desk: WebhookDesk) -> None:
        """Translate for ``desk``."""
        self._desk = desk

    def calls(self) -> Iterable[Call]:
        """Return the documented calls."""
        path, one = "/v1/webhooks", "/v1/webhooks/{webhook_id}"
        yield Call(
            method="POST",
            path=path,
            run=self.create_webhook,
            request=WebhookBody,
            is_idempotent=True,
            answer=webhook_answers.SignedWebhook,
            status=201,
        )
        yield Call(method="GET", path=path, run=self.list_webhooks, query=PAGE, answer=Page[webhook_answers.Webhook])
        yield Call(method="GET", path=one, run=self.get_webhook, answer=webhook_answers.Webhook)
        yield Call(
            method="PATCH",
            path=one,
            run=self.change_webhook,
            request=WebhookPatchBody,
            answer=webhook_answers.Webhook,
        )
        yield Call(method="DELETE", path=one, run=self.delete_webhook, status=204)
        yield Call(
            method="POST",
            path=f"{one}/test",
            run=self.test_webhook,
            request=TenantOnlyBody,
            is_idempotent=True,
            answer=webhook_answers.QueuedTest,
        )
        yield Call(
            method="POST",
            path=f"{one}/rotate",
            run=self.rotate_webhook,
            request=RotateWebhookBody,
            is_idempotent=True,
            answer=webhook_answers.SignedWebhook,
        )
        yield Call(
            method="GET",
            path=f"{one}/deliveries",
            run=self.list_deliveries,
            query=PAGE,
            answer=Page[webhook_answers.Delivery],
        )

    async def create_webhook(self, ask: Ask) -> Answer:
        """Make an endpoint; its secret is shown in this answer only."""
        body = cast("WebhookBody", ask.body)
        draft = WebhookDraft(body.url, _subscriptions(body.events), _description(body.description), body.format)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        return done_answer(await self._desk.create(ask.caller, tenant_id, draft, ask.now_us, key), signed)

    async def list_webhooks(self, ask: Ask) -> Answer:
        """List endpoints."""
        name = list_name("webhooks", ask.query)
        return page_answer(self._desk.listed(ask.caller, ask.tenant_id(), page_request(ask.query, name)), webhook, name)

    async def get_webhook(self, ask: Ask) -> Answer:
        """Show an endpoint."""
        return json_answer(webhook(self._desk.get(ask.caller, ask.tenant_id(), ask.path["webhook_id"])))

    async def change_webhook(self, ask: Ask) -> Answer:
        """Change an endpoint."""
        body = cast("WebhookPatchBody", ask.body)
        events = None if body.events is None else _subscriptions(body.events)
        patch = WebhookPatch(body.url, events, _description(body.description), body.status)
        tenant_id = ask.tenant_id(body.tenant_id)
        return json_answer(
            webhook(await self._desk.change(ask.caller, tenant_id, ask.path["webhook_id"], patch, ask.now_us))
        )

    async def delete_webhook(self, ask: Ask) -> Answer:
        """Delete an endpoint."""
        await self._desk.delete(ask.caller, ask.tenant_id(), ask.path["webhook_id"], ask.now_us)
        return Answer(204)

    async def test_webhook(self, ask: Ask) -> Answer:
        """Send an endpoint a ``webhook.test``; the delivery log tells what became of it."""
        tenant_id = ask.tenant_id(cast("TenantOnlyBody", ask.body).tenant_id)
        webhook_id = ask.path["webhook_id"]
        done = await self._desk.test(ask.caller, tenant_id, webhook_id, ask.now_us, ask.idempotency_key())

        def queued(event_id: str) -> Document:
            return {"event_id": event_id, "webhook_id": webhook_id, "type": "webhook.test"}

        return done_answer(done, queued, 200)

    async def rotate_webhook(self, ask: Ask) -> Answer:
        """Replace an endpoint's secret; the new one is shown in this answer only."""
        body = cast("RotateWebhookBody", ask.body)
        tenant_id = ask.tenant_id(body.tenant_id)
        webhook_id, key = ask.path["webhook_id"], ask.idempotency_key()
        done = await self._desk.rotate(ask.caller, tenant_id, webhook_id, body.grace_seconds, ask.now_us, key)
        return done_answer(done, signed, 200)

    async def list_deliveries(self, ask: Ask) -> Answer:
        """List the attempts that were made at an endpoint."""
        webhook_id = ask.path["webhook_id"]
        name = list_name(f"deliveries of {webhook_id}", ask.query)
        request = page_request(ask.query, name)
        page = self._desk.deliveries(ask.caller, ask.tenant_id(), webhook_id, request, ask.now_us)
        return page_answer(page, delivery, name)


def webhook(hooked: Hooked) -> webhook_answers.Webhook:
    """Return an endpoint without its secret."""
    value = hooked.webhook
    return {
        "webhook_id": value.webhook_id,
        "tenant_id": hooked.tenant_id,
        "url": value.url,
        "events": value.events,
        "format": value.format,
        "description": value.description,
        "status": value.status,
        "disabled_reason": value.disabled_reason,
        "secret_prefix": value.secret_prefix,
        "created_at": utc_text(value.created_at_us),
        "revision": value.revision,
    }


def signed(made: Signed) -> Document:
    """Return an endpoint with its new secret, which a replay no longer has."""
    return webhook(made.hooked) | {"secret": made.secret or None}


def delivery(value: Delivery) -> webhook_answers.Delivery:
    """Return one attempt."""
    return {
        "event_id": value.event_id,
        "type": value.type,
        "attempt": value.attempt,
        "at": utc_text(value.at_us),
        "status_code": value.status_code,
        "error": value.error,
        "duration_ms": value.duration_ms,
        "next_attempt_at": instant(value.next_attempt_at_us),
        "state": value.state,
    }


def _subscriptions(events: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(events)) != len(events):
        raise ValidationFailed("a type of event is named twice", field="events")
    if ALL in events and len(events) > 1:
        raise ValidationFailed(f"`{ALL}` is all types and stands alone", field="events")
    return events


def _description(text: str | None) -> str | None:
    return None if text is None else check_name(text, "description")

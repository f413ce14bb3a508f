"""The answers about webhooks as types; see ``answers``."""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from sidecar.core.event_formats import Format
from sidecar.core.grammar import Instant
from sidecar.core.webhooks import DeliveryState, EndpointStatus
from sidecar.doors.native.answers import Revision, Secret


class Webhook(TypedDict):
    """An endpoint that is told what happens, without its secret."""

    webhook_id: str
    tenant_id: str
    url: str
    events: Annotated[tuple[str, ...], Meta(description="types of events; `*` is every one")]
    format: Annotated[Format, Meta(description="body, signature and types of events, fixed")]
    description: str | None
    status: EndpointStatus
    disabled_reason: str | None
    secret_prefix: str
    created_at: Instant
    revision: Revision


class SignedWebhook(Webhook):
    """An endpoint with its new secret."""

    secret: Secret | None


class QueuedTest(TypedDict):
    """A test that waits for its endpoint."""

    event_id: str
    webhook_id: str
    type: Literal["webhook.test"]


class Delivery(TypedDict):
    """One attempt to tell an endpoint of an event."""

    event_id: str
    type: str
    attempt: int
    at: Instant
    status_code: int | None
    error: str | None
    duration_ms: int
    next_attempt_at: Instant | None
    state: DeliveryState

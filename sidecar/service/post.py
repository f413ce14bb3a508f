"""The post: an event waits for each endpoint that asked for it, in the transaction of what it tells.

An endpoint asks for types of its own format, and is told in that format; one event has the same id in all of them, and
is put into each format once, however many endpoints have it. What events say is in ``sidecar.service.events``.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from sidecar.core.event_formats import Data, Format, Told, body_of, told_in, trial_in
from sidecar.core.events import EventType
from sidecar.core.webhooks import WAITING_MAX, Interest, Waiting, Webhook
from sidecar.service.store import TenantTransaction

Heard: TypeAlias = Sequence[tuple[Interest, Told]]
"""Who is told of an event, and what."""


def announce(part: TenantTransaction, now_us: int, event_type: EventType, data: Data) -> None:
    """Let an event wait for each active endpoint of the tenant that asked for its type, in the endpoint's format.

    ``data`` is JSON to be, with figures as ``sidecar.core.events.figure`` gives them; it must hold no secret. An
    endpoint for which too much waits is disabled in its place.
    """
    tell(part, now_us, heard_of(part, event_type, data, now_us))


def trial_of(part: TenantTransaction, webhook: Webhook, by: str, now_us: int) -> Waiting:
    """Return a test for one endpoint, in its format."""
    data = {"tenant_id": part.tenant.tenant_id, "webhook_id": webhook.webhook_id, "by": by}
    return _waiting(webhook.format, trial_in(webhook.format, data), part.outbox.next_event_id(now_us), now_us)


def heard_of(part: TenantTransaction, event_type: EventType, data: Data, now_us: int) -> Heard:
    """Return who asked for an event and is told of it: a format may have nothing to say of this one."""
    interested = [interest for interest in part.webhooks.interests() if interest.wants(event_type)]
    if not interested:
        return ()
    data = {"tenant_id": part.tenant.tenant_id, **data}
    forms = {each.format for each in interested}
    told = {form: told_in(form, event_type, data, part.identities.get, now_us) for form in forms}
    return [(each, form) for each in interested if (form := told[each.format]) is not None]


def tell(part: TenantTransaction, now_us: int, heard: Heard) -> None:
    """Let an event wait for each of ``heard``, which is what ``heard_of`` returned of it in this transaction."""
    if not heard:
        return
    event_id = part.outbox.next_event_id(now_us)
    forms: dict[Format, Waiting] = {}
    for interest, told in heard:
        if interest.format not in forms:
            forms[interest.format] = _waiting(interest.format, told, event_id, now_us)
        # A lane that is gone was too full as well, and was disabled when it should have been told of another one's end.
        if enqueue(part, interest.lane, forms[interest.format]) == "full":
            disable(part, part.webhooks.at(interest.number), "too_many_waiting", "sidecar", now_us)


def _waiting(form: Format, told: Told, event_id: str, now_us: int) -> Waiting:
    """Return an event that is due at once."""
    return Waiting(
        event_id=event_id,
        type=told.type,
        body=body_of(form, told, event_id, now_us),
        created_at_us=now_us,
        due_at_us=now_us,
    )


def enqueue(part: TenantTransaction, number: int, waiting: Waiting) -> Literal["waits", "full", "gone"]:
    """Let an event wait in the lane with this number, unless as much waits there as may, or the lane was dropped."""
    lane = part.outbox.lane(number)
    if lane is None:
        return "gone"
    if lane.waiting >= WAITING_MAX:
        return "full"
    part.outbox.add(number, waiting)
    return "waits"


def disable(part: TenantTransaction, webhook: Webhook, reason: str, by: str, now_us: int) -> Webhook:
    """Disable an active endpoint, drop what waits for it, and tell the tenant's other endpoints; returns it."""
    disabled = msgspec.structs.replace(
        webhook, status="disabled", disabled_reason=reason, revision=webhook.revision + 1
    )
    part.webhooks.keep(disabled)
    part.outbox.drop(webhook.lane)
    part.audit.append("webhook_disabled", now_us, {"webhook": webhook.webhook_id, "reason": reason, "by": by})
    announce(part, now_us, "webhook.disabled", {"webhook_id": webhook.webhook_id, "reason": reason, "by": by})
    return disabled

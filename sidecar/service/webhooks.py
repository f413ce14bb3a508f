"""Webhook endpoints: made, shown, changed, tested, their secrets replaced, and deleted.

A secret is in the answer that makes it and in no other; records and events name an endpoint by its id, never its URL,
which may hold a secret of the receiver's.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import Body
from sidecar.core.errors import Conflict, NotFound
from sidecar.core.event_formats import Format, check_types
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.webhooks import (
    DELIVERY_KEPT_US,
    ENDPOINTS_MAX,
    SECRET_BYTES,
    Delivery,
    EndpointStatus,
    Secrets,
    Webhook,
    secret_text,
    shown_of,
)
from sidecar.service.access import part_of, tenant_of
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.post import disable, enqueue, trial_of
from sidecar.service.store import Listed, Store, TenantTransaction, Transaction

BY_REQUEST: Final = "by_request"
"""Why an endpoint is disabled that somebody disabled."""


class WebhookDraft(msgspec.Struct, frozen=True):
    """An endpoint to be made; ``events`` are types of the format or ``*``."""

    url: str
    events: tuple[str, ...]
    description: str | None
    format: Format = "standard"


class WebhookPatch(msgspec.Struct, frozen=True):
    """What to change; None leaves as it is."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    status: EndpointStatus | None = None


class Hooked(msgspec.Struct, frozen=True):
    """An endpoint and its tenant's id."""

    tenant_id: str
    webhook: Webhook


class Signed(msgspec.Struct, frozen=True):
    """An endpoint with a new secret, which is shown this once; empty in a replay."""

    hooked: Hooked
    secret: str


class WebhookDesk:
    """Keeps the webhook endpoints of every tenant."""

    def __init__(
        self,
        store: Store,
        new_id: Callable[[str, int], str],
        randomness: Callable[[int], bytes],
        check_url: Callable[[str], None],
    ) -> None:
        """Work on ``store``; ``check_url`` raises ValidationFailed for what must not be called."""
        self._store = store
        self._new_id = new_id
        self._randomness = randomness
        self._check_url = check_url

    async def create(
        self, caller: Caller, tenant_id: str | None, draft: WebhookDraft, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[Signed]:
        """Make an endpoint.

        Raises ValidationFailed for a URL that must not be called and for a type that the format does not have, Conflict
        where the tenant has as many as it can.
        """
        caller.require_administrator()
        self._check_url(draft.url)
        check_types(draft.events, draft.format)
        secret = self._randomness(SECRET_BYTES)

        def work(txn: Transaction) -> Done[Signed]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Signed, lambda: make(part), kept=_without_secret)

        def make(part: TenantTransaction) -> Signed:
            if sum(1 for _ in part.webhooks.all()) >= ENDPOINTS_MAX:
                raise Conflict(f"the tenant has {ENDPOINTS_MAX} webhooks, which is the most it can have")
            webhook = Webhook(
                webhook_id=self._new_id("wh", now_us),
                number=part.outbox.next_number(),
                lane=part.outbox.next_number(),
                url=draft.url,
                events=draft.events,
                description=draft.description,
                secret_prefix=shown_of(secret),
                created_at_us=now_us,
                format=draft.format,
            )
            part.webhooks.keep_secrets(webhook.number, Secrets(secret))
            part.outbox.open(webhook.lane, webhook.number)
            return Signed(_kept(part, webhook, "webhook_created", caller, now_us), secret_text(secret))

        return await self._store.write(work)

    def get(self, caller: Caller, tenant_id: str | None, webhook_id: str) -> Hooked:
        """Return an endpoint. Raises NotFound."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return Hooked(part.tenant.tenant_id, _known(part, webhook_id))

    def listed(self, caller: Caller, tenant_id: str | None, request: PageRequest) -> Page[Hooked]:
        """Return a page of the endpoints in order of creation."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            found = (Listed(webhook.number, webhook) for webhook in part.webhooks.all(after=request.after))
            page = page_of(found, request)
        return Page(tuple(Hooked(part.tenant.tenant_id, webhook) for webhook in page.values), page.next_after)

    async def change(
        self, caller: Caller, tenant_id: str | None, webhook_id: str, patch: WebhookPatch, now_us: int
    ) -> Hooked:
        """Change an endpoint. Raises NotFound, ValidationFailed as ``create``.

        What waits for one that is disabled is dropped; enabled again, it gets what happens from then on, and its
        failures are forgotten.
        """
        caller.require_administrator()
        if patch.url is not None:
            self._check_url(patch.url)

        def work(txn: Transaction) -> Hooked:
            part = part_of(txn, caller, tenant_id, now_us)
            old = _known(part, webhook_id)
            check_types(patch.events or (), old.format)
            webhook = msgspec.structs.replace(
                old,
                url=old.url if patch.url is None else patch.url,
                events=old.events if patch.events is None else patch.events,
                description=old.description if patch.description is None else patch.description,
            )
            if patch.status == "active" and old.status == "disabled":
                lane = part.outbox.next_number()
                part.outbox.open(lane, old.number)
                webhook = msgspec.structs.replace(webhook, status="active", disabled_reason=None, lane=lane)
            hooked = Hooked(part.tenant.tenant_id, webhook)
            if webhook != old:
                changed = msgspec.structs.replace(webhook, revision=old.revision + 1)
                hooked = _kept(part, changed, "webhook_updated", caller, now_us)
            if patch.status == "disabled" and old.status == "active":
                disabled = disable(part, hooked.webhook, BY_REQUEST, caller.name, now_us)
                hooked = Hooked(part.tenant.tenant_id, disabled)
            return hooked

        return await self._store.write(work)

    async def delete(self, caller: Caller, tenant_id: str | None, webhook_id: str, now_us: int) -> None:
        """Delete an endpoint with its secrets, its delivery log and what waits for it. Raises NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            part = part_of(txn, caller, tenant_id, now_us)
            webhook = _known(part, webhook_id)
            if webhook.status == "active":
                part.outbox.drop(webhook.lane)
            part.webhooks.forget(webhook)
            _record(part, "webhook_deleted", webhook, caller, now_us)

        await self._store.write(work)

    async def test(
        self, caller: Caller, tenant_id: str | None, webhook_id: str, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[str]:
        """Let a ``webhook.test`` wait for one endpoint, whatever types it asked for; returns the event's id.

        Raises NotFound, and Conflict for an endpoint that is disabled or for which too much waits.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[str]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, str, lambda: queue(part))

        def queue(part: TenantTransaction) -> str:
            webhook = _known(part, webhook_id)
            waiting = trial_of(part, webhook, caller.name, now_us)
            outcome = enqueue(part, webhook.lane, waiting)
            if outcome == "gone":
                raise Conflict(f"webhook `{webhook_id}` is disabled")
            if outcome == "full":
                raise Conflict(f"for webhook `{webhook_id}` as many events wait as can")
            return waiting.event_id

        return await self._store.write(work)

    async def rotate(
        self,
        caller: Caller,
        tenant_id: str | None,
        webhook_id: str,
        grace_seconds: int,
        now_us: int,
        key: IdempotencyKey | None = None,
    ) -> Done[Signed]:
        """Give an endpoint a new secret; the old one signs as well for ``grace_seconds``. Raises NotFound."""
        caller.require_administrator()
        secret = self._randomness(SECRET_BYTES)

        def work(txn: Transaction) -> Done[Signed]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, Signed, lambda: turn(part), kept=_without_secret)

        def turn(part: TenantTransaction) -> Signed:
            old = _known(part, webhook_id)
            rotated = part.webhooks.secrets(old.number).rotated(secret, now_us + grace_seconds * 1_000_000)
            part.webhooks.keep_secrets(old.number, rotated)
            webhook = msgspec.structs.replace(old, secret_prefix=shown_of(secret), revision=old.revision + 1)
            return Signed(_kept(part, webhook, "webhook_rotated", caller, now_us), secret_text(secret))

        return await self._store.write(work)

    def deliveries(
        self, caller: Caller, tenant_id: str | None, webhook_id: str, request: PageRequest, now_us: int
    ) -> Page[Delivery]:
        """Return a page of an endpoint's delivery log, the oldest attempt first. Raises NotFound."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            log = part.webhooks.deliveries(_known(part, webhook_id).number, after=request.after)
            found = (Listed(place, delivery) for place, delivery in log)
            return page_of(found, request, lambda delivery: now_us < delivery.at_us + DELIVERY_KEPT_US)


def _without_secret(signed: Signed) -> Signed:
    """Return what a replay may show."""
    return msgspec.structs.replace(signed, secret="")


def _known(part: TenantTransaction, webhook_id: str) -> Webhook:
    webhook = part.webhooks.get(webhook_id)
    if webhook is None:
        raise NotFound(f"unknown webhook `{webhook_id}`", field="webhook_id")
    return webhook


def _kept(part: TenantTransaction, webhook: Webhook, kind: str, caller: Caller, now_us: int) -> Hooked:
    part.webhooks.keep(webhook)
    _record(part, kind, webhook, caller, now_us)
    return Hooked(part.tenant.tenant_id, webhook)


def _record(part: TenantTransaction, kind: str, webhook: Webhook, caller: Caller, now_us: int) -> None:
    body: Body = {"webhook": webhook.webhook_id, "by": caller.name}
    if kind in {"webhook_created", "webhook_updated"}:
        body |= {"events": list(webhook.events), "format": webhook.format, "status": webhook.status}
    part.audit.append(kind, now_us, body)

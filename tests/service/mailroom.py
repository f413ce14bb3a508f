"""The webhooks of a world: endpoints made, what waits for them, and attempts whose answers the test chooses."""

import itertools
from collections.abc import Iterator
from typing import Any

import orjson

from sidecar.core.event_formats import Format
from sidecar.core.webhooks import Delivery, Response, Secrets, Waiting, Webhook
from sidecar.service.deliveries import Dispatch, Parcel, Place
from sidecar.service.paging import PageRequest
from sidecar.service.webhooks import Signed, WebhookDesk, WebhookDraft, WebhookPatch
from tests.service.builders import OPERATOR, CountingBytes, World

URL = "https://example.com/hook"
TAKEN = Response(200, None, 3)
BROKEN = Response(500, None, 3)
GONE = Response(410, None, 3)


class Mailroom:
    """Webhooks over ``world``."""

    def __init__(self, world: World) -> None:
        """Every URL may be called, and pauses are not stretched."""
        self.world = world
        self.checked: list[str] = []
        self.jitter_bp = 0
        self.desk = WebhookDesk(world.store, world.ids, CountingBytes(), self.checked.append)
        self.dispatch = Dispatch(world.store, lambda: self.jitter_bp)

    def hook(self, *events: str, tenant_id: str = "t_one", url: str = URL, form: Format = "standard") -> Webhook:
        """Make an endpoint for all events unless told."""
        return self.signed(*events, tenant_id=tenant_id, url=url, form=form).hooked.webhook

    def signed(self, *events: str, tenant_id: str = "t_one", url: str = URL, form: Format = "standard") -> Signed:
        """Make an endpoint and show its secret."""
        draft = WebhookDraft(url, events or ("*",), None, form)
        return self.world.run(self.desk.create(OPERATOR, tenant_id, draft, self.world.now_us)).value

    def change(self, webhook: Webhook, patch: WebhookPatch) -> Webhook:
        """Change an endpoint."""
        changing = self.desk.change(OPERATOR, "t_one", webhook.webhook_id, patch, self.world.now_us)
        return self.world.run(changing).webhook

    def shown(self, webhook: Webhook) -> Webhook:
        """Return an endpoint as it is now."""
        return self.desk.get(OPERATOR, "t_one", webhook.webhook_id).webhook

    def test(self, webhook: Webhook) -> str:
        """Queue a test event."""
        return self.world.run(self.desk.test(OPERATOR, "t_one", webhook.webhook_id, self.world.now_us)).value

    def secrets(self, webhook: Webhook) -> Secrets:
        """Return what an endpoint's deliveries are signed with."""
        with self.world.look() as part:
            return part.webhooks.secrets(webhook.number)

    def waiting(self, webhook: Webhook) -> list[Waiting]:
        """Return everything that waits for an endpoint, the earliest first."""
        with self.world.look() as part:
            lane = part.outbox.lane(webhook.lane)
            return [] if lane is None else part.outbox.due(webhook.lane, 2**62, lane.waiting)

    def told(self, webhook: Webhook) -> list[tuple[str, dict[str, Any]]]:
        """Return type and data of everything that waits for an endpoint, in order of their ids."""
        rows = sorted(self.waiting(webhook), key=lambda waiting: waiting.event_id)
        bodies = [orjson.loads(waiting.body) for waiting in rows]
        assert [body["type"] for body in bodies] == [waiting.type for waiting in rows]
        return [(body["type"], body["data"]) for body in bodies]

    def types(self, webhook: Webhook) -> list[str]:
        """Return the types of everything that waits for an endpoint."""
        return [name for name, _ in self.told(webhook)]

    def due(self) -> list[Parcel]:
        """Return what is due now at any endpoint."""
        now_us = self.world.now_us
        works = [self.dispatch.due(place, now_us, 1000) for place in self.dispatch.ready(now_us)]
        return list(itertools.chain.from_iterable(work.parcels for work in works if work is not None))

    def attempt(self, parcel: Parcel, response: Response) -> None:
        """Record one attempt."""
        self.world.run(self.dispatch.record(parcel, response, self.world.now_us))

    def answer(self, response: Response) -> int:
        """Attempt what is due now, all with the same answer; returns how many."""
        parcels = self.due()
        for parcel in parcels:
            self.attempt(parcel, response)
        return len(parcels)

    def log(self, webhook: Webhook) -> list[Delivery]:
        """Return an endpoint's delivery log."""
        request = PageRequest(limit=200)
        now_us = self.world.now_us
        return list(self.desk.deliveries(OPERATOR, "t_one", webhook.webhook_id, request, now_us).values)

    def place(self, webhook: Webhook) -> Place:
        """Return where an endpoint's events wait."""
        with self.world.look() as part:
            return Place(part.tenant.number, webhook.lane)


def opened(world: World) -> Iterator[Mailroom]:
    """Give the mailroom of a world with one tenant in which everything is granted."""
    world.tenant()
    yield Mailroom(world)

"""What the use cases need of a store for events: the part of the port in ``sidecar.service.store`` about webhooks."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from sidecar.core.webhooks import Delivery, Interest, Lane, Secrets, Waiting, Webhook


class Ready(NamedTuple):
    """A lane of an outbox whose next attempt is due."""

    tenant: int
    lane: int


class Webhooks(Protocol):
    """The webhook endpoints of one tenant, their secrets and delivery logs."""

    def interests(self) -> tuple[Interest, ...]:
        """Return what the active endpoints asked for."""

    def get(self, webhook_id: str) -> Webhook | None:
        """Return the endpoint with this id."""

    def at(self, number: int) -> Webhook:
        """Return the endpoint with this number, which must exist."""

    def all(self, *, after: int = 0) -> Iterator[Webhook]:
        """Yield the endpoints in order of creation, from the one after that number."""

    def keep(self, webhook: Webhook) -> None:
        """Store an endpoint, new or changed."""

    def forget(self, webhook: Webhook) -> None:
        """Remove an endpoint with its secrets and its delivery log."""

    def secrets(self, number: int) -> Secrets:
        """Return what an endpoint's deliveries are signed with."""

    def keep_secrets(self, number: int, secrets: Secrets) -> None:
        """Store what an endpoint's deliveries are signed with from now on."""

    def deliveries(self, number: int, *, after: int = 0) -> Iterator[tuple[int, Delivery]]:
        """Yield an endpoint's attempts with their places, the oldest first, from the one after that place."""

    def log(self, number: int, delivery: Delivery) -> None:
        """Add an attempt to an endpoint's log, which keeps the newest ones."""


class Outbox(Protocol):
    """The events of one tenant that wait to be delivered."""

    def next_number(self) -> int:
        """Return a number that no endpoint and no lane of this tenant had."""

    def next_event_id(self, now_us: int) -> str:
        """Return the id of the tenant's next event; ids ascend."""

    def open(self, lane: int, number: int) -> None:
        """Begin a lane of the endpoint with this number."""

    def lane(self, lane: int) -> Lane | None:
        """Return how a lane is doing, None once it was dropped."""

    def drop(self, lane: int) -> None:
        """End a lane; what waits there is never sent, and swept away later."""

    def add(self, lane: int, waiting: Waiting) -> None:
        """Let an event wait in a lane."""

    def find(self, lane: int, event_id: str) -> Waiting | None:
        """Return an event that waits in a lane."""

    def due(self, lane: int, now_us: int, most: int) -> list[Waiting]:
        """Return what is due in a lane, the earliest first."""

    def resolve(self, lane: int, tried: Waiting, kept: Waiting | None, failing_since_us: int | None) -> None:
        """Replace what was tried by what waits on, None when nothing does, and note how the lane is doing."""

    def mark_approach(self, budget_id: str, start_us: int, length_us: int | None) -> bool:
        """Note that a budget's approach to its limit is told in the window from ``start_us``; False when it was."""

    def forget_approach(self, budget_id: str) -> None:
        """Forget what ``mark_approach`` noted of a budget that is deleted."""

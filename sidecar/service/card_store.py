"""What the use cases need of a store for the authorizations of card networks."""

from typing import Protocol

from sidecar.core.card_authorization import CardAuthorization, Seen, SeenOf
from sidecar.core.card_events import Network


class CardAuthorizations(Protocol):
    """The dossiers of one tenant, and what its card networks have said already."""

    def find(self, network: Network, authorization_id: str, currency: str) -> CardAuthorization | None:
        """Return the dossier of an authorization in a currency."""

    def keep(self, authorization: CardAuthorization) -> None:
        """Store a dossier."""

    def seen(self, of: SeenOf, network: Network, name: str) -> Seen | None:
        """Return what was taken in under an id of the network's own."""

    def keep_seen(self, seen: Seen) -> None:
        """Store that something was taken in."""

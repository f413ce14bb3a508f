"""A card network at the service: swipes and events of one card of tenant `t_one`, with ids that the network made up."""

from collections.abc import Coroutine
from typing import Literal

import msgspec

from sidecar.core.card_authorization import CardAuthorization
from sidecar.core.card_events import CardEvent, CardProgram, Merchant, Moved, Standing, Swipe, Told
from sidecar.core.cards import ExternalRef
from sidecar.core.reservation import Reservation
from sidecar.service.card_drafts import CardDraft
from sidecar.service.card_network import Asked, CardNetwork
from sidecar.service.idempotency import Done
from sidecar.service.treasury import CardDesk, Shown
from tests.service.builders import NOON, OPERATOR, World

PROGRAM = CardProgram(
    program_id="cprg_1", network="stripe", name="Cards", secret="whsec_1", created_at_us=NOON, revision=1
)
SHOP = Merchant(name="AWS", category="5734")


def standing(
    requests: int, at: int, authorized: int | None = None, remaining: int | None = None, *, over: bool = False
) -> Standing:
    """What the network says of the whole, in minor units, at its own time."""
    return Standing(
        version=(requests, at, f"evt_at_{at}"), authorized_minor=authorized, remaining_minor=remaining, is_over=over
    )


def capture(amount_minor: int, name: str = "ipi_1") -> Moved:
    """Money that was captured."""
    return Moved(kind="capture", id=name, amount_minor=amount_minor)


def refund(amount_minor: int, name: str = "ipi_r1") -> Moved:
    """Money that was given back."""
    return Moved(kind="refund", id=name, amount_minor=amount_minor)


class Terminal:
    """Where cards are swiped: `ic_1` is the card of `ann`, in tenant `t_one` where everything is granted."""

    def __init__(self, world: World, *, founded: bool = False) -> None:
        """Make the tenant, unless it is there."""
        self.world = world
        self.network = CardNetwork(world.store, world.authorizer, world.snapshots, world.ids)
        self.desk = CardDesk(world.store, world.treasurer, world.ids)
        self.told = 0
        if not founded:
            world.tenant()
            world.identity("ann")
            self.card_id = self.card()

    def card(
        self, name: str = "ic_1", identity_id: str = "ann", network: Literal["stripe", "lithic"] = "stripe"
    ) -> str:
        """Make a card that the network calls so."""
        return self.world.run(self.creating(name, identity_id, network)).value.card.card_id

    def creating(
        self, name: str, identity_id: str = "ann", network: Literal["stripe", "lithic"] = "stripe"
    ) -> Coroutine[object, object, Done[Shown]]:
        """The call that makes a card."""
        draft = CardDraft(identity_id=identity_id, currency="CAD", external_ref=ExternalRef(network, name))
        return self.desk.create(OPERATOR, "t_one", draft, None, self.world.now_us)

    def swipe(self, amount_minor: int, index: int = 0, /, **changes: object) -> Swipe:
        """A request of the authorization `iauth_1`."""
        made = Swipe(
            network="stripe",
            event_id=f"evt_ask_{index}",
            authorization_id="iauth_1",
            index=index,
            card="ic_1",
            amount_minor=amount_minor,
            currency="CAD",
            merchant=SHOP,
        )
        return msgspec.structs.replace(made, **changes)

    def ask(self, swipe: Swipe) -> Asked:
        """Ask to decide."""
        return self.world.run(self.network.ask("t_one", PROGRAM, swipe, self.world.now_us))

    def asks(self, amount_minor: int, index: int = 0, **changes: object) -> str:
        """Ask, and return the decision's id."""
        return self.ask(self.swipe(amount_minor, index, **changes)).decision.decision_id or ""

    def event(self, *moved: Moved, say: Standing | None = None, **changes: object) -> CardEvent:
        """An event of the authorization `iauth_1`, with an id of its own."""
        self.told += 1
        made = CardEvent(
            network="stripe",
            event_id=f"evt_{self.told}",
            type="issuing_transaction.created",
            card="ic_1",
            authorization_id="iauth_1",
            currency="CAD",
            standing=say,
            moved=moved,
            merchant=SHOP,
        )
        return msgspec.structs.replace(made, **changes)

    def tell(self, event: CardEvent) -> Told:
        """Tell it."""
        return self.world.run(self.network.tell("t_one", PROGRAM, event, self.world.now_us))

    def tells(self, *moved: Moved, say: Standing | None = None, **changes: object) -> Told:
        """Tell a new event of the authorization `iauth_1`."""
        return self.tell(self.event(*moved, say=say, **changes))

    def dossier(self, authorization_id: str = "iauth_1", currency: str = "CAD") -> CardAuthorization:
        """What is known of an authorization."""
        with self.world.look() as part:
            found = part.card_authorizations.find("stripe", authorization_id, currency)
        assert found is not None
        return found

    def reservation(self, decision_id: str) -> Reservation:
        """What a decision holds."""
        with self.world.look() as part:
            found = part.ledger.reservation(decision_id)
        assert found is not None
        return found

    def figures(self, decision_id: str) -> tuple[str, int, int, int]:
        """State, held, settled and refunded of a reservation."""
        found = self.reservation(decision_id)
        measure = found.measures["amount"]
        return found.state, measure.held, measure.settled, measure.refunded

    def opened(self) -> str:
        """The reservation of what was captured without a request."""
        opening = self.dossier().opening
        assert opening is not None
        return opening.decision_id

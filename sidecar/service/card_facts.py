"""The facts that card networks tell, taken in: each counts once, by the network's own id of it."""

from hashlib import sha256

import msgspec

from sidecar.core.card_authorization import CardAuthorization, Seen
from sidecar.core.card_events import CardEvent, CardProgram, Moved, Swipe
from sidecar.service.card_notes import Mark
from sidecar.service.store import TenantTransaction


def dossier_of(
    part: TenantTransaction, program: CardProgram, about: Swipe | CardEvent, card_id: str
) -> CardAuthorization:
    """Return what is known of an authorization, nothing for one that was never heard of."""
    network, authorization_id, currency = about.network, about.authorization_id or "", about.currency or ""
    return part.card_authorizations.find(network, authorization_id, currency) or CardAuthorization(
        network=network,
        authorization_id=authorization_id,
        currency=currency,
        program_id=program.program_id,
        card_id=card_id,
    )


def counted(part: TenantTransaction, event: CardEvent) -> tuple[list[Moved], list[Mark]]:
    """Return the movements of an event that count, each once for good, and what is to be said of all of them."""
    cards, new, marks = part.card_authorizations, [], []
    for moved in event.moved:
        row = Seen(
            of="movement",
            network=event.network,
            id=moved.id,
            fingerprint=fingerprint_of([event.authorization_id, event.currency, moved]),
            authorization_id=event.authorization_id,
            currency=event.currency,
            moved=moved,
        )
        seen = cards.seen("movement", event.network, moved.id)
        if seen is None:
            cards.keep_seen(row)
            new.append(moved)
        mark: Mark = "counted" if seen is None else "repeated" if seen.fingerprint == row.fingerprint else "differs"
        marks.append(mark)
    return new, marks


def fingerprint_of(content: object) -> bytes:
    """Return what stands for exactly this content."""
    return sha256(msgspec.json.encode(content, order="sorted")).digest()

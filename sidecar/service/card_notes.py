"""What the audit log says of a card network's events: one record each, whether they had an effect or not."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from sidecar.core.audit import Body
from sidecar.core.card_events import CardEvent, CardProgram, Told
from sidecar.core.cards import Card
from sidecar.service.store import TenantTransaction

Mark: TypeAlias = Literal["counted", "repeated", "differs"]
"""What became of a movement: it counts from now on, was told before, or was told before with other content."""


class Note(msgspec.Struct, frozen=True):
    """What became of an event, of which card, and of each of its movements.

    ``differs`` says that the same event came before with other content, which counts for nothing.
    """

    became: Told
    card: Card | None
    marks: Sequence[Mark] = ()
    differs: bool = False


def note(part: TenantTransaction, program: CardProgram, event: CardEvent, told: Note, now_us: int) -> None:
    """Record an event. ``named`` is what its network calls its type, ``external_card`` what it calls a card."""
    body: Body = {
        "network": event.network,
        "event": event.event_id,
        "named": event.type,
        "became": told.became,
        "by": program.program_id,
    }
    card, standing = told.card, event.standing
    optional: tuple[tuple[str, object], ...] = (
        ("identity", None if card is None else card.identity_id),
        ("card", None if card is None else card.card_id),
        ("external_card", event.card if card is None else None),
        ("authorization", event.authorization_id),
        ("currency", event.currency),
        ("standing", None if standing is None else msgspec.to_builtins(standing)),
        ("moved", _moved(event, told.marks) or None),
        ("differs", told.differs or None),
    )
    body.update((name, value) for name, value in optional if value is not None)
    part.audit.append("card_event", now_us, body)


def _moved(event: CardEvent, marks: Sequence[Mark]) -> list[tuple[object, ...]]:
    return [
        (moved.kind, moved.id, moved.amount_minor, *marks[place : place + 1]) for place, moved in enumerate(event.moved)
    ]

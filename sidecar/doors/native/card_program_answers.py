"""The answers about card programs as types; see ``answers``."""

from typing import Annotated, TypedDict

from msgspec import Meta

from sidecar.core.card_events import Network
from sidecar.core.grammar import Instant
from sidecar.doors.native.answers import Changed, Revision


class CardProgram(TypedDict):
    """An account at a card network, without the secrets by which its messages are known."""

    program_id: str
    tenant_id: str
    network: Network
    name: str
    has_former_secret: Annotated[bool, Meta(description="whether messages are known by a replaced secret as well")]
    former_secret_until: Annotated[Instant | None, Meta(description="until when; null without one")]
    created_at: Instant
    rotated_at: Changed
    revision: Revision

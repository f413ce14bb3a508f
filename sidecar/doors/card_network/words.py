"""What the doors of all networks share: how a message is read, and how a merchant's name becomes one of ours."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Protocol, TypeAlias

import msgspec

from sidecar.core.card_events import CardEvent, Merchant, Network, Swipe
from sidecar.core.errors import ValidationFailed
from sidecar.core.money import AMOUNT_MINOR_MAX
from sidecar.doors.card_network.signatures import Signed
from sidecar.doors.wire.http import Header, Incoming
from sidecar.service.card_network import Asked

Object: TypeAlias = dict[str, Any]
"""A JSON object as it was decoded."""

NetworkId = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""An id that a network made."""

Minor = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MINOR_MAX)]
"""An amount that cannot be negative."""

Signless = Annotated[int, msgspec.Meta(ge=-AMOUNT_MINOR_MAX, le=AMOUNT_MINOR_MAX)]
"""An amount whose sign says which way money went."""

Currency = Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
"""A currency's code as a network writes it."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
"""Seconds since 1970, or a number of things."""

NAME_LENGTH_MAX: Final = 512
"""Characters of a resource's id."""

NOBODY: Final = "unknown"
"""A merchant of whom a network says nothing."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_is_category: Final = re.compile("[0-9]{4}").fullmatch


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as far as it is read: what it is, and what is said of it in ``content``.

    ``echo`` is what the answer must repeat, None where the message does not say it.
    """

    is_request: bool
    type: str
    event_id: str
    content: Object
    echo: str | None = None


class Words(Protocol):
    """The words of one network. Whatever cannot be read raises ValidationFailed, naming the place."""

    @property
    def network(self) -> Network:
        """The network."""

    @property
    def request_type(self) -> str:
        """The type of the messages that ask."""

    @property
    def told_types(self) -> frozenset[str]:
        """The types of the messages that tell of money."""

    def signed(self, head: Incoming, now_us: int) -> Signed:
        """Return what a message is signed with. Raises Unauthenticated."""

    def message(self, document: object, head: Incoming) -> Message:
        """Return what kind of message a document is."""

    def swipe(self, message: Message) -> Swipe:
        """Return the request in a message."""

    def event(self, message: Message) -> CardEvent:
        """Return what a message tells."""

    def approval(self, message: Message, asked: Asked) -> tuple[Object, tuple[Header, ...]]:
        """Return the body and the headers that approve a request."""

    def refusal(
        self, message: Message | None, reason: str, sentence: str, decision_id: str | None
    ) -> tuple[Object, tuple[Header, ...]]:
        """Return the body and the headers that decline a request, or what may have been one."""


def is_telling(words: Words, body: bytes) -> bool:
    """Whether a body that could not be read is certainly no request: it has the name of another type, and not that."""
    named = any(each.encode() in body for each in words.told_types)
    return named and words.request_type.encode() not in body


def object_of(document: object) -> Object:
    """Return a document that must be an object. Raises ValidationFailed."""
    if not isinstance(document, dict):
        raise ValidationFailed("the body must be a JSON object")
    return document


def merchant_of(names: tuple[str | None, ...], category: str | None) -> Merchant:
    """Return a merchant by the first of its names that has anything in it.

    Control characters are spaces, and what is longer than a name of ours is cut: a terminal writes what it likes, and a
    payment is not declined for that. A category of any other form than four digits is none.
    """
    cleaned = (_CONTROL.sub(" ", name or "").strip()[:NAME_LENGTH_MAX].strip() for name in names)
    is_known = category is not None and _is_category(category) is not None
    return Merchant(name=next(filter(None, cleaned), NOBODY), category=category if is_known else None)


def told(decision_id: str | None, reason: str | None) -> Mapping[str, str]:
    """Return what every answer to a request says of the decision, without what there is not."""
    found = {"decision_id": decision_id, "reason": reason}
    return {name: value for name, value in found.items() if value is not None}

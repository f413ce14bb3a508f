"""What is bought and what is sent about it, in words that both networks share."""

import random
from typing import Final, Protocol

import msgspec

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody buys: ``card`` is what the network calls the card, ``category`` a merchant category code."""

    card: str
    amount_minor: int
    currency: str
    merchant: str
    category: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a network says; ``body`` is sent as it is, ``event_id`` stays the same however often it is.

    ``amount_minor`` is what it is about, for people. ``is_request``: the network waits for a decision.
    """

    event_id: str
    type: str
    body: bytes
    amount_minor: int
    is_request: bool = False


class Authorization(Protocol):
    """One authorization at a network, from the first request to the last refund.

    Each call is something that a merchant does or that happens by time, and gives what the network says of it.
    """

    @property
    def id(self) -> str:
        """What the network calls it."""

    @property
    def open_minor(self) -> int:
        """What is authorised and not yet captured or reversed."""

    @property
    def captured_minor(self) -> int:
        """What was captured and not given back."""

    def ask(self, amount_minor: int) -> Message:
        """Ask for an amount, or for so much more."""

    def answer(self, *, approved: bool) -> tuple[Message, ...]:
        """Take the decision on what was asked last."""

    def capture(self, amount_minor: int, *, is_last: bool) -> tuple[Message, ...]:
        """Take money, whether it was authorised or not; nothing is on hold after the last capture."""

    def refund(self, amount_minor: int) -> tuple[Message, ...]:
        """Give money back."""

    def reverse(self, amount_minor: int) -> tuple[Message, ...]:
        """Give up a part of the hold; all of it ends the authorization."""

    def expire(self) -> tuple[Message, ...]:
        """Let the hold end by time."""

    def other(self) -> tuple[Message, ...]:
        """Say something that is about no money."""


class Names:
    """Ids as the networks make them; the same ``random`` gives the same ones."""

    def __init__(self, chance: random.Random) -> None:
        """Draw from ``chance``."""
        self._chance = chance

    def stripe(self, prefix: str) -> str:
        """Return such as ``iauth_1MzFMzK8MFqMRqhkJUbcxBcE``."""
        return f"{prefix}_1{''.join(self._chance.choices(_BASE62, k=23))}"

    def uuid(self) -> str:
        """Return a random UUID, version 4."""
        digits = f"{self._chance.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

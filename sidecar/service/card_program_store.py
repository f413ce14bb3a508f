"""What the use cases need of a store for card programs, which are found by their messages, whatever their tenant."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from sidecar.core.card_events import CardProgram


class Enrolled(NamedTuple):
    """A card program with the number of its tenant and its place in every list."""

    tenant: int
    place: int
    program: CardProgram


class CardPrograms(Protocol):
    """The card programs of every tenant, with their secrets."""

    def find(self, program_id: str) -> Enrolled | None:
        """Return the program with this id."""

    def all(self) -> Iterator[Enrolled]:
        """Yield every program in order of creation."""

    def keep(self, enrolled: Enrolled) -> None:
        """Store a program, new or changed."""

    def forget(self, program_id: str) -> None:
        """Remove a program with its secrets."""


class ProgramStore(Protocol):
    """The part of a transaction that has the card programs."""

    @property
    def card_programs(self) -> CardPrograms:
        """The card programs of every tenant."""

"""What deciding reads of one tenant, and no more: a part of a transaction, or a scene that is held in memory."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

from sidecar.core.budget import Budget, Claim, Usage
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.service.store import Listed

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Lookup(Protocol[T_co]):
    """Values of one kind by their ids."""

    def get(self, key: str) -> T_co | None:
        """Return the value with this id."""


class Owned(Protocol[T]):
    """Values of one kind by whom they belong to."""

    def owned(self, owner: str) -> Iterator[Listed[T]]:
        """Yield the values that belong to ``owner`` in order of creation."""


class Usages(Protocol):
    """What budgets have used."""

    def usage(self, claim: Claim) -> Usage:
        """Return what the claim's window has used before it."""

    def frees_at(self, claim: Claim, needed: int) -> int:
        """Return when ``needed`` will have left a rolling window."""


class Premises(Protocol):
    """One tenant at one moment, as far as a decision looks at it."""

    @property
    def tenant(self) -> Tenant:
        """The tenant."""

    @property
    def identities(self) -> Lookup[Identity]:
        """Its identities."""

    @property
    def cards(self) -> Lookup[Card]:
        """Its cards."""

    @property
    def budgets(self) -> Owned[Budget]:
        """Its budgets, owned by the identity or card they limit."""

    @property
    def ledger(self) -> Usages:
        """What its budgets have used."""

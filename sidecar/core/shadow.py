"""What a second set of policies would have decided, beside what was decided: differences, and how many there were.

A difference is one in the verdict alone: the same verdict for other reasons is none. Sums of amounts are integers of
the currency's minor unit without a bound. What is compared when, and where it is kept, is for the services.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from sidecar.core.model import Reason, ResourceRef

Direction = Literal["allow_to_deny", "deny_to_allow"]

DIRECTIONS: Final[tuple[Direction, ...]] = ("allow_to_deny", "deny_to_allow")

OUTCOMES: Final = ("same", *DIRECTIONS, "error", "dropped")
"""What can become of a decision that is to be compared."""

DIFFERENCES_MAX: Final = 1_000
"""The newest differences of a tenant are kept: five full pages, more than a reviewer reads, in some 0.7 MB."""


class NamedPolicy(msgspec.Struct, frozen=True):
    """A policy that decided, and where it stands."""

    policy_id: str
    source: str | None


class Side(msgspec.Struct, frozen=True):
    """A verdict with its codes and the policies behind it, the most important first."""

    allowed: bool
    codes: tuple[str, ...]
    policies: tuple[NamedPolicy, ...]


def side_of(verdict: Iterable[Reason], *, allowed: bool) -> Side:
    """Return a verdict that has these reasons, each code and each policy named once."""
    found = list(verdict)
    named = [NamedPolicy(reason.policy_id, reason.source) for reason in found if reason.policy_id is not None]
    codes = dict.fromkeys(reason.code for reason in found)
    return Side(allowed, tuple(codes), tuple(dict.fromkeys(named)))


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that the shadow policies would have made otherwise; ``seq`` is that of its audit record.

    ``policy_revision`` is the tenant's live one, ``shadow_revision`` names the shadow files as they were loaded.
    """

    decision_id: str
    seq: int
    at_us: int
    identity_id: str
    action: str
    resource: ResourceRef
    amount_minor: int | None
    currency: str | None
    live: Side
    shadow: Side
    policy_revision: str
    shadow_revision: str

    @property
    def direction(self) -> Direction:
        """From the verdict that was to the one that would have been."""
        return "allow_to_deny" if self.live.allowed else "deny_to_allow"


class Flips(msgspec.Struct, frozen=True):
    """How many verdicts differ in one direction, and what they are about in minor units by currency."""

    count: int = 0
    amounts: Mapping[str, int] = {}

    def __add__(self, other: "Flips") -> "Flips":
        """Return both together, currencies in the order of their codes."""
        currencies = sorted({*self.amounts, *other.amounts})
        amounts = {each: self.amounts.get(each, 0) + other.amounts.get(each, 0) for each in currencies}
        return Flips(self.count + other.count, amounts)


NO_FLIPS: Final = Flips()


class Tally(msgspec.Struct, frozen=True):
    """What became of the decisions that were to be compared: each counts in one place."""

    same: int = 0
    allow_to_deny: Flips = NO_FLIPS
    deny_to_allow: Flips = NO_FLIPS
    errors: int = 0
    dropped: int = 0

    @property
    def evaluated(self) -> int:
        """How many have a second verdict."""
        return self.same + self.allow_to_deny.count + self.deny_to_allow.count

    @property
    def all(self) -> int:
        """How many there were."""
        return self.evaluated + self.errors + self.dropped

    def __add__(self, other: "Tally") -> "Tally":
        """Return both together."""
        return Tally(
            self.same + other.same,
            self.allow_to_deny + other.allow_to_deny,
            self.deny_to_allow + other.deny_to_allow,
            self.errors + other.errors,
            self.dropped + other.dropped,
        )


SAME: Final = Tally(same=1)
ERROR: Final = Tally(errors=1)
DROPPED: Final = Tally(dropped=1)


def tally_of(compared: Difference | None) -> Tally:
    """Return how one comparison counts; None is one in which nothing differs."""
    if compared is None:
        return SAME
    amount, currency = compared.amount_minor, compared.currency
    flip = Flips(1, {} if amount is None or currency is None else {currency: amount})
    return Tally(allow_to_deny=flip) if compared.live.allowed else Tally(deny_to_allow=flip)


def shadow_revision(digest: bytes) -> str:
    """Return what names shadow files in answers; ``digest`` is that of the files."""
    return f"sha256:{digest.hex()}"

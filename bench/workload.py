"""The work that every contestant is given: one agent asks, one policy of many decides.

An agent at the bottom of a hierarchy of four asks to pay a merchant by card. A policy two levels above it allows that
up to an amount, in some currencies, for ten merchant categories and in some hours. All other policies have the same
shape and are bound to identities that the agent has nothing to do with.
"""

from typing import Final

import msgspec

CHAIN: Final = ("agent", "team", "division", "root")
"""The asking agent first, then its ancestors."""

ACTION: Final = "card.authorize"
MERCHANT: Final = "AWS"
AMOUNT_MAX: Final = 200_00
CURRENCIES: Final = ("CAD", "USD")
CATEGORIES: Final = ("5411", "5732", "5734", "5814", "5815", "5816", "5817", "5818", "7372", "7379")
HOURS: Final = (0, 23)
"""The whole day: this project takes the hour from its own clock, and the benchmark must run at any hour. Every
contestant compares the hour with these two all the same."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Allows ``identity`` and those below it ``action``; the amount counts minor units, both hours are included."""

    identity: str
    action: str = ACTION
    amount_max: int = AMOUNT_MAX
    currencies: tuple[str, ...] = CURRENCIES
    categories: tuple[str, ...] = CATEGORIES
    hour_from: int = HOURS[0]
    hour_to: int = HOURS[1]


class Work(msgspec.Struct, frozen=True):
    """What a contestant has to know before it is asked; written to a file of JSON for those in other processes."""

    chain: tuple[str, ...]
    policies: tuple[Policy, ...]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request, in minor units, and whether it is to be allowed."""

    amount: int
    category: str = "7372"
    currency: str = "CAD"
    hour: int = 12
    is_allowed: bool = False

    @property
    def text(self) -> str:
        """The amount in major units."""
        return f"{self.amount // 100}.{self.amount % 100:02}"


PERMITTED: Final = Question(amount=47_23, is_allowed=True)
"""What is measured."""

QUESTIONS: Final = (
    PERMITTED,
    Question(amount=AMOUNT_MAX, is_allowed=True),
    Question(amount=AMOUNT_MAX + 1),
    Question(amount=47_23, category="7995"),
    Question(amount=47_23, currency="EUR"),
)
"""What every contestant must get right before it is measured."""


def work(policies: int) -> Work:
    """Return the work with so many policies; the one that decides stands in the middle, for those that search."""
    others = [Policy(identity=f"other_{number}") for number in range(policies - 1)]
    middle = len(others) // 2
    return Work(CHAIN, (*others[:middle], Policy(identity=CHAIN[2]), *others[middle:]))


def flat(question: Question) -> dict[str, object]:
    """Return ``question`` as the contestants without a wire format of their own take it."""
    return {
        "principal": CHAIN[0],
        "action": ACTION,
        "resource": MERCHANT,
        "amount": question.amount,
        "currency": question.currency,
        "merchant_category": question.category,
        "hour": question.hour,
    }

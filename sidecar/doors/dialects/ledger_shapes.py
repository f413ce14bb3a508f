"""The request bodies of the Ledger dialect: camelCase, amounts in minor units, no field that is not known."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from sidecar.core.budget import OnExceeded
from sidecar.core.directory import Status
from sidecar.core.event_formats import LEDGER_FREQUENCIES, LEDGER_STATUSES, LedgerFrequency, LedgerStatus
from sidecar.core.money import AMOUNT_MINOR_MAX
from sidecar.core.windows import Period

OnLimit = Literal["suspend", "notify", "none"]

PERIODS: Final[Mapping[LedgerFrequency, Period]] = {name: period for period, name in LEDGER_FREQUENCIES.items()}
"""What the dialect's frequencies are natively."""

STATUSES: Final[Mapping[LedgerStatus, Status]] = {name: status for status, name in LEDGER_STATUSES.items()}
"""What the dialect's statuses are natively."""

PERIOD_DEFAULT: Final[Period] = "total"
"""The period of a limit without a frequency: it never resets."""

ON_EXCEEDED: Final[Mapping[OnLimit, OnExceeded]] = {"suspend": "suspend", "notify": "notify", "none": "track"}
"""What the dialect's answers to a limit that is hit are natively; without one, what does not fit is refused."""

Cents = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MINOR_MAX)]
MaxCards = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Last4 = Annotated[str, msgspec.Meta(pattern="^[0-9]{4}$")]
Unset = msgspec.UnsetType


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A body that refuses fields it does not know."""


class AgentBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/agents``; ``currency`` is that of both limits."""

    user_id: str
    name: str
    description: str | None = None
    spending_limit: Cents | None = None
    spending_limit_frequency: LedgerFrequency | None = None
    on_limit_exceeded: OnLimit | None = None
    max_cards: MaxCards | None = None
    default_card_limit: Cents | None = None
    default_card_limit_frequency: LedgerFrequency | None = None
    default_policy_id: str | None = None
    currency: str | None = None
    metadata: dict[str, object] | None = None


class RegisterBody(AgentBody, frozen=True, kw_only=True):
    """``POST /v1/agents/register``."""

    external_id: str


class AgentPatchBody(_Body, frozen=True, kw_only=True):
    """``PATCH /v1/agents/{id}``: what is left out stays, and null takes away."""

    name: str | Unset = msgspec.UNSET
    status: Literal["active", "suspended"] | Unset = msgspec.UNSET
    description: str | Unset | None = msgspec.UNSET
    spending_limit: Cents | Unset | None = msgspec.UNSET
    spending_limit_frequency: LedgerFrequency | Unset | None = msgspec.UNSET
    on_limit_exceeded: OnLimit | Unset | None = msgspec.UNSET
    max_cards: MaxCards | Unset | None = msgspec.UNSET
    default_card_limit: Cents | Unset | None = msgspec.UNSET
    default_card_limit_frequency: LedgerFrequency | Unset | None = msgspec.UNSET
    currency: str | Unset = msgspec.UNSET
    metadata: dict[str, object] | Unset | None = msgspec.UNSET


class TokenBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/agents/{id}/tokens``."""

    name: str


class CardBody(_Body, frozen=True, kw_only=True):
    """``POST /v1/agents/{id}/cards``: all of it may be left out."""

    spending_limit: Cents | None = None
    spending_limit_frequency: LedgerFrequency | None = None
    currency: str | None = None
    allowed_mccs: tuple[str, ...] | None = None
    last4: Last4 | None = None


class EmptyBody(_Body, frozen=True, kw_only=True):
    """A call that is told everything by its path."""

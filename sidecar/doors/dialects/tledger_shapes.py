"""The request bodies of the tLedger dialect, as its users know them."""

from typing import Annotated, Literal

import msgspec

from sidecar.core.money import AnyMajor

NAME_LENGTH_MAX = 30
DESCRIPTION_LENGTH_MAX = 100

Network = Literal["solana", "xrpl", "base"]
RefreshPeriod = Literal["DAILY", "WEEKLY"]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A body that refuses fields it does not know."""


class KeyBody(_Body, frozen=True, kw_only=True):
    """``POST /api/v1/api_key/generate-api-key``."""

    name: str = "tledger"


class ProjectBody(_Body, frozen=True, kw_only=True):
    """``POST /api/v1/projects``."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_LENGTH_MAX)]
    daily_limit: AnyMajor
    network: Network = "solana"


class AgentBody(_Body, frozen=True, kw_only=True):
    """``POST /api/v1/agent_profiles``."""

    name: str
    description: str
    project_id: str
    agent_daily_limit: AnyMajor = AnyMajor("100")
    agent_type: str = "autonomous_agent"


class LimitBody(_Body, frozen=True, kw_only=True):
    """``POST /api/v1/agent_profiles/{agent_id}/agent_limits``."""

    limit_amount: AnyMajor
    limit_currency: str
    limit_refresh_period: RefreshPeriod


class PaymentBody(_Body, frozen=True, kw_only=True):
    """``POST /api/v1/payment``."""

    request_id: str | None = None
    sending_agent_id: str
    receiving_agent_id: str
    payment_amount: AnyMajor
    currency: str
    settlement_network: str = "solana"
    trace_context: str = "{}"
    func_stack_hashes: str = "[]"
    debug_mode: bool = False

"""From the bodies of the tLedger dialect to what the services make.

What its projects and agents are natively is said here, and nowhere else: a project is an identity with a rules policy
for payments, with daily budgets and a treasury agent below; an agent is an identity with daily budgets and with an
account per asset, which share one wallet address. A daily limit has no currency in this API, so it is a budget in each
asset of the network.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from sidecar.core.budget import AMOUNT
from sidecar.core.currencies import places
from sidecar.core.directory import Identity
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_caller_id, check_name
from sidecar.core.limits import METADATA_BYTES_MAX
from sidecar.core.model import Json
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.windows import Period
from sidecar.doors.dialects import tledger_shapes as shapes
from sidecar.service.accounts import AccountDraft
from sidecar.service.budget_changes import BudgetDraft
from sidecar.service.enrolment import OF_THE_NEW, EnrolmentDraft
from sidecar.service.identities import IdentityDraft
from sidecar.service.payment_plan import PaymentDraft, Side
from sidecar.service.policies import PolicyDraft
from sidecar.service.tokens import TokenDraft

PROJECT: Final = "project"
AGENT: Final = "agent"
TREASURY: Final = "treasury_agent"
PAY: Final = "payment.create"

ASSETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"solana": ("SOL", "USDC", "USDT"), "xrpl": ("XRP",), "base": ("USDC",)}
)
"""What an agent gets an account in, per network: the assets of it that the sidecar can count exactly."""

NETWORK_DEFAULT: Final = "solana"
"""The network of a project that was made natively and names none."""

PERIODS: Final[Mapping[str, Period]] = MappingProxyType({"DAILY": "daily", "WEEKLY": "weekly"})

_NOTHING: Final = {"trace_context": "{}", "func_stack_hashes": "[]"}
"""What a payment says of its trace where it says nothing."""


def network_of(identity: Identity) -> str:
    """Return the network of a project or an agent, as its metadata name it."""
    named = identity.metadata.get("network")
    return named if isinstance(named, str) and named in ASSETS else NETWORK_DEFAULT


def is_treasury(identity: Identity) -> bool:
    """Whether an agent keeps the funds of its project."""
    return identity.metadata.get("agent_type") == TREASURY


def api_key(body: shapes.KeyBody) -> TokenDraft:
    """Return the token that a new pair is: a tenant's key."""
    return TokenDraft(check_name(body.name, "name"), "tenant", None, may_release=False, expires_at_us=None)


def project(body: shapes.ProjectBody, parent_id: str) -> EnrolmentDraft:
    """Return a project with its treasury agent."""
    name = check_name(body.name, "name")
    treasury = _agent(
        f"{name} treasury", TREASURY, body.network, _daily(body.daily_limit, "daily_limit", AGENT, body.network)
    )
    rules = Rules(actions=(PAY,))
    document = msgspec.json.encode({"actions": [PAY]}).decode()
    return EnrolmentDraft(
        identity=IdentityDraft(
            parent_id=parent_id,
            type=PROJECT,
            name=name,
            metadata={"network": body.network},
            description=_description(body.description),
        ),
        limits=_daily(body.daily_limit, "daily_limit", PROJECT, body.network),
        policy=PolicyDraft("payments of the project", OF_THE_NEW, rules, document, None),
        below=(treasury,),
    )


def agent(body: shapes.AgentBody, project: Identity) -> EnrolmentDraft:
    """Return an agent of a project."""
    network = network_of(project)
    limits = _daily(body.agent_daily_limit, "agent_daily_limit", AGENT, network)
    draft = _agent(check_name(body.name, "name"), check_name(body.agent_type, "agent_type"), network, limits)
    identity = msgspec.structs.replace(
        draft.identity, parent_id=project.identity_id, description=_description(body.description)
    )
    return msgspec.structs.replace(draft, identity=identity)


def limit(body: shapes.LimitBody, identity_id: str) -> BudgetDraft:
    """Return a limit of an agent."""
    period = PERIODS[body.limit_refresh_period]
    return _limit(body.limit_amount, "limit_amount", body.limit_currency, period, AGENT, identity_id)


def payment(body: shapes.PaymentBody) -> PaymentDraft:
    """Return a payment; what says something of its trace is kept with it. Raises ValidationFailed."""
    places(body.currency, "currency")
    said = {"trace_context": body.trace_context, "func_stack_hashes": body.func_stack_hashes}
    traced: dict[str, Json] = {name: text for name, text in said.items() if text != _NOTHING[name]}
    if len(msgspec.json.encode(traced)) > METADATA_BYTES_MAX:
        message = f"`trace_context` and `func_stack_hashes` have at most {METADATA_BYTES_MAX} bytes together"
        raise ValidationFailed(message, field="trace_context")
    return PaymentDraft(
        identity_id=body.sending_agent_id,
        source=Side(identity_id=body.sending_agent_id),
        target=Side(identity_id=body.receiving_agent_id),
        amount=body.payment_amount,
        currency=body.currency,
        network=check_caller_id(body.settlement_network, "settlement_network"),
        request_id=None if body.request_id is None else check_name(body.request_id, "request_id"),
        debug_mode=body.debug_mode,
        metadata=traced,
    )


def _agent(name: str, kind: str, network: str, limits: tuple[BudgetDraft, ...]) -> EnrolmentDraft:
    return EnrolmentDraft(
        identity=IdentityDraft(
            parent_id=OF_THE_NEW, type=AGENT, name=name, metadata={"agent_type": kind, "network": network}
        ),
        limits=limits,
        accounts=tuple(
            AccountDraft(identity_id=OF_THE_NEW, asset=asset, network=network, wallet_address=OF_THE_NEW)
            for asset in ASSETS[network]
        ),
    )


def _daily(amount: Major, field: str, whose: str, network: str) -> tuple[BudgetDraft, ...]:
    return tuple(_limit(amount, field, asset, "daily", whose, OF_THE_NEW) for asset in ASSETS[network])


def _limit(amount: Major, field: str, currency: str, period: Period, whose: str, identity_id: str) -> BudgetDraft:
    """Return a limit on payments only: cards and calls that a project has natively are limited there.

    It is named so that an agent reads in a denial whose limit stopped it.
    """
    return BudgetDraft(
        identity_id=identity_id,
        name=f"{period} limit of the {whose}",
        dimension=AMOUNT,
        period=period,
        limit=amount,
        limit_field=field,
        currency=currency,
        actions=(PAY,),
    )


def _description(text: str) -> str | None:
    return check_name(text, "description") if text else None

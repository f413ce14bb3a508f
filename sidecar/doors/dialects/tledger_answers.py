"""The answers of the tLedger dialect: what the services return, as its users know it. Numbers are exact."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final

from sidecar.core.accounts import Account
from sidecar.core.budget import AMOUNT, Budget
from sidecar.core.currencies import places
from sidecar.core.directory import Identity
from sidecar.core.instants import utc_text
from sidecar.core.payments import Payment
from sidecar.doors.dialects.tledger_drafts import PAY, PERIODS, network_of
from sidecar.doors.native.render import Document, instant, number
from sidecar.service.accounts import Held
from sidecar.service.budget_changes import Metered
from sidecar.service.enrolment import Enrolled
from sidecar.service.tokens import Minted

_REFRESH: Final = {period: name for name, period in PERIODS.items()}


def api_key(minted: Minted) -> Document:
    """Return a new pair; a replay has no secret any more."""
    return {
        "object": "api_key",
        "api_key": minted.token.token_id,
        "api_secret": minted.text or None,
        "name": minted.token.name,
        "created_at": utc_text(minted.token.created_at_us),
    }


def project(identity: Identity, budgets: Iterable[Budget], treasury: Document | None) -> Document:
    """Return a project; ``treasury`` is its treasury agent, None where it has none within reach."""
    return {
        "object": "project",
        "id": identity.identity_id,
        "name": identity.name,
        "description": identity.description or "",
        "network": network_of(identity),
        "daily_limit": _daily_limit(budgets),
        "treasury_agent_id": None if treasury is None else treasury["id"],
        "treasury_agent": treasury,
        **_times(identity),
    }


def new_project(enrolled: Enrolled) -> Document:
    """Return a project that was just made."""
    identity = enrolled.described.identity
    (treasury,) = (new_agent(each) for each in enrolled.below)
    return project(identity, (each.budget for each in enrolled.budgets), treasury)


def agent(
    identity: Identity, project_id: str | None, budgets: Iterable[Budget], accounts: Iterable[tuple[Account, int]]
) -> Document:
    """Return an agent with its accounts."""
    kind = identity.metadata.get("agent_type")
    return {
        "object": "agent",
        "id": identity.identity_id,
        "project_id": project_id,
        "name": identity.name,
        "agent_description": identity.description or "",
        "agent_type": kind if isinstance(kind, str) else "autonomous_agent",
        **_times(identity),
        "daily_limit": _daily_limit(budgets),
        "account": [account(each, minor) for each, minor in accounts],
    }


def new_agent(enrolled: Enrolled) -> Document:
    """Return an agent that was just made, with nothing in its accounts."""
    identity = enrolled.described.identity
    budgets = (each.budget for each in enrolled.budgets)
    return agent(identity, identity.parent_id, budgets, ((each, 0) for each in enrolled.accounts))


def account(value: Account, balance_minor: int) -> Document:
    """Return an account with what is in it."""
    return {
        "object": "account",
        "id": value.account_id,
        "agent_id": value.identity_id,
        "asset": value.asset,
        "currency": value.asset,
        "network": value.network,
        "wallet_address": value.wallet_address,
        "balance": number(balance_minor, value.asset),
        "status": value.status,
        "created_at": utc_text(value.created_at_us),
    }


def balance(agent_id: str, held: Iterable[Held]) -> Document:
    """Return what an agent has."""
    return {
        "object": "balance",
        "agent_id": agent_id,
        "balances": [
            {
                "account_id": each.account.account_id,
                "asset": each.account.asset,
                "currency": each.account.asset,
                "network": each.account.network,
                "wallet_address": each.account.wallet_address,
                "balance": number(each.balance_minor, each.account.asset),
            }
            for each in held
        ],
    }


def limit(metered: Metered) -> Document:
    """Return a limit with what remains of it, and when it is whole again."""
    value, window = metered.budget, metered.window
    return {
        "object": "agent_limit",
        "id": value.budget_id,
        "agent_id": value.identity_id,
        "limit_amount": number(value.limit, value.currency),
        "limit_currency": value.currency,
        "limit_refresh_period": _REFRESH[value.period],
        "limit_remaining": number(max(0, value.limit - metered.usage.total), value.currency),
        "limit_refresh_timestamp": None if window is None else instant(window.end_us),
        "created_at": utc_text(value.created_at_us),
        "updated_at": utc_text(value.updated_at_us or value.created_at_us),
    }


def limits(values: Iterable[Metered]) -> Document | None:
    """Return the limit that was set last, with all of them in ``limits``; None where an agent has none."""
    found = [each for each in values if _limits_payments(each.budget) and each.budget.period in _REFRESH]
    if not found:
        return None
    return limit(max(found, key=lambda each: each.budget.revision)) | {"limits": [limit(each) for each in found]}


def payment(value: Payment, names: Mapping[str, str | None]) -> Document:
    """Return a payment; ``names`` are those of its agents, None for one out of reach."""
    return {
        "object": "payment",
        "id": value.payment_id,
        "status": value.status,
        "payment_amount": number(value.amount_minor, value.currency),
        "sending_agent_id": value.identity_id,
        "sending_agent_name": names[value.identity_id],
        "receiving_agent_id": value.receiver_id,
        "receiving_agent_name": names[value.receiver_id],
        "settlement_network": value.network,
        "currency": value.currency,
        "transaction_fee": number(value.transaction_fee_minor, value.currency),
        "transaction_hash": value.transaction_hash,
        "created_at": utc_text(value.created_at_us),
        "updated_at": utc_text(value.updated_at_us),
        "request_id": value.request_id,
        "error_details": value.error_details,
        "challenge": value.challenge,
        "risk_level": value.risk_level,
        "debug_mode": value.debug_mode,
    }


def listed(values: Iterable[object], page: tuple[int, int], *, has_more: bool) -> Document:
    """Return one page of a list, asked for by its number and size."""
    data = [*values]
    return {"object": "list", "data": data, "page_number": page[0], "page_size": page[1], "has_more": has_more}


def deleted(kind: str, identity: Identity) -> Document:
    """Return what is left of something that was deleted."""
    return {"object": kind, "id": identity.identity_id, "deleted": True}


def _daily_limit(budgets: Iterable[Budget]) -> object:
    """Return the lowest daily limit of payments, whatever its asset; None without one."""
    found = [each for each in budgets if _limits_payments(each) and each.period == "daily" and each.currency]
    lowest = min(found, key=_units, default=None)
    return None if lowest is None else number(lowest.limit, lowest.currency)


def _units(budget: Budget) -> Fraction:
    return Fraction(budget.limit, 10 ** places(budget.currency or ""))


def _limits_payments(budget: Budget) -> bool:
    is_of_all = budget.account_id is None and budget.governs(frozenset({PAY}))
    return budget.dimension == AMOUNT and budget.is_hard and is_of_all


def _times(identity: Identity) -> Document:
    return {
        "created_at": utc_text(identity.created_at_us),
        "updated_at": utc_text(identity.updated_at_us or identity.created_at_us),
    }

"""Why a decision came out as it did, in words that an agent can act on and codes that never change.

Reasons are listed in the order of ``CODES``, all that apply. Each names what it is about (identity, policy and rule,
budget), what was seen, and the value that would pass.
"""

from collections.abc import Callable, Iterable
from typing import Final

from sidecar.core.budget import AMOUNT, Budget
from sidecar.core.cards import Card, CardState, refused_category
from sidecar.core.directory import SEVERITY, IdentityChain
from sidecar.core.instants import utc_text
from sidecar.core.model import AuthorizeRequest, BudgetCheck, Reason
from sidecar.core.money import major_text
from sidecar.core.policy_set import PolicySet
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.ruling import Ruling
from sidecar.core.staleness import SKEW_MAX_US, Freshly

CODES: Final = (
    "identity_revoked",
    "identity_suspended",
    "card_frozen",
    "card_closed",
    "policy_error",
    "forbidden",
    "not_permitted",
    "currency_not_budgeted",
    "budget_exceeded",
    "per_transaction_limit",
    "replica_stale",
)
"""Every code of a denial, the most important first."""


def blocked(chain: IdentityChain) -> tuple[Reason, ...]:
    """Return a reason for each identity of ``chain`` that blocks it; empty when none does."""
    return tuple(
        Reason(
            verdict="deny",
            code=f"identity_{status}",
            message=f"identity `{identity.identity_id}` (`{identity.name}`) is {status}",
            identity_id=identity.identity_id,
        )
        for status in SEVERITY
        for identity in chain
        if identity.status == status
    )


def card_blocked(card: Card, state: CardState) -> tuple[Reason, ...]:
    """Return the reason why a frozen or closed card pays for nothing; empty for an active one."""
    if state.status == "active":
        return ()
    by = "" if state.identity is None else f" with every card below identity `{state.identity.identity_id}`"
    return (
        Reason(
            verdict="deny",
            code=f"card_{state.status}",
            message=f"card `{card.card_id}` is {state.status}{by}",
            identity_id=None if state.identity is None else state.identity.identity_id,
            card_id=card.card_id,
        ),
    )


def card_refused(card: Card, request: AuthorizeRequest) -> tuple[Reason, ...]:
    """Return the reason of a merchant category that the card does not allow; empty when it does."""
    sentence = refused_category(card, request)
    if sentence is None:
        return ()
    rule = "allowed_mccs"
    return (Reason(verdict="deny", code="forbidden", message=sentence, matched_rule=rule, card_id=card.card_id),)


def not_permitted(message: str) -> Reason:
    """Return the reason of a request that no policy permits."""
    return Reason(verdict="deny", code="not_permitted", message=message)


def permitted(ruling: Ruling, policies: PolicySet) -> tuple[Reason, ...]:
    """Return a reason for each policy that permitted; it is the same every time, so it is made once."""
    permits = policies.permits
    return tuple([permits.get(policy) or _permit(policy, policies) for policy in ruling.determining])


def _permit(policy: str, policies: PolicySet) -> Reason:
    reason = _of_policy(policies.unit(policy), "permit", "permitted", f"permitted by `{policy}`")
    policies.permits[policy] = reason
    return reason


def refused(
    ruling: Ruling, policies: PolicySet, request: AuthorizeRequest, see: Callable[[], dict[str, object]]
) -> tuple[Reason, ...]:
    """Return why Cedar refused: errors, then the policies that forbid, or that none permits.

    ``see`` returns the context that the policies saw, for saying which value failed a rule.
    """
    errors = tuple(
        _of_policy(
            policies.unit(fault.policy_id), "deny", "policy_error", f"`{fault.policy_id}` failed: {fault.message}"
        )
        for fault in ruling.errors
    )
    units = [policies.unit(policy) for policy in ruling.determining]
    forbids = tuple(_forbidden(unit, request, see) for unit in units if unit.effect == "forbid")
    if errors or forbids:
        return errors + forbids
    target = f"`{request.resource.type}` `{request.resource.id}`"
    return (not_permitted(f"no policy permits `{request.action}` on {target} for identity `{request.identity_id}`"),)


def _forbidden(unit: PolicyUnit, request: AuthorizeRequest, see: Callable[[], dict[str, object]]) -> Reason:
    if unit.rule is None:
        return _of_policy(unit, "deny", "forbidden", unit.description or f"forbidden by `{unit.id}`")
    got = _seen(unit.rule, request, see())
    message = f"`{unit.rule}` of policy `{unit.policy_id}` requires {unit.requirement}" + (
        f", got {got}" if got else ""
    )
    return _of_policy(unit, "deny", "forbidden", message)


def _seen(rule: str, request: AuthorizeRequest, seen: dict[str, object]) -> str | None:
    """Return the value that a rule looked at, as the caller would write it; None for one that looks at several."""
    if rule == "max_amount" and request.amount_minor is not None and request.currency is not None:
        return f"`{major_text(request.amount_minor, request.currency)} {request.currency}`"
    if rule.endswith("_resources"):
        return f"`{request.resource.type}` `{request.resource.id}`"
    name = {
        "currencies": "currency",
        "currency": "currency",
        "allowed_mccs": "merchant_category",
        "blocked_mccs": "merchant_category",
        "allowed_hours": "hour",
        "allowed_days": "weekday",
    }.get(rule)
    return None if name is None else f"`{seen[name]}`" if name in seen else f"no `{name}`"


def _of_policy(unit: PolicyUnit, verdict: str, code: str, message: str) -> Reason:
    return Reason(
        verdict="permit" if verdict == "permit" else "deny",
        code=code,
        message=message,
        policy_id=unit.policy_id or unit.id,
        matched_rule=unit.rule if verdict == "deny" else None,
        source=unit.source,
        advice=unit.advice if verdict == "deny" else None,
    )


def unbudgeted(budgets: Iterable[Budget], currency: str | None) -> tuple[Reason, ...]:
    """Return a reason per owner whose budgets know other currencies than the request's."""
    return tuple(
        Reason(
            verdict="deny",
            code="currency_not_budgeted",
            message=f"{_owner(budget)} has no budget in `{currency}`, expected `{budget.currency}`",
            identity_id=budget.identity_id,
            card_id=budget.card_id,
            budget_id=budget.budget_id,
            currency=currency,
        )
        for budget in budgets
    )


def foreign_currency(card: Card, currency: str) -> Reason:
    """Return the reason of a currency that a card is neither kept in nor has a budget for."""
    return Reason(
        verdict="deny",
        code="currency_not_budgeted",
        message=f"card `{card.card_id}` is kept in `{card.currency}` and has no budget in `{currency}`",
        card_id=card.card_id,
        currency=currency,
    )


def _owner(budget: Budget) -> str:
    return f"card `{budget.card_id}`" if budget.identity_id is None else f"identity `{budget.identity_id}`"


def exceeded(check: BudgetCheck, retry_at_us: int | None) -> Reason:
    """Return the reason of a budget that the request does not fit into."""
    once = check.period == "per_transaction"
    return Reason(
        verdict="deny",
        code="per_transaction_limit" if once else "budget_exceeded",
        message=f"budget `{check.name}` allows {_figure(check, check.limit)} {_PERIODS[check.period]}, "
        f"{_figure(check, check.requested)} was asked and {_figure(check, check.remaining)} remains",
        identity_id=check.identity_id,
        card_id=check.card_id,
        budget_id=check.budget_id,
        requested=check.requested,
        remaining=check.remaining,
        currency=check.currency,
        retry_at_us=None if once else retry_at_us,
    )


_PERIODS: Final = {
    "per_transaction": "per transaction",
    "hourly": "an hour",
    "daily": "a day",
    "weekly": "a week",
    "monthly": "a month",
    "yearly": "a year",
    "rolling_24h": "in 24 hours",
    "total": "in total",
}


def decided_elsewhere(budget: Budget) -> Reason:
    """Return the reason of a budget on which a follower alone decides, asked of anybody else."""
    return _undecided(budget, f"budget `{budget.name}` is decided by follower `{budget.follower_id}` alone")


def not_asked(budget: Budget) -> Reason:
    """Return the reason of a budget on which the control plane decides, where it was not asked."""
    return _undecided(budget, f"budget `{budget.name}` is decided at the control plane, which was not asked")


def _undecided(budget: Budget, message: str) -> Reason:
    return Reason(
        verdict="deny",
        code="replica_stale",
        message=message,
        identity_id=budget.identity_id,
        card_id=budget.card_id,
        budget_id=budget.budget_id,
    )


def as_told(code: str) -> Reason:
    """Return a reason of a control plane of which a record tells nothing but the code."""
    return Reason(verdict="deny", code=code, message=f"the control plane answered `{code}`")


def no_word(trouble: str) -> Reason:
    """Return the reason of a request on which the control plane has to decide as well and did not."""
    return Reason(verdict="deny", code="replica_stale", message=f"the control plane did not decide: {trouble}")


def _figure(check: BudgetCheck, value: int) -> str:
    if check.dimension == AMOUNT and check.currency is not None:
        return f"{major_text(value, check.currency)} {check.currency}"
    return f"{value} {check.dimension}"


def stale(freshly: Freshly, action: str, now_us: int) -> tuple[Reason, ...]:
    """Return why nothing is permitted on data of this age; empty where it may be."""
    if not freshly.is_stale:
        return ()
    sentences = []
    if freshly.fault is not None:
        sentences.append(f"nothing is permitted here until someone has looked: {freshly.fault}")
    if freshly.is_skewed:
        side = "behind" if freshly.skew_us > 0 else "ahead of"
        sentences.append(
            f"the time here is {_seconds(abs(freshly.skew_us))} {side} the control plane's, at most"
            f" {_seconds(SKEW_MAX_US)} are allowed"
        )
    if freshly.is_too_old:
        known = "nobody can say how old this is"
        if freshly.age_us is not None:
            known = f"this was confirmed {_seconds(freshly.age_us)} ago, as of `{utc_text(now_us - freshly.age_us)}`"
        sentences.append(f"`{action}` may rest on data of at most {_seconds(freshly.limit_us)}, and {known}")
    return tuple([Reason(verdict="deny", code="replica_stale", message=each, advice=_AGAIN) for each in sentences])


_AGAIN: Final = "ask again once this server has heard from its control plane"


def _seconds(us: int) -> str:
    """Return a time in seconds; one that is not whole is not made shorter than it is."""
    whole, rest = divmod(-(-us // 1_000), 1_000)
    return f"{whole}.{rest:03} s" if rest else f"{whole} s"


def in_order(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return denials in the order of ``CODES``, those of one code as they came."""
    return tuple(sorted(reasons, key=lambda reason: CODES.index(reason.code)))

"""What was expected of one decision beside what came out: the differences, and nothing that agrees.

Figures are compared as numbers in major units, everything else as text. Of reasons and budget checks, only the fields
that a test names are looked at.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from sidecar.core.budget import AMOUNT
from sidecar.core.instants import utc_text
from sidecar.core.model import BudgetCheck, Reason
from sidecar.core.money import major_text
from sidecar.service.judgement import Judgement

Fields = dict[str, str | None]
"""What a test says of one reason or check: texts by field, None for nothing there."""

FIGURES: Final = frozenset({"limit", "settled", "reserved", "requested", "remaining"})


class Expected(msgspec.Struct, frozen=True):
    """What must come out: ``reasons`` are all of them in order, None for any; ``includes`` must be among them.

    ``budgets`` are checks by the id of the budget.
    """

    decision: str
    reasons: tuple[Fields, ...] | None = None
    includes: tuple[Fields, ...] = ()
    budgets: dict[str, Fields] = {}


class Difference(msgspec.Struct, frozen=True):
    """One thing that came out otherwise; ``field`` is its place below ``expect``."""

    field: str
    expected: str
    got: str


def differences(expected: Expected, judgement: Judgement) -> tuple[Difference, ...]:
    """Return what of ``expected`` did not come true, in the order of its fields."""
    found: list[Difference] = []
    decision = "allow" if judgement.allowed else "deny"
    if decision != expected.decision:
        found.append(Difference("decision", expected.decision, decision))
    reasons = [_reason_fields(reason) for reason in judgement.reasons]
    if expected.reasons is not None:
        found += _listed(expected.reasons, reasons)
    for at, wanted in enumerate(expected.includes):
        if not any(_agrees(wanted, reason) for reason in reasons):
            found.append(Difference(f"reasons_include[{at}]", _written(wanted), "no such reason"))
    checks = {check.budget_id: _check_fields(check) for check in judgement.findings.checks}
    for budget_id, wanted in expected.budgets.items():
        field = f"budgets.{budget_id}"
        if budget_id in checks:
            found += _compared(field, wanted, checks[budget_id])
        else:
            found.append(Difference(field, "a check", "none, the budget was not asked"))
    return tuple(found)


def told(judgement: Judgement) -> tuple[str, ...]:
    """Return the reasons of a decision as sentences, each with the policy and its file and line."""
    return tuple(_told(reason) for reason in judgement.reasons)


def _told(reason: Reason) -> str:
    policy = f" by `{reason.policy_id}`" if reason.policy_id else ""
    source = f" at {reason.source}" if reason.source else ""
    message = f": {reason.message}" if reason.verdict == "deny" else ""
    return f"{reason.code}{policy}{source}{message}"


def _listed(wanted: tuple[Fields, ...], reasons: list[Fields]) -> list[Difference]:
    found: list[Difference] = []
    for at in range(max(len(wanted), len(reasons))):
        field = f"reasons[{at}]"
        if at >= len(reasons):
            found.append(Difference(field, _written(wanted[at]), "nothing"))
        elif at >= len(wanted):
            shown = {name: reasons[at][name] for name in ("code", "policy", "rule", "budget")}
            found.append(Difference(field, "nothing", _written({k: v for k, v in shown.items() if v is not None})))
        else:
            found += _compared(field, wanted[at], reasons[at])
    return found


def _compared(field: str, wanted: Fields, got: Fields) -> list[Difference]:
    return [
        Difference(f"{field}.{name}", _shown(value), _shown(got[name]))
        for name, value in wanted.items()
        if not _equal(name, value, got[name])
    ]


def _agrees(wanted: Fields, got: Fields) -> bool:
    return all(_equal(name, value, got[name]) for name, value in wanted.items())


def _equal(name: str, wanted: str | None, got: str | None) -> bool:
    if name in FIGURES and wanted is not None and got is not None:
        try:
            return Decimal(wanted) == Decimal(got)
        except InvalidOperation:
            return False
    return wanted == got


def _shown(value: str | None) -> str:
    return "nothing" if value is None else value


def _written(fields: Mapping[str, str | None]) -> str:
    return f"{{{', '.join(f'{name}: {_shown(value)}' for name, value in fields.items())}}}"


def _reason_fields(reason: Reason) -> Fields:
    def figure(value: int | None) -> str | None:
        if value is None:
            return None
        return str(value) if reason.currency is None else major_text(value, reason.currency)

    return {
        "code": reason.code,
        "policy": reason.policy_id,
        "rule": reason.matched_rule,
        "source": reason.source,
        "message": reason.message,
        "advice": reason.advice,
        "identity": reason.identity_id,
        "card": reason.card_id,
        "budget": reason.budget_id,
        "requested": figure(reason.requested),
        "remaining": figure(reason.remaining),
        "currency": reason.currency,
        "retry_at": None if reason.retry_at_us is None else utc_text(reason.retry_at_us),
    }


def _check_fields(check: BudgetCheck) -> Fields:
    def figure(value: int) -> str:
        amount = check.dimension == AMOUNT and check.currency is not None
        return major_text(value, check.currency or "") if amount else str(value)

    return {
        "allowed": str(check.allowed).lower(),
        "limit": figure(check.limit),
        "settled": figure(check.settled),
        "reserved": figure(check.reserved),
        "requested": figure(check.requested),
        "remaining": figure(check.remaining),
        "resets_at": None if check.resets_at_us is None else utc_text(check.resets_at_us),
    }


REASON_FIELDS: Final = frozenset(_reason_fields(Reason(verdict="deny", code="", message="")))
"""What a test can say of a reason."""

CHECK_FIELDS: Final = FIGURES | {"allowed", "resets_at"}
"""What a test can say of a budget's check."""

INSTANT_FIELDS: Final = frozenset({"retry_at", "resets_at"})
"""Fields that hold a time, which may be written with any offset."""

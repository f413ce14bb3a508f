"""From outcomes to AuthZEN's answers: a verdict, and beside it what the asker can act on.

Source: OpenID AuthZEN Authorization API 1.0, sections 6.2 and 7.2. The specification leaves open what a context holds;
``reason_admin`` and ``reason_user`` are those of its examples.
"""

from typing import Final

from sidecar.core.errors import SidecarError
from sidecar.core.model import Decision
from sidecar.doors.authzen.drafts import place_of
from sidecar.doors.authzen.manner import sentence, status
from sidecar.doors.native.render import instant
from sidecar.service.authorize import Answered
from sidecar.service.evaluations import Outcome, is_allowed

LANGUAGE: Final = "en"


def verdict(outcome: Outcome) -> dict[str, object]:
    """Return the bare verdict: of several answers, whoever compares them expects nothing else."""
    return {"decision": is_allowed(outcome)}


def answer(outcome: Outcome) -> dict[str, object]:
    """Return the verdict with its context."""
    context = _decided(outcome.decision) if isinstance(outcome, Answered) else _undecided(outcome)
    return verdict(outcome) | {"context": context}


def _decided(decision: Decision) -> dict[str, object]:
    """Return what there is to know of a decision: its id, the codes, why not, and how long a hold lasts."""
    context: dict[str, object] = {
        "decision_id": decision.decision_id,
        "codes": list(dict.fromkeys(reason.code for reason in decision.reasons)),
    }
    if not decision.allowed:
        context["reason_admin"] = {LANGUAGE: decision.reasons[0].message}
        advice = next((reason.advice for reason in decision.reasons if reason.advice is not None), None)
        if advice is not None:
            context["reason_user"] = {LANGUAGE: advice}
    if decision.expires_at_us is not None:
        context["reservation"] = {"state": "held", "expires_at": instant(decision.expires_at_us)}
    if decision.dry_run:
        context["dry_run"] = True
    return context


def _undecided(error: SidecarError) -> dict[str, object]:
    """Return why there is no decision."""
    error.field = place_of(error.field)
    return {"codes": [error.code], "error": {"status": status(error), "message": sentence(error)}}

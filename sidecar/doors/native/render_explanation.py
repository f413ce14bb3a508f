"""The explanation of a decision as a JSON document."""

from sidecar.core.explanation import Judged, PolicyVerdicts, Seen, Verdict
from sidecar.core.model import ResourceRef
from sidecar.core.nearest import Change, Nearest
from sidecar.doors.native import verdicts
from sidecar.doors.native.render import budget_check, instant, number
from sidecar.service.explain import Explanation


def explanation(value: Explanation) -> verdicts.Explanation:
    """Return what each policy and budget said, and the nearest requests that would be permitted."""
    return {
        "policies": [_policy(verdict) for verdict in value.policies.listed],
        "policy_counts": _counts(value.policies),
        "budgets": [budget_check(check) for check in value.budgets],
        "nearest": None if value.nearest is None else _nearest(value.nearest),
        "nearest_sought": value.nearest_sought,
    }


def _counts(found: PolicyVerdicts) -> verdicts.PolicyCounts:
    """Return how many policies there are, how many could speak of the request, and how many of these are listed."""
    listed = sum(verdict.scope.applied for verdict in found.listed)
    return {"total": found.total, "candidates": found.candidates, "candidates_listed": listed}


def _policy(verdict: Verdict) -> verdicts.PolicyVerdict:
    unit, scope = verdict.unit, verdict.scope
    return {
        "policy_id": unit.policy_id or verdict.id,
        "id": verdict.id,
        "rule": unit.rule,
        "requirement": unit.requirement,
        "source": unit.source,
        "effect": unit.effect,
        "scope_applied": scope.applied,
        "scope": {"principal": scope.principal, "action": scope.action, "resource": scope.resource},
        "applied": verdict.applied,
        "conditions": [_condition(judged) for judged in verdict.conditions],
    }


def _condition(judged: Judged) -> verdicts.Condition:
    document: verdicts.Condition = {
        "kind": judged.kind,
        "clause": judged.clause,
        "text": judged.text,
        "satisfied": judged.satisfied,
        "values": [_seen(seen) for seen in judged.values],
    }
    if judged.message is not None:
        document["message"] = judged.message
    return document


def _seen(seen: Seen) -> verdicts.SeenValue:
    if seen.hidden:
        return {"expression": seen.expression, "value": seen.value, "hidden": True}
    return {"expression": seen.expression, "value": seen.value}


def _nearest(nearest: Nearest) -> verdicts.Nearest:
    """Return what was found; what was not is left out."""
    document: verdicts.Nearest = {}
    if nearest.amount_minor is not None:
        document["amount"] = number(nearest.amount_minor, nearest.currency)
        document["currency"] = nearest.currency
    if nearest.currencies:
        document["currencies"] = nearest.currencies
    if nearest.merchant_categories:
        document["merchant_categories"] = nearest.merchant_categories
    if nearest.actions:
        document["actions"] = nearest.actions
    if nearest.resources:
        document["resources"] = [_resource(resource) for resource in nearest.resources]
    if nearest.at_us is not None:
        document["at"] = instant(nearest.at_us)
    if nearest.together is not None:
        document["together"] = _change(nearest.together)
    return document


def _change(change: Change) -> verdicts.Change:
    document: verdicts.Change = {"amount": number(change.amount_minor, change.currency), "currency": change.currency}
    if change.merchant_category is not None:
        document["merchant_category"] = change.merchant_category
    if change.action is not None:
        document["action"] = change.action
    if change.resource is not None:
        document["resource"] = _resource(change.resource)
    if change.at_us is not None:
        document["at"] = instant(change.at_us)
    return document


def _resource(resource: ResourceRef) -> verdicts.Resource:
    return {"type": resource.type, "id": resource.id}

"""The call about shadow policies: what they would have decided otherwise."""

from sidecar.core.instants import utc_text
from sidecar.core.shadow import DIRECTIONS, Difference, Flips, Side
from sidecar.doors.native import render, shadow_answers
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, cursor_at, list_name, one_of, page_request
from sidecar.service.differences import Comparison, Comparisons


class ShadowCalls:
    """The call, over the service that does it."""

    def __init__(self, comparisons: Comparisons) -> None:
        """Translate for this service."""
        self._comparisons = comparisons

    def calls(self) -> tuple[Call, ...]:
        """Return the documented call."""
        return (
            Call(
                method="GET",
                path="/v1/shadow",
                run=self.listed,
                query=PAGE | {"direction"},
                answer=shadow_answers.Comparison,
                operation="list_shadow_differences",
                tag="policies",
            ),
        )

    async def listed(self, ask: Ask) -> Answer:
        """List decisions that the shadow policies would have made otherwise, the newest last, with a summary."""
        direction = one_of(ask.query, "direction", DIRECTIONS)
        name = list_name("shadow", ask.query)
        found = self._comparisons.listed(ask.caller, ask.tenant_id(), direction, page_request(ask.query, name))
        document: shadow_answers.Comparison = {
            "data": [difference(each) for each in found.page.values],
            "next_cursor": cursor_at(found.page.next_after, name),
            "summary": summary(found),
        }
        return json_answer(document)


def difference(value: Difference) -> shadow_answers.Difference:
    """Return one difference."""
    return {
        "decision_id": value.decision_id,
        "seq": value.seq,
        "direction": value.direction,
        "evaluated_at": utc_text(value.at_us),
        "identity_id": value.identity_id,
        "action": value.action,
        "resource": {"type": value.resource.type, "id": value.resource.id},
        "amount": render.number(value.amount_minor, value.currency),
        "currency": value.currency,
        "live": _side(value.live),
        "shadow": _side(value.shadow),
        "policy_revision": value.policy_revision,
        "shadow_revision": value.shadow_revision,
    }


def summary(value: Comparison) -> shadow_answers.Summary:
    """Return what became of all decisions."""
    tally = value.tally
    return {
        "shadow_revision": value.shadow_revision,
        "evaluated": tally.evaluated,
        "same": tally.same,
        "allow_to_deny": _flips(tally.allow_to_deny),
        "deny_to_allow": _flips(tally.deny_to_allow),
        "errors": tally.errors,
        "dropped": tally.dropped,
    }


def _side(value: Side) -> shadow_answers.Side:
    return {
        "allowed": value.allowed,
        "codes": value.codes,
        "policies": [{"policy_id": each.policy_id, "source": each.source} for each in value.policies],
    }


def _flips(value: Flips) -> shadow_answers.Flips:
    return {
        "count": value.count,
        "amounts": [
            {"currency": currency, "amount": render.number(minor, currency)}
            for currency, minor in value.amounts.items()
        ],
    }

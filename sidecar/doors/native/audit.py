"""Calls about the audit log: its records, and whether the chain holds."""

from starlette.concurrency import run_in_threadpool

from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_action
from sidecar.doors.native import answers, render, verdicts
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, cursor_at, instant, integer, page_request
from sidecar.service.audit import AuditFilter, Auditor

_NONE = -1


class AuditCalls:
    """The calls, over the service that does them."""

    def __init__(self, auditor: Auditor) -> None:
        """Translate for this service."""
        self._auditor = auditor

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        filters = PAGE | {"identity_id", "from", "to", "verdict", "action"}
        return (
            Call(
                method="GET",
                path="/v1/audit",
                run=self.listed,
                query=filters,
                answer=answers.Page[verdicts.AuditRecord],
                operation="list_audit_records",
            ),
            Call(
                method="GET",
                path="/v1/audit/verify",
                run=self.verify,
                query=frozenset({"from_seq", "to_seq"}),
                answer=verdicts.Verified,
                operation="verify_audit_log",
            ),
        )

    async def listed(self, ask: Ask) -> Answer:
        """List records, the newest last."""
        verdict = ask.query.get("verdict")
        if verdict not in {None, "allow", "deny"}:
            raise ValidationFailed("`verdict` is `allow` or `deny`", field="verdict")
        action = ask.query.get("action")
        wanted = AuditFilter(
            identity_id=ask.query.get("identity_id"),
            verdict=verdict,
            action=None if action is None else check_action(action, "action"),
            from_us=instant(ask.query, "from"),
            to_us=instant(ask.query, "to"),
        )
        request = page_request(ask.query, "audit")
        tenant_id, page = self._auditor.listed(ask.caller, ask.tenant_id(), wanted, request)
        data = [render.entry(entry, tenant_id) for entry in page.values]
        return json_answer({"data": data, "next_cursor": cursor_at(page.next_after, "audit")})

    async def verify(self, ask: Ask) -> Answer:
        """Check the chain; in a thread, since a full call reads 200,000 records."""
        from_seq, to_seq = integer(ask.query, "from_seq", default=0), integer(ask.query, "to_seq", default=_NONE)
        last = None if to_seq == _NONE else to_seq
        found = await run_in_threadpool(self._auditor.verify, ask.caller, ask.tenant_id(), from_seq, last)
        return json_answer(render.verified(found))

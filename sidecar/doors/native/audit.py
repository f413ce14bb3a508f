"""Calls about the audit log: its records, and whether the chain holds."""

from typing import Final

from starlette.concurrency import run_in_threadpool

from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_action
from sidecar.core.instants import utc_text
from sidecar.doors.native import answers, render, verdicts
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, cursor_at, instant, integer, list_name, one_of, page_request
from sidecar.service.audit import AuditFilter, Auditor, Entry, Verified
from sidecar.service.followers import LogName

SHIPPED: Final = frozenset({"follower_id", "origin"})
"""Query fields that name a log of a follower."""

_NONE = -1
_OWN_NAMES: Final = {"i", "prev", "ts", "v", "log", "type", "decision", "identity"}


class AuditCalls:
    """The calls, over the service that does them."""

    def __init__(self, auditor: Auditor) -> None:
        """Translate for this service."""
        self._auditor = auditor

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        filters = PAGE | {"identity_id", "from", "to", "verdict", "action"} | SHIPPED
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
                query=frozenset({"from_seq", "to_seq"}) | SHIPPED,
                answer=verdicts.Verified,
                operation="verify_audit_log",
            ),
        )

    async def listed(self, ask: Ask) -> Answer:
        """List records, the newest last."""
        action = ask.query.get("action")
        wanted = AuditFilter(
            identity_id=ask.query.get("identity_id"),
            verdict=one_of(ask.query, "verdict", ("allow", "deny")),
            action=None if action is None else check_action(action, "action"),
            from_us=instant(ask.query, "from"),
            to_us=instant(ask.query, "to"),
        )
        name = list_name("audit", ask.query)
        request = page_request(ask.query, name)
        tenant_id, page = self._auditor.listed(ask.caller, ask.tenant_id(), wanted, request, shipped_log(ask))
        data = [rendered(entry, tenant_id) for entry in page.values]
        return json_answer({"data": data, "next_cursor": cursor_at(page.next_after, name)})

    async def verify(self, ask: Ask) -> Answer:
        """Check the chain; in a thread, since a full call reads 200,000 records."""
        from_seq, to_seq = integer(ask.query, "from_seq", default=0), integer(ask.query, "to_seq", default=_NONE)
        last = None if to_seq == _NONE else to_seq
        found = await run_in_threadpool(
            self._auditor.verify, ask.caller, ask.tenant_id(), from_seq, last, shipped_log(ask)
        )
        return json_answer(verified(found))


def shipped_log(ask: Ask) -> LogName | None:
    """Return which log of a follower is asked for, None for the tenant's own. Raises ValidationFailed."""
    follower_id, origin = ask.query.get("follower_id"), ask.query.get("origin")
    if follower_id is None:
        if origin is not None:
            raise ValidationFailed("`origin` names a log of a follower, expected `follower_id` as well", field="origin")
        return None
    return LogName(follower_id, origin)


def rendered(value: Entry, tenant_id: str) -> render.Document:
    """Return an audit record: the names of the wire in front, everything else as it stands in the stored body."""
    body = value.body
    ts = body["ts"]
    document: render.Document = {
        "seq": value.seq,
        "hash": value.hash,
        "prev_hash": body["prev"],
        "type": body["type"],
        "tenant_id": tenant_id,
        "recorded_at": utc_text(ts) if isinstance(ts, int) else None,
    }
    if "decision" in body:
        document["decision_id"] = body["decision"]
    if "identity" in body:
        document["identity_id"] = body["identity"]
    document |= {name: _shown(name, field, body) for name, field in body.items() if name not in _OWN_NAMES}
    return document


def _shown(name: str, field: object, body: render.Document) -> object:
    currency = body.get("currency")
    if name == "amount" and isinstance(field, int) and isinstance(currency, str):
        return render.number(field, currency)
    if name in {"now", "expires"} and isinstance(field, int):
        return utc_text(field)
    return field


def verified(value: Verified) -> verdicts.Verified:
    """Return what a check of the log found."""
    report = value.report
    document: verdicts.Verified = {"valid": report.valid, "entries_checked": report.entries_checked}
    if report.first_invalid is not None:
        document["first_invalid"] = {"seq": report.first_invalid.seq, "reason": report.first_invalid.reason}
    else:
        document["head"] = {"seq": report.head_seq, "hash": report.head_hash}
        document["facts_missing"] = report.facts_missing
    if value.next_seq is not None:
        document["next_seq"] = value.next_seq
    return document

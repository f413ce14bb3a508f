"""Calls about followers: what they ship, and how they are."""

from typing import Final, cast

from sidecar.core.instants import utc_text
from sidecar.core.limits import SHIPMENT_BODY_BYTES_MAX
from sidecar.doors.native import answers, follower_shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.followers import Followers, Known, KnownLog
from sidecar.service.shipment_store import Alarm
from sidecar.service.shipments import Batch, Receiver, Status, UsageReport

_MILLI: Final = 1_000


class FollowerCalls:
    """The calls, over the services that do them."""

    def __init__(self, receiver: Receiver, followers: Followers) -> None:
        """Translate for these services."""
        self._receiver = receiver
        self._followers = followers

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        return (
            Call(
                method="POST",
                path="/v1/audit/records",
                run=self.receive,
                request=follower_shapes.ShipmentBody,
                body_bytes_max=SHIPMENT_BODY_BYTES_MAX,
                answer=follower_shapes.Received,
                operation="ship_audit_records",
                tag="followers",
            ),
            Call(
                method="GET",
                path="/v1/followers",
                run=self.list_followers,
                query=PAGE,
                answer=answers.Page[follower_shapes.FollowerAnswer],
            ),
            Call(
                method="GET",
                path="/v1/followers/{follower_id}",
                run=self.get_follower,
                answer=follower_shapes.FollowerAnswer,
            ),
        )

    async def receive(self, ask: Ask) -> Answer:
        """Take in audit records of a follower, for which this call is."""
        body = cast("follower_shapes.ShipmentBody", ask.body)
        taken = await self._receiver.receive(ask.caller, ask.tenant_id(), batch(body), ask.now_us)
        document: follower_shapes.Received = {
            "next_seq": taken.next_seq,
            "received": taken.received,
            "follower_id": ask.caller.name,
        }
        return json_answer(document)

    async def list_followers(self, ask: Ask) -> Answer:
        """List the followers that were heard of, in the order of their first call."""
        name = list_name("followers", ask.query)
        page = self._followers.listed(ask.caller, ask.tenant_id(), page_request(ask.query, name))
        return page_answer(page, rendered, name)

    async def get_follower(self, ask: Ask) -> Answer:
        """Show a follower."""
        return json_answer(rendered(self._followers.get(ask.caller, ask.tenant_id(), ask.path["follower_id"])))


def batch(body: follower_shapes.ShipmentBody) -> Batch:
    """Return what was shipped."""
    said = body.status
    return Batch(
        origin=body.origin,
        from_seq=body.from_seq,
        records=tuple(text.encode() for text in body.records),
        facts=tuple(text.encode() for text in body.facts),
        status=Status(
            revision=said.revision,
            age_ms=said.age_ms,
            head=said.head,
            hash=said.hash,
            usages=tuple(UsageReport(*row) for row in said.usages),
        ),
    )


def rendered(value: Known) -> follower_shapes.FollowerAnswer:
    """Return a follower."""
    follower = value.follower
    logs = [_log(each, value.revision) for each in value.logs]
    last = max(zip(value.logs, logs, strict=True), key=lambda pair: pair[0].log.seen_at_us, default=None)
    shown = None if last is None else last[1]
    return {
        "follower_id": follower.token_id,
        "tenant_id": value.tenant_id,
        "name": follower.name,
        "scope": follower.scope,
        "origin": None if shown is None else shown["origin"],
        "records": 0 if shown is None else shown["records"],
        "backlog": None if shown is None else shown["backlog"],
        "revision": None if shown is None else shown["revision"],
        "lag_revisions": None if shown is None else shown["lag_revisions"],
        "age_seconds": None if shown is None else shown["age_seconds"],
        "first_seen_at": utc_text(follower.since_us),
        "last_seen_at": utc_text(follower.since_us) if shown is None else shown["last_seen_at"],
        "alarm": _alarm(follower.alarm) if shown is None or shown["alarm"] is None else shown["alarm"],
        "tenant_revision": value.revision,
        "logs": logs,
    }


def _log(value: KnownLog, revision: int) -> follower_shapes.FollowerLog:
    log = value.log
    said = log.standing
    return {
        "origin": log.origin,
        "records": value.records,
        "backlog": None if said is None else max(0, said.head - value.records),
        "revision": None if said is None else said.revision,
        "lag_revisions": None if said is None else max(0, revision - said.revision),
        "age_seconds": None if said is None or said.age_ms is None else said.age_ms / _MILLI,
        "first_seen_at": utc_text(log.since_us),
        "last_seen_at": utc_text(log.seen_at_us),
        "alarm": _alarm(log.alarm),
    }


def _alarm(value: Alarm | None) -> follower_shapes.RaisedAlarm | None:
    return None if value is None else {"reason": value.reason, "at": utc_text(value.at_us)}

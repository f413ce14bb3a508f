"""Audit records that followers ship: taken in at their place in the follower's log or refused, a batch whole or not.

Invariant: what is stored of a follower's log is a chain without a gap from its first record, of the bytes that the
follower has. What comes twice must be what came before. Whatever cannot be true of an honest log raises an alarm.
"""

from asyncio import to_thread
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec
from msgspec.structs import replace

from sidecar.core.access import Caller
from sidecar.core.audit import Body, Head, encode_hash, genesis, log_id_of
from sidecar.core.errors import Conflict, Forbidden, ValidationFailed
from sidecar.core.history import Ended
from sidecar.core.shipment import Part, read_part
from sidecar.core.verification import Fault
from sidecar.service.access import part_of, tenant_of
from sidecar.service.audit import link_before
from sidecar.service.events import tell_follower
from sidecar.service.shipment_store import Alarm, Follower, ReportedUsage, ShippedLog, Standing
from sidecar.service.store import Store, TenantTransaction, Transaction

ApplyEnding: TypeAlias = Callable[[Transaction, TenantTransaction, str, Ended, int], None]
"""Applies what became of a hold on a follower, whose token is named, to what is reserved here for it."""


class UsageReport(msgspec.Struct, frozen=True, array_like=True):
    """What the present window of a budget has used at the follower that alone decides on it."""

    budget_id: str
    window_us: int | None
    settled: int
    held: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower says of itself beside the records: ``head`` is the size of its log, ``hash`` the last link."""

    revision: int
    age_ms: int | None
    head: int
    hash: str | None = None
    usages: tuple[UsageReport, ...] = ()


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one log from ``from_seq`` on, with facts that they refer to; without any it asks where to begin."""

    origin: str
    from_seq: int
    records: tuple[bytes, ...]
    facts: tuple[bytes, ...]
    status: Status


class Receipt(msgspec.Struct, frozen=True):
    """The first record that is not here yet, and how many were new."""

    next_seq: int
    received: int


class ShipmentObserver(Protocol):
    """Who counts what is shipped."""

    def shipped(self, records: int) -> None:
        """These new records are on disk."""

    def alarmed(self) -> None:
        """An alarm was raised."""


class Receiver:
    """Takes in what followers ship."""

    def __init__(self, store: Store, observer: ShipmentObserver, apply_ending: ApplyEnding) -> None:
        """Work on ``store``."""
        self._store = store
        self._observer = observer
        self._apply_ending = apply_ending

    async def receive(self, caller: Caller, tenant_id: str | None, batch: Batch, now_us: int) -> Receipt:
        """Take in a batch.

        Raises Forbidden for whoever is no follower, ValidationFailed for a name that no log has and for facts that no
        record names, and Conflict, with an alarm, for records that the log cannot have at this place.
        """
        token = caller.token
        if token is None or token.kind != "follower":
            raise Forbidden(f"a token of kind `{caller.kind}` ships no records, expected a follower's")
        if log_id_of(batch.origin) is None:
            raise ValidationFailed("not the name of a log, expected such as `sidecar.local/…`", field="origin")
        part = await self._read(caller, tenant_id, batch)
        done = await self._store.write(lambda txn: self._take(txn, caller, tenant_id, batch, part, now_us))
        if isinstance(done, _Refused):
            if done.is_new:
                self._observer.alarmed()
            raise Conflict(done.reason)
        self._observer.shipped(done.received)
        return done

    async def _read(self, caller: Caller, tenant_id: str | None, batch: Batch) -> Part | Fault | None:
        """Return what the records are, looked at in a thread; None without any."""
        if not batch.records:
            return None
        self._store.require_room()  # the follower keeps them until there is
        with self._store.read() as txn:
            name = tenant_of(txn, caller, tenant_id).tenant_id
        return await to_thread(read_part, batch.origin, name, batch.from_seq, batch.records, batch.facts)

    def _take(
        self,
        txn: Transaction,
        caller: Caller,
        tenant_id: str | None,
        batch: Batch,
        part: Part | Fault | None,
        now_us: int,
    ) -> "Receipt | _Refused":
        tenant = part_of(txn, caller, tenant_id, now_us)
        follower = _seen(tenant, caller, now_us)
        log = tenant.shipments.log(follower.token_id, batch.origin)
        head = _head(tenant, log, batch.origin)
        reason = None if log is not None else _other_log(tenant, follower.token_id)
        if reason is None:
            reason = part.reason if isinstance(part, Fault) else _contradiction(tenant, log, head, batch, part)
        if reason is not None:
            return _raise_alarm(tenant, follower, log, batch.origin, reason, now_us)
        if not isinstance(part, Part):
            _keep_standing(tenant, log, batch, now_us)
            return Receipt(head.next_index, 0)
        if log is None:
            log = tenant.shipments.open_log(follower.token_id, batch.origin, now_us)
        new = part.bodies[head.next_index - part.from_seq :]
        if new:
            after = Head(part.to_seq, part.link, part.last_us)
            tenant.shipments.append(log, new, after)
            for fact in part.facts:
                tenant.shipments.keep_fact(log, fact.content, fact.seq)
            for ended in part.endings:
                if ended.seq >= head.next_index:
                    self._apply_ending(txn, tenant, follower.token_id, ended, now_us)
            log = replace(log, alarm=None)  # its records follow each other after all
            if follower.alarm is not None and follower.alarm.origin == batch.origin:
                tenant.shipments.keep_follower(replace(follower, alarm=None))
        _keep_standing(tenant, log, batch, now_us)
        return Receipt(max(head.next_index, part.to_seq), len(new))


class _Refused(msgspec.Struct, frozen=True):
    """Why a batch was not taken; ``is_new`` where that was not known before."""

    reason: str
    is_new: bool


def _seen(tenant: TenantTransaction, caller: Caller, now_us: int) -> Follower:
    """Return what is known of the follower that calls, which is stored where it is new or was another."""
    token = caller.token
    assert token is not None  # noqa: S101 -- INVARIANT: only followers come here, and they have tokens
    known = tenant.shipments.follower(token.token_id)
    found = Follower(
        token_id=token.token_id,
        name=token.name,
        scope=token.identity_id,
        since_us=now_us if known is None else known.since_us,
        alarm=None if known is None else known.alarm,
    )
    if found != known:
        tenant.shipments.keep_follower(found)
    return found


def _head(tenant: TenantTransaction, log: ShippedLog | None, origin: str) -> Head:
    return Head(0, genesis(origin), 0) if log is None else tenant.shipments.reader(log).head()


def _other_log(tenant: TenantTransaction, token_id: str) -> str | None:
    """Return why a log that nothing is known of must not be one more of a follower, None where it may.

    INVARIANT: what decides on a budget is one log (I8). A second one has not counted what the first one has spent,
    whether two servers have one token or one server has lost its data.
    """
    if not tenant.shipments.is_bound(token_id):
        return None
    present = next(iter(tenant.shipments.logs(token_id, 1)), None)
    if present is None:
        return None
    known = f"budgets are assigned to this token, and log `{present.origin}` was taken with it"
    return f"{known}: a second log would spend them again, expected a token of its own"


def _contradiction(
    tenant: TenantTransaction, log: ShippedLog | None, head: Head, batch: Batch, part: Part | None
) -> str | None:
    """Return what cannot be true of the log of which ``head`` is stored, None where all of it can.

    INVARIANT: nothing here is said of a call that was late or came twice. What such a call says was true once, so all
    of it agrees with a longer log.
    """
    status, start = batch.status, batch.from_seq
    if start > status.head:
        return f"the log has {status.head} records, of which {start} were taken already: it was set back"
    if part is None:
        return _other_end(tenant, log, head, status)
    if start > head.next_index:
        return f"record {head.next_index} is missing, record {start} comes next"
    if start == head.next_index:
        if part.previous != head.link:
            return f"record {start} does not follow record {start - 1} as it was taken: the log was forked or changed"
        if part.first_us < head.last_us:
            return f"record {start} is of a time before that of record {start - 1}"
        return None
    stored = () if log is None else tenant.shipments.reader(log).read(start, len(part.bodies))
    for (seq, body), again in zip(stored, part.bodies, strict=False):
        if body != again:
            return f"record {seq} is another than the one that was taken: the log was forked or changed"
    return None


def _other_end(tenant: TenantTransaction, log: ShippedLog | None, head: Head, status: Status) -> str | None:
    """Return what is wrong with the last record that a follower names, as far as that one was taken."""
    if log is None or status.hash is None or not 0 < status.head <= head.next_index:
        return None
    link = link_before(tenant.shipments.reader(log), status.head)
    if link is None or encode_hash(link) == status.hash:
        return None
    return f"record {status.head - 1} is another than the one that was taken: the log was forked or changed"


def _raise_alarm(
    tenant: TenantTransaction, follower: Follower, log: ShippedLog | None, origin: str, reason: str, now_us: int
) -> _Refused:
    """Note why a log is refused; what is in force already is not told again."""
    known = follower.alarm if log is None else log.alarm
    if known is not None:
        return _Refused(reason, is_new=False)
    alarm = Alarm(reason, now_us, origin)
    if log is None:
        tenant.shipments.keep_follower(replace(follower, alarm=alarm))
    else:
        tenant.shipments.keep_log(replace(log, alarm=alarm))
    body: Body = {"follower": follower.token_id, "origin": origin, "reason": reason}
    tenant.audit.append("follower_alarm", now_us, body)
    tell_follower(tenant, follower, origin, reason, now_us)
    return _Refused(reason, is_new=True)


def _keep_standing(tenant: TenantTransaction, log: ShippedLog | None, batch: Batch, now_us: int) -> None:
    """Note what a follower says of itself, unless it is older than what it said before."""
    if log is None:
        return
    status, known = batch.status, log.standing
    if known is not None and status.head < known.head:
        tenant.shipments.keep_log(log)
        return
    standing = Standing(revision=status.revision, age_ms=status.age_ms, head=status.head)
    tenant.shipments.keep_log(replace(log, seen_at_us=max(log.seen_at_us, now_us), standing=standing))
    for each in status.usages:
        budget = tenant.budgets.get(each.budget_id)
        if budget is not None and budget.follower_id == log.token_id:
            usage = ReportedUsage(
                token_id=log.token_id,
                window_us=each.window_us,
                settled=each.settled,
                held=each.held,
                reported_at_us=now_us,
            )
            tenant.shipments.keep_usage(each.budget_id, usage)

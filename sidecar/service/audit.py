"""Reading the audit log: pages of records, and the check of the chain that needs nothing but the stored bytes."""

from bisect import bisect_left
from collections.abc import Iterator
from functools import cache, partial

import msgspec
import orjson

from sidecar.core.access import Caller
from sidecar.core.audit import Body, Head, encode_hash, link_of
from sidecar.core.directory import walk
from sidecar.core.errors import ValidationFailed
from sidecar.core.limits import VERIFY_ENTRIES_MAX
from sidecar.core.log_entries import digest_of
from sidecar.core.verification import Anchor, FactRef, Report, verify
from sidecar.service.access import tenant_of
from sidecar.service.followers import LogName, named_log
from sidecar.service.log_store import LogReader
from sidecar.service.paging import SCANNED_MAX, Page, PageRequest, page_of
from sidecar.service.store import Listed, Store, TenantTransaction


class Entry(msgspec.Struct, frozen=True):
    """One record with its own link."""

    seq: int
    hash: str
    body: Body


class AuditFilter(msgspec.Struct, frozen=True):
    """Which records a list shows; ``from_us`` is included, ``to_us`` is not."""

    identity_id: str | None = None
    verdict: str | None = None
    action: str | None = None
    from_us: int | None = None
    to_us: int | None = None

    def fits(self, entry: Entry) -> bool:
        """Whether ``entry`` is asked for, apart from its time."""
        body = entry.body
        return (
            self.identity_id in {None, body.get("identity")}
            and self.verdict in {None, body.get("verdict")}
            and self.action in {None, body.get("action")}
        )


class Verified(msgspec.Struct, frozen=True):
    """What a check of a part of the log found; ``next_seq`` is where the next call goes on, None at the end."""

    report: Report
    next_seq: int | None


class Auditor:
    """Reads the audit logs of every tenant."""

    def __init__(self, store: Store) -> None:
        """Work on ``store``."""
        self._store = store

    def listed(
        self,
        caller: Caller,
        tenant_id: str | None,
        wanted: AuditFilter,
        request: PageRequest,
        shipped: LogName | None = None,
    ) -> tuple[str, Page[Entry]]:
        """Return the tenant's id and a page of its records, or of those that a follower has ``shipped``, newest last.

        A token of one identity sees the records about identities within its reach. Raises NotFound for others, and for
        an unknown log.
        """
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            if wanted.identity_id is not None:
                caller.require_reach(walk(wanted.identity_id, part.identities.get))
            log = named_log(part, shipped)
            reaches = cache(partial(_reaches, part, caller))
            start = request.after
            if wanted.from_us is not None:
                start = max(start, _first_at(log, wanted.from_us))
            found = _entries(log, start, wanted.to_us)
            return part.tenant.tenant_id, page_of(
                found,
                PageRequest(start, request.limit),
                lambda entry: wanted.fits(entry) and reaches(_about(entry)),
            )

    def verify(
        self,
        caller: Caller,
        tenant_id: str | None,
        from_seq: int,
        to_seq: int | None,
        shipped: LogName | None = None,
    ) -> Verified:
        """Check the stored records ``from_seq`` to ``to_seq`` (included), at most ``VERIFY_ENTRIES_MAX`` of them.

        Raises ValidationFailed for a range outside the log, Forbidden for a token of one identity, NotFound for an
        unknown log of a follower.
        """
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return verify_part(named_log(part, shipped), part.tenant.tenant_id, from_seq, to_seq)


def verify_part(log: LogReader, tenant_id: str, from_seq: int, to_seq: int | None) -> Verified:
    """Check a part of one log against the head, or against the record that follows the part."""
    head = log.head()
    last = head.next_index - 1
    if not 0 <= from_seq <= max(last, 0):
        raise ValidationFailed(f"the log has the records 0 to {last}", field="from_seq")
    if to_seq is not None and not from_seq <= to_seq <= last:
        raise ValidationFailed(f"the log has the records 0 to {last}", field="to_seq")
    end = min(last if to_seq is None else to_seq, from_seq + VERIFY_ENTRIES_MAX - 1)
    rows = log.read(from_seq, end - from_seq + 1 if end < last else VERIFY_ENTRIES_MAX + 1)
    report = verify(
        log.origin,
        tenant_id,
        rows,
        Anchor(head.next_index, head.link) if end >= last else _anchor_after(log, end, head),
        lambda ref, index: _fact(log, ref, index),
        start=from_seq,
        previous=link_before(log, from_seq),
    )
    asked_on = (end < last and to_seq is None) or (to_seq is not None and end < to_seq)
    return Verified(report, end + 1 if report.valid and asked_on else None)


def _fact(log: LogReader, ref: FactRef, index: int) -> bytes | None:
    return log.fact(ref.digest, index)


def _anchor_after(log: LogReader, end: int, head: Head) -> Anchor:
    """Return what the record after ``end`` says of a part that ends there.

    Where it is missing, the head will not fit.
    """
    row = next(log.read(end + 1, 1), None)
    fields = {} if row is None or row[0] != end + 1 else orjson.loads(row[1])
    link = digest_of(fields.get("prev"))
    return Anchor(head.next_index, head.link) if link is None else Anchor(end + 1, link)


def link_before(log: LogReader, seq: int) -> bytes | None:
    """Return the link of the record before ``seq``, None before the first."""
    body = next(log.read(seq - 1, 1), None) if seq else None
    return None if body is None else link_of(body[1])


def _entries(log: LogReader, after: int, to_us: int | None) -> Iterator[Listed[Entry]]:
    """Yield records as list items; the place of a record is one above its seq, so that 0 stands before the first."""
    if after >= log.head().next_index:
        return
    for seq, body in log.read(after, SCANNED_MAX + 1):
        fields: Body = orjson.loads(body)
        ts = fields["ts"]
        if to_us is not None and isinstance(ts, int) and ts >= to_us:
            return
        yield Listed(seq + 1, Entry(seq, encode_hash(link_of(body)), fields))


def _first_at(log: LogReader, from_us: int) -> int:
    """Return the seq of the first record at or after ``from_us``: times never go back, so it is searched for."""

    def time_of(seq: int) -> int:
        row = next(log.read(seq, 1), None)
        return 0 if row is None else int(orjson.loads(row[1])["ts"])

    return bisect_left(range(log.head().next_index), from_us, key=time_of)


def _about(entry: Entry) -> str | None:
    identity_id = entry.body.get("identity")
    return identity_id if isinstance(identity_id, str) else None


def _reaches(part: TenantTransaction, caller: Caller, identity_id: str | None) -> bool:
    if caller.may_administer:
        return True
    if identity_id is None or part.identities.get(identity_id) is None:
        return False
    return caller.reaches(walk(identity_id, part.identities.get))

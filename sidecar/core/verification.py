"""The reader's half of the audit log: tells from bytes alone whether a log is whole, and names its first bad record.

It shares no code with the writer (``sidecar.core.audit``) nor with the store, so that a mistake there cannot hide here:
how single entries are spelled and hashed is ``sidecar.core.log_entries``, which the writer does not use either.

Invariants: a body is hashed as it lies, never as it is made again; a reason is one lower-case sentence per cause; what
is named is the first bad record, as far as one change can be told from its neighbours.

No log can say of itself that its end was cut and its head set back, or that a record was changed and all after it
sealed again: only an ``Anchor`` held elsewhere tells. Signatures of checkpoints are checked by whoever brings the
anchors; reading rows and facts is the caller's.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Final, Literal, TypeAlias

import msgspec

from sidecar.core.errors import InvalidJson, ValidationFailed
from sidecar.core.log_entries import Fields, digest_of, genesis, link, read_canonical, text_of

FORMAT: Final = 1
"""The only version of a body that is known here: another is refused, never guessed."""

CHECKED_FACTS_MAX: Final = 4096
"""Addresses of facts remembered as checked; bounds the memory of verifying a log of any length."""

FactKind: TypeAlias = Literal["request", "policies", "chain", "budgets", "others", "cards", "changes"]

FACTS: Final[Mapping[str, tuple[FactKind, ...]]] = {
    "decision": ("request", "policies", "chain", "budgets"),
    "forced": ("policies", "chain", "cards", "budgets"),
}
"""Fields with facts that each record of a kind has."""

LISTS: Final = frozenset({"chain", "budgets", "others", "cards"})
"""Fields whose items begin with id, revision, fact."""


class Fault(msgspec.Struct, frozen=True):
    """The first bad record of a log, and in one sentence what is wrong with it."""

    seq: int
    reason: str


class Anchor(msgspec.Struct, frozen=True):
    """What the head or a checkpoint says of a log: its size, and the link of the last record (at size 0, genesis)."""

    size: int
    link: bytes


class FactRef(msgspec.Struct, frozen=True):
    """The address of a fact, the SHA-256 of its bytes; ``kind`` is the field of the record that it stands in."""

    kind: FactKind
    digest: bytes


FactLookup: TypeAlias = Callable[[FactRef, int], bytes | None]
"""Returns the bytes of a fact that the record of the given seq refers to, None for one that was erased."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found.

    ``entries_checked`` counts the records before ``first_invalid``, or all. ``head_seq`` and ``head_hash`` tell the
    last record of a valid log (None without one). ``facts_missing`` counts references to erased facts, which leave it
    valid. ``start_trusted``: the first record's ``prev`` was believed, for want of a link to compare it with.
    """

    valid: bool
    entries_checked: int
    first_invalid: Fault | None
    head_seq: int | None
    head_hash: str | None
    facts_missing: int
    start_trusted: bool


def verify(
    origin: str,
    tenant_id: str,
    rows: Iterable[tuple[int, bytes]],
    head: Anchor | Callable[[], Anchor] | None,
    facts: FactLookup | None = None,
    anchors: Iterable[Anchor] = (),
    *,
    start: int = 0,
    previous: bytes | None = None,
) -> Report:
    """Return what is found in ``rows`` (key and body, in the order of the store) up to the first fault.

    ``head`` is what the store claims of the end, asked for after the last row where it is a function; None for a bare
    stream, whose last record then stands unproven. The
    head of a part of a log is ``Anchor(last + 1, link)`` with the ``prev`` of the record that comes after; anchors
    beyond it must be left out. ``start`` and ``previous`` are as in ``Verifier``. Without ``facts`` none is checked.
    """
    verifier = Verifier(origin, tenant_id, anchors, start=start, previous=previous)
    checker = FactChecker(facts)
    for index_key, body in rows:
        fault = verifier.feed(index_key, body)
        if fault is None:
            fault = checker.check(index_key, verifier.fields)
        if fault is not None:
            break
    else:
        claimed = head() if callable(head) else head
        fault = verifier.end() if claimed is None else verifier.finish(claimed.size, claimed.link)
    checked = max(0, (verifier.next_index if fault is None else fault.seq) - start)
    has_head = fault is None and checked > 0
    return Report(
        valid=fault is None,
        entries_checked=checked,
        first_invalid=fault,
        head_seq=verifier.next_index - 1 if has_head else None,
        head_hash=verifier.link_text if has_head else None,
        facts_missing=checker.missing,
        start_trusted=verifier.start_trusted,
    )


class Verifier:
    """Reads one log record by record, in constant memory. After the first fault it is done and must be dropped.

    ``next_index`` is the seq that must come next, ``link_text`` the link that it must carry (None while unknown), and
    ``fields`` the newest record, empty while that one is in doubt.

    A ``prev`` that does not fit leaves open which record was changed, its own or the one before. What comes next tells:
    where it follows this record, the one before is at fault. So this fault is returned one record later.
    """

    def __init__(
        self,
        origin: str,
        tenant_id: str,
        anchors: Iterable[Anchor] = (),
        *,
        start: int = 0,
        previous: bytes | None = None,
    ) -> None:
        """Expect the log ``origin`` from record ``start`` on, which is at most its size.

        ``previous`` is the link of the record before ``start``; None takes the first record's word for it, except at 0,
        where the genesis is known. Anchors smaller than ``start`` lie outside of what is read and are left alone.
        """
        known = previous if start else genesis(origin)
        self.link_text = None if known is None else text_of(known)
        self.next_index = start
        self.fields: Fields = {}
        self.start_trusted = False
        self._origin = origin
        self._tenant_id = tenant_id
        self._start = start
        self._last_us = 0
        self._in_doubt = False
        self._anchored = 0
        self._anchors: dict[int, set[str]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.size, set()).add(text_of(anchor.link))

    def feed(self, index_key: int, body: bytes) -> Fault | None:
        """Take the next row and return the first fault that it brings to light, which may lie in the row before."""
        read = self._read(index_key, body)
        if self._in_doubt:
            return self._blame(None if isinstance(read, Fault) else read.get("prev"))
        return read if isinstance(read, Fault) else self._follow(read, text_of(link(body)))

    def finish(self, next_index: int, link: bytes) -> Fault | None:
        """Compare what was read with the head that the store keeps, then with the anchors; an empty log is a fault."""
        seq, link_text = self.next_index, text_of(link)
        if seq > next_index:
            return Fault(next_index, f"record {next_index} was added beyond the head, which is at size {next_index}")
        if self._in_doubt:
            return self._blame(link_text if seq == next_index else None)
        if seq < next_index or seq == 0:
            return Fault(seq, f"record {seq} is missing, the head is at size {next_index}")
        if self.link_text not in {None, link_text}:
            return Fault(seq - 1, f"record {seq - 1} is not the one that the head names: it or the head was changed")
        return self.end()

    def end(self) -> Fault | None:
        """Return what is wrong at the end of a stream whose head is not known: an open doubt, or too few records."""
        if self._in_doubt:
            return self._blame(None)
        size = max(self._anchors, default=0)
        if size > self.next_index:
            return Fault(self.next_index, f"record {self.next_index} is missing, a checkpoint of size {size} was given")
        return None

    def _read(self, index_key: int, body: bytes) -> Fields | Fault:
        """Return the fields of a row that is sound in itself."""
        seq = self.next_index
        if index_key > seq:
            return Fault(seq, f"record {seq} is missing, row {index_key} comes next")
        if index_key < seq:
            return Fault(seq, f"row {index_key} was inserted or repeated where row {seq} belongs")
        try:
            fields = read_canonical(body)
        except InvalidJson as error:
            return Fault(seq, error.message)
        reason = self._contradiction(seq, fields)
        return fields if reason is None else Fault(seq, reason)

    def _contradiction(self, seq: int, fields: Fields) -> str | None:
        """Return what the record says of itself that its place belies."""
        version, index, kind = fields.get("v"), fields.get("i"), fields.get("type")
        if type(version) is not int or version != FORMAT:  # by type: to Python, True is 1
            return f"the body's version `v` is not {FORMAT}"
        if fields.get("log") != self._origin:
            return f"the record belongs to another log than `{self._origin}`"
        if type(index) is not int:
            return "the record has no index `i`"
        if index != seq:
            cause = "rows were swapped or removed" if index > seq else "a row was inserted, repeated or swapped"
            return f"record {index} stands in the place of record {seq}: {cause}"
        if not isinstance(kind, str) or not kind:
            return "the record has no `type`"
        if seq == 0 and (kind != "open" or fields.get("tenant_id") != self._tenant_id):
            return f"record 0 does not `open` the log of tenant `{self._tenant_id}`"
        return None

    def _follow(self, fields: Fields, link_text: str) -> Fault | None:
        """Put a record that is sound in itself behind the one before."""
        seq, prev, now_us = self.next_index, fields.get("prev"), fields.get("ts")
        if seq == self._start and (fault := self._begin(prev)) is not None:
            return fault
        self.next_index = seq + 1
        self._in_doubt = prev != self.link_text
        self.link_text = link_text
        self.fields = {} if self._in_doubt else fields
        # INVARIANT: times are compared once ``prev`` fits, or a time changed in the one before would be blamed on this.
        if self._in_doubt:
            return None
        if type(now_us) is not int or now_us < self._last_us:
            return Fault(seq, f"the time `ts` is missing or before {self._last_us}, that of the record before")
        self._last_us = now_us
        return self._compare(seq)

    def _begin(self, prev: object) -> Fault | None:
        """Check what the first record follows, or believe it where nothing is known."""
        seq = self._start
        if self.link_text is None and isinstance(prev, str) and digest_of(prev) is not None:
            self.link_text = prev
            self.start_trusted = True
        if prev != self.link_text or prev is None:
            what = f"record {seq - 1}" if seq else "the genesis of its log"
            return Fault(seq, f"record {seq} does not follow {what}")
        return self._compare(seq)

    def _blame(self, next_prev: object) -> Fault:
        """Settle a doubt by what follows the record in doubt; where nothing tells, name the earlier of the two."""
        seq = self.next_index - 1
        if next_prev is None or next_prev == self.link_text:
            return Fault(seq - 1, f"record {seq - 1} was changed: record {seq} does not follow it")
        return Fault(seq, f"record {seq} was changed: it fits neither the record before it nor what follows it")

    def _compare(self, seq: int) -> Fault | None:
        """Compare the log up to here with the anchors of just this size; a difference is put on record ``seq``."""
        size = self.next_index
        links = self._anchors.get(size)
        if links == {self.link_text}:
            self._anchored = size
        elif links is not None:
            where = f"at or after record {self._anchored} and before record {size}"
            return Fault(seq, f"the checkpoint of size {size} does not fit: a change lies {where}")
        return None


class FactChecker:
    """Compares the facts that records refer to with their addresses; ``missing`` counts references to erased ones."""

    def __init__(self, look_up: FactLookup | None) -> None:
        """Read facts through ``look_up``; None leaves them alone."""
        self.missing = 0
        self._look_up = look_up
        self._checked: set[bytes] = set()

    def check(self, seq: int, fields: Fields) -> Fault | None:
        """Return the first fact of record ``seq`` that is not what its address says; a shared one is read once."""
        if self._look_up is None:
            return None
        try:
            refs = referenced_facts(fields)
        except ValidationFailed as error:
            return Fault(seq, error.message)
        for ref in refs:
            if ref.digest in self._checked:
                continue
            content = self._look_up(ref, seq)
            reason = check_fact(ref, content)
            if reason is not None:
                return Fault(seq, reason)
            if content is None:
                self.missing += 1
            elif ref.kind != "request":  # requests hardly repeat: they would only push the others out
                if len(self._checked) == CHECKED_FACTS_MAX:
                    self._checked.clear()
                self._checked.add(ref.digest)
        return None


def referenced_facts(fields: Fields) -> tuple[FactRef, ...]:
    """Return the facts behind a record, in a fixed order: of those of ``FACTS``, and of what was followed.

    Raises ValidationFailed, naming the field, where an address is missing or malformed.
    """
    if fields.get("type") == "followed":
        changes = digest_of(fields.get("changes"))
        if changes is None:
            raise ValidationFailed("`changes` of what was followed holds no address of a fact", field="changes")
        return (FactRef("changes", changes),)
    always = FACTS.get(str(fields.get("type")))
    if always is None:
        return ()
    refs: list[FactRef] = []
    optional: tuple[FactKind, ...] = ("others", "cards")
    for kind in (*always, *(kind for kind in optional if kind in fields and kind not in always)):
        value = fields.get(kind)
        rows = value if isinstance(value, list) else [None]
        thirds = [row[2] if isinstance(row, list) and len(row) > 2 else None for row in rows]  # noqa: PLR2004 -- as `LISTS` says
        for text in thirds if kind in LISTS else [value]:
            digest = digest_of(text)
            if digest is None:
                noun = "decision" if fields.get("type") == "decision" else "record"
                raise ValidationFailed(f"`{kind}` of the {noun} holds no address of a fact", field=kind)
            refs.append(FactRef(kind, digest))
    return tuple(refs)


def check_fact(ref: FactRef, content: bytes | None) -> str | None:
    """Return what is wrong with a fact's bytes; None for the right ones, and for erased ones (``content`` is None)."""
    if content is None or sha256(content).digest() == ref.digest:
        return None
    return f"the fact `{text_of(ref.digest)}` of `{ref.kind}` was changed: its content has another hash"

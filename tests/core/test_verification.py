"""Verification: whatever is done to the bytes of a log is found, and the first bad record is named.

Logs are built with the writer, so these tests also say that the two halves, which share no code, mean the same format.
"""

import hashlib
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import audit
from sidecar.core.errors import InvalidJson, ValidationFailed
from sidecar.core.log_entries import ENTRY_BYTES_MAX, genesis, link, read_canonical, text_of
from sidecar.core.verification import (
    CHECKED_FACTS_MAX,
    Anchor,
    FactChecker,
    FactRef,
    Fault,
    Report,
    Verifier,
    check_fact,
    referenced_facts,
    verify,
)

TENANT = "tnt_1"
ORIGIN = audit.origin("log-1")
ELSEWHERE = audit.origin("log-2")
SIZE = 8

Row = tuple[int, bytes]

POSITIONS = st.integers(0, SIZE - 1)
FACTS = {name: f"bytes of the {name}".encode() for name in ("request", "policies", "identity", "budget")}
ADDRESSES = {name: hashlib.sha256(content).digest() for name, content in FACTS.items()}
CONTENTS = {ADDRESSES[name]: content for name, content in FACTS.items()}


def decision(number: int) -> audit.Body:
    """The fields of a decision, as far as verification looks at them."""
    text = {name: audit.encode_hash(address) for name, address in ADDRESSES.items()}
    return {
        "decision": f"dec_{number}",
        "resource": {"type": "merchant", "id": 'Ünï "code"\n'},
        "request": text["request"],
        "policies": text["policies"],
        "chain": [["idn_1", 3, text["identity"]]],
        "budgets": [["bdg_1", 1, text["budget"], None, 100, 20, 5]],
    }


def rechain(bodies: list[audit.Body], origin: str = ORIGIN, start: audit.Head | None = None) -> list[bytes]:
    """Seal bodies one after the other with the writer; `type` and `ts` are taken out of each body."""
    head = start or audit.Head(0, audit.genesis(origin), 0)
    sealed: list[bytes] = []
    for fields in bodies:
        plain = {key: value for key, value in fields.items() if key not in {"type", "ts"}}
        record = audit.seal(head, origin, str(fields["type"]), int(str(fields["ts"])), plain)
        sealed.append(record.body)
        head = record.head
    return sealed


def contents(size: int = SIZE, tenant_id: str = TENANT) -> list[audit.Body]:
    """What the records of a log of `size` say: the opening, then decisions."""
    opening: audit.Body = {"type": "open", "ts": 1000, "tenant_id": tenant_id}
    return [opening, *({"type": "decision", "ts": 1000 + n} | decision(n) for n in range(1, size))]


def numbered(bodies: list[bytes]) -> list[Row]:
    """Bodies under the keys that the store would give them."""
    return list(enumerate(bodies))


LOG = rechain(contents())
HEAD = Anchor(SIZE, link(LOG[-1]))


def check(bodies: list[bytes], head: Anchor | None = HEAD, anchors: tuple[Anchor, ...] = ()) -> Report:
    """Verify a log without its facts."""
    return verify(ORIGIN, TENANT, numbered(bodies), head, anchors=anchors)


def fault_in(report: Report) -> Fault:
    """The fault of a report that must have one, and must count just the records before it."""
    assert report.first_invalid is not None
    assert not report.valid
    assert report.entries_checked == report.first_invalid.seq
    assert (report.head_seq, report.head_hash) == (None, None)
    return report.first_invalid


def edited(body: bytes, **changes: object) -> bytes:
    """The same record with other fields, in canonical form; None takes a field away."""
    fields = orjson.loads(body) | changes
    kept = {key: value for key, value in fields.items() if value is not None}
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def replaced(seq: int, body: bytes) -> list[bytes]:
    """The log with another body for one record, nothing sealed again."""
    return [*LOG[:seq], body, *LOG[seq + 1 :]]


# A whole log


def test_a_whole_log_is_valid() -> None:
    """Every record is counted, and the report tells the newest."""
    assert check(LOG) == Report(
        valid=True,
        entries_checked=SIZE,
        first_invalid=None,
        head_seq=SIZE - 1,
        head_hash=audit.encode_hash(HEAD.link),
        facts_missing=0,
        start_trusted=False,
    )


@given(st.integers(1, SIZE))
def test_every_true_anchor_fits(size: int) -> None:
    """A checkpoint of any size, and of size 0, is contained in the log that it was taken from."""
    anchors = (Anchor(0, genesis(ORIGIN)), Anchor(size, link(LOG[size - 1])))
    assert check(LOG, anchors=anchors).valid
    assert check(LOG[:size], None, anchors=anchors).valid


def test_nothing_is_valid_as_a_stream_and_a_fault_as_a_log() -> None:
    """No rows and no head is nothing to complain of; a log has at least its `open` record."""
    assert check([], None).valid
    assert check([], None).head_seq is None
    assert fault_in(check([], Anchor(0, genesis(ORIGIN)))) == Fault(0, "record 0 is missing, the head is at size 0")


@given(st.integers(1, SIZE - 1), st.integers(1, SIZE))
def test_a_part_of_a_log_can_be_verified(start: int, end: int) -> None:
    """With the link before it, or else trusting the `prev` of its first record, which is then said."""
    end = max(start + 1, end)
    rows, head = numbered(LOG)[start:end], Anchor(end, link(LOG[end - 1]))
    known = verify(ORIGIN, TENANT, rows, head, start=start, previous=link(LOG[start - 1]))
    assert (known.valid, known.entries_checked, known.start_trusted) == (True, end - start, False)
    trusted = verify(ORIGIN, TENANT, rows, head, start=start)
    assert (trusted.valid, trusted.entries_checked, trusted.start_trusted) == (True, end - start, True)


def test_a_part_must_follow_the_link_given_for_it() -> None:
    """Where the link before the part is known, by itself or by an anchor, the first record must carry it."""
    rows, head = numbered(LOG)[3:], HEAD
    report = verify(ORIGIN, TENANT, rows, head, start=3, previous=link(LOG[1]))
    assert report.first_invalid == Fault(3, "record 3 does not follow record 2")
    anchors = [Anchor(3, link(LOG[1]))]
    report = verify(ORIGIN, TENANT, rows, head, anchors=anchors, start=3)
    wanted = Fault(3, "the checkpoint of size 3 does not fit: a change lies at or after record 0 and before record 3")
    assert report.first_invalid == wanted


@pytest.mark.parametrize("prev", ["no link", None])
def test_only_a_link_can_be_trusted(prev: str | None) -> None:
    """A part whose first record carries no link at all does not begin anywhere."""
    report = verify(ORIGIN, TENANT, [(3, edited(LOG[3], prev=prev))], None, start=3)
    assert report.first_invalid == Fault(3, "record 3 does not follow record 2")


def test_an_empty_part_ends_where_the_head_is() -> None:
    """Reading from the head on finds nothing, and says nothing of a head without a link to compare."""
    assert verify(ORIGIN, TENANT, [], HEAD, start=SIZE).valid
    assert verify(ORIGIN, TENANT, [], HEAD, start=SIZE, previous=HEAD.link).entries_checked == 0
    assert not verify(ORIGIN, TENANT, [], HEAD, start=SIZE, previous=link(LOG[0])).valid


# Changed records


@given(POSITIONS, st.data())
def test_a_flipped_bit_is_found_in_its_record(seq: int, data: st.DataObject) -> None:
    """Any bit of any body: the record that holds it is the one that is named."""
    bit = data.draw(st.integers(0, len(LOG[seq]) * 8 - 1))
    body = bytearray(LOG[seq])
    body[bit // 8] ^= 1 << bit % 8
    assert fault_in(check(replaced(seq, bytes(body)))).seq == seq


def test_every_flipped_bit_of_one_record_is_found() -> None:
    """All of them, for a record in the middle, where its neighbours must settle which one was changed."""
    for bit in range(len(LOG[3]) * 8):
        body = bytearray(LOG[3])
        body[bit // 8] ^= 1 << bit % 8
        assert fault_in(check(replaced(3, bytes(body)))).seq == 3


@given(st.integers(1, SIZE - 1))
def test_a_changed_value_is_found_in_its_record(seq: int) -> None:
    """Even where the body stays canonical and only the next link, or the head, gives it away."""
    fault = fault_in(check(replaced(seq, edited(LOG[seq], decision="dec_0"))))
    wanted = f"record {seq} was changed: record {seq + 1} does not follow it"
    at_the_end = f"record {seq} is not the one that the head names: it or the head was changed"
    assert fault == Fault(seq, at_the_end if seq == SIZE - 1 else wanted)


@given(st.integers(1, SIZE - 1))
def test_a_changed_link_is_found_in_its_record(seq: int) -> None:
    """A record whose `prev` was changed is not mistaken for a change in the record before it."""
    fault = fault_in(check(replaced(seq, edited(LOG[seq], prev=text_of(link(b""))))))
    assert fault == Fault(seq, f"record {seq} was changed: it fits neither the record before it nor what follows it")


@given(st.integers(1, SIZE - 2))
def test_a_later_time_put_into_a_record_is_not_blamed_on_the_next(seq: int) -> None:
    """The next record's time is then the earlier one, but its `prev` speaks first."""
    assert fault_in(check(replaced(seq, edited(LOG[seq], ts=9_000_000)))).seq == seq


@pytest.mark.parametrize("ending", ["stream", "unreadable", "cut"])
def test_a_doubt_that_nothing_settles_falls_on_the_earlier_record(ending: str) -> None:
    """Two records do not fit and nothing readable follows: whoever trusts what is before the fault is safe."""
    bodies = replaced(5, edited(LOG[5], decision="dec_0"))[:7]
    rows = {"stream": bodies, "unreadable": [*bodies, b"?"], "cut": bodies}[ending]
    fault = fault_in(check(rows, HEAD if ending == "cut" else None))
    assert fault == Fault(5, "record 5 was changed: record 6 does not follow it")


CONTRADICTIONS: list[tuple[int, dict[str, object], str]] = [
    (4, {"v": 2}, "the body's version `v` is not 1"),
    (4, {"v": True}, "the body's version `v` is not 1"),
    (4, {"v": None}, "the body's version `v` is not 1"),
    (4, {"log": ELSEWHERE}, f"the record belongs to another log than `{ORIGIN}`"),
    (4, {"i": None}, "the record has no index `i`"),
    (1, {"i": True}, "the record has no index `i`"),
    (4, {"i": 5}, "record 5 stands in the place of record 4: rows were swapped or removed"),
    (4, {"i": 3}, "record 3 stands in the place of record 4: a row was inserted, repeated or swapped"),
    (4, {"type": None}, "the record has no `type`"),
    (4, {"type": ""}, "the record has no `type`"),
    (4, {"type": 7}, "the record has no `type`"),
    (0, {"type": "decision"}, f"record 0 does not `open` the log of tenant `{TENANT}`"),
    (0, {"tenant_id": "tnt_2"}, f"record 0 does not `open` the log of tenant `{TENANT}`"),
    (0, {"prev": text_of(link(b""))}, "record 0 does not follow the genesis of its log"),
    (4, {"ts": None}, "the time `ts` is missing or before 1003, that of the record before"),
    (4, {"ts": "1004"}, "the time `ts` is missing or before 1003, that of the record before"),
    (0, {"ts": True}, "the time `ts` is missing or before 0, that of the record before"),
    (0, {"ts": -1}, "the time `ts` is missing or before 0, that of the record before"),
    (4, {"ts": 1002}, "the time `ts` is missing or before 1003, that of the record before"),
]


@pytest.mark.parametrize(("seq", "changes", "reason"), CONTRADICTIONS)
def test_each_contradiction_has_its_sentence(seq: int, changes: dict[str, object], reason: str) -> None:
    """What a record says of itself must be what its place says."""
    assert fault_in(check(replaced(seq, edited(LOG[seq], **changes)))) == Fault(seq, reason)


# Rows that come, go and move


@given(st.integers(0, SIZE - 2))
def test_a_removed_row_is_named(seq: int) -> None:
    """The missing seq is named, whether the rows keep their keys or are numbered anew."""
    rows = [row for row in numbered(LOG) if row[0] != seq]
    fault = fault_in(verify(ORIGIN, TENANT, rows, HEAD))
    assert fault == Fault(seq, f"record {seq} is missing, row {seq + 1} comes next")
    fault = fault_in(check([body for _, body in rows]))
    wanted = f"record {seq + 1} stands in the place of record {seq}: rows were swapped or removed"
    assert fault == Fault(seq, wanted)


@given(st.sets(POSITIONS, min_size=2, max_size=2))
def test_swapped_rows_are_found_at_the_first(seqs: set[int]) -> None:
    """Two bodies under each other's key, and two rows in each other's place."""
    first, second = sorted(seqs)
    bodies = list(LOG)
    bodies[first], bodies[second] = bodies[second], bodies[first]
    fault = fault_in(check(bodies))
    wanted = f"record {second} stands in the place of record {first}: rows were swapped or removed"
    assert fault == Fault(first, wanted)
    rows = numbered(LOG)
    rows[first], rows[second] = rows[second], rows[first]
    assert fault_in(verify(ORIGIN, TENANT, rows, HEAD)).seq == first


@given(POSITIONS)
def test_a_repeated_row_is_found_at_the_second(seq: int) -> None:
    """Under its own key again, or under the next one with all others moved up."""
    rows = numbered(LOG)
    fault = fault_in(verify(ORIGIN, TENANT, [*rows[: seq + 1], *rows[seq:]], HEAD))
    assert fault == Fault(seq + 1, f"row {seq} was inserted or repeated where row {seq + 1} belongs")
    fault = fault_in(check([*LOG[: seq + 1], *LOG[seq:]]))
    wanted = f"record {seq} stands in the place of record {seq + 1}: a row was inserted, repeated or swapped"
    assert fault == Fault(seq + 1, wanted)


@given(st.integers(1, SIZE - 1))
def test_an_inserted_record_is_found_at_what_follows(seq: int) -> None:
    """Forged so well that it follows the record before it: then the true record of that seq comes as one too many."""
    head = audit.Head(seq, link(LOG[seq - 1]), 0)
    forged = audit.seal(head, ORIGIN, "decision", 1000 + seq, {"decision": "dec_forged"}).body
    fault = fault_in(check([*LOG[:seq], forged, *LOG[seq:]]))
    wanted = f"record {seq} stands in the place of record {seq + 1}: a row was inserted, repeated or swapped"
    assert fault == Fault(seq + 1, wanted)


def test_a_record_added_behind_the_head_is_found() -> None:
    """Sealed as it should be, but the head does not know it."""
    added = audit.seal(audit.Head(SIZE, HEAD.link, 0), ORIGIN, "decision", 2000, {}).body
    fault = fault_in(check([*LOG, added]))
    assert fault == Fault(SIZE, f"record {SIZE} was added beyond the head, which is at size {SIZE}")


@given(POSITIONS)
def test_a_record_of_another_log_is_found(seq: int) -> None:
    """Each record names its log, so the same record of another one does not pass."""
    other = rechain(contents(), ELSEWHERE)
    fault = fault_in(check(replaced(seq, other[seq])))
    assert fault == Fault(seq, f"the record belongs to another log than `{ORIGIN}`")


# The end


@given(st.integers(0, SIZE - 1))
def test_a_cut_tail_is_found_by_the_head(size: int) -> None:
    """The first missing seq is named."""
    assert fault_in(check(LOG[:size])) == Fault(size, f"record {size} is missing, the head is at size {SIZE}")


@given(st.integers(1, SIZE - 1))
def test_a_cut_tail_with_the_head_set_back_is_found_by_an_anchor_only(size: int) -> None:
    """Without anything held elsewhere a shorter log is as good as a longer one."""
    head = Anchor(size, link(LOG[size - 1]))
    assert check(LOG[:size], head).valid
    fault = fault_in(check(LOG[:size], head, (HEAD,)))
    assert fault == Fault(size, f"record {size} is missing, a checkpoint of size {SIZE} was given")


@given(st.integers(1, SIZE - 1), st.integers(1, SIZE))
def test_a_log_sealed_again_is_found_by_an_anchor_only(seq: int, size: int) -> None:
    """A change after which all was sealed again and the head set cannot be seen; an anchor beyond it tells."""
    bodies = contents()
    bodies[seq] = bodies[seq] | {"decision": "dec_0"}
    forged = rechain(bodies)
    head = Anchor(SIZE, link(forged[-1]))
    assert check(forged, head).valid
    assert fault_in(check(forged)).seq == SIZE - 1, "the head alone was forgotten"
    report = check(forged, head, (Anchor(1, link(LOG[0])), Anchor(size, link(LOG[size - 1]))))
    if size <= seq:
        assert report.valid
    else:
        where = f"at or after record 1 and before record {size}"
        assert fault_in(report) == Fault(size - 1, f"the checkpoint of size {size} does not fit: a change lies {where}")


def test_two_anchors_of_one_size_that_differ_never_fit() -> None:
    """One of the two was taken from another log: a fork."""
    anchors = (Anchor(5, link(LOG[4])), Anchor(5, link(LOG[3])))
    assert fault_in(check(LOG, anchors=anchors)).seq == 4


def test_an_anchor_of_size_0_is_the_genesis() -> None:
    """Of another log it does not fit."""
    fault = fault_in(check(LOG, anchors=(Anchor(0, genesis(ELSEWHERE)),)))
    assert fault.seq == 0


@given(st.integers(0, SIZE * 2), st.binary(min_size=32, max_size=32))
def test_a_changed_head_is_found(size: int, digest: bytes) -> None:
    """Its link does not name the last record, whatever its size says."""
    fault = fault_in(check(LOG, Anchor(size, digest)))
    assert fault.seq == (SIZE - 1 if size == SIZE else min(size, SIZE))


@pytest.mark.parametrize("body", [b"[]", b'{"b":1,"a":1}', b'{"a":1.0}', b'{"a":"%s"}' % (b"x" * ENTRY_BYTES_MAX)])
def test_a_body_that_is_not_in_canonical_form_is_found(body: bytes) -> None:
    """The record is named together with what its bytes are not."""
    with pytest.raises(InvalidJson) as caught:
        read_canonical(body)
    assert fault_in(check(replaced(2, body))) == Fault(2, caught.value.message)


# Facts


def look_up(ref: FactRef, _seq: int) -> bytes | None:
    """A fact table that has everything."""
    return CONTENTS[ref.digest]


def test_the_facts_of_a_decision_are_found_in_its_record() -> None:
    """Request and policies, each identity and each budget; no other record has any."""
    wanted = [("request", "request"), ("policies", "policies"), ("chain", "identity"), ("budgets", "budget")]
    refs = referenced_facts(read_canonical(LOG[1]))
    assert [(ref.kind, ref.digest) for ref in refs] == [(kind, ADDRESSES[name]) for kind, name in wanted]
    assert referenced_facts(read_canonical(LOG[0])) == ()


def test_the_writer_and_the_reader_mean_the_same_facts() -> None:
    """An address is the hash of the content, as the writer makes it."""
    assert check_fact(FactRef("request", audit.fact_hash(b"x")), b"x") is None


def test_a_log_with_all_its_facts_is_valid() -> None:
    """None is missing; those that many records share are read once, the requests each time."""
    asked: list[str] = []

    def counting(ref: FactRef, seq: int) -> bytes | None:
        asked.append(ref.kind)
        return look_up(ref, seq)

    report = verify(ORIGIN, TENANT, numbered(LOG), HEAD, counting)
    assert (report.valid, report.facts_missing) == (True, 0)
    assert sorted(asked) == ["budgets", "chain", "policies", *["request"] * (SIZE - 1)]


@given(st.integers(1, SIZE - 1), st.sampled_from(["request", "policies", "identity", "budget"]), st.binary())
def test_a_changed_fact_is_found_at_the_first_record_that_reads_it(seq: int, name: str, content: bytes) -> None:
    """The record and the kind are named."""
    kind = {"identity": "chain", "budget": "budgets"}.get(name, name)

    def tampered(ref: FactRef, at: int) -> bytes | None:
        return content if ref.kind == kind and at >= seq else look_up(ref, at)

    report = verify(ORIGIN, TENANT, numbered(LOG), HEAD, tampered)
    if kind != "request" and seq > 1:
        assert report.valid, "a shared fact was read by record 1"
        return
    address = audit.encode_hash(ADDRESSES[name])
    wanted = Fault(seq, f"the fact `{address}` of `{kind}` was changed: its content has another hash")
    assert fault_in(report) == wanted


@given(st.sets(st.integers(1, SIZE - 1)))
def test_erased_facts_are_counted_and_the_log_stays_valid(erased: set[int]) -> None:
    """Each reference to one counts."""

    def without(ref: FactRef, seq: int) -> bytes | None:
        return None if ref.kind == "request" and seq in erased else look_up(ref, seq)

    report = verify(ORIGIN, TENANT, numbered(LOG), HEAD, without)
    assert (report.valid, report.facts_missing) == (True, len(erased))


MALFORMED: list[tuple[str, object]] = [
    ("request", None),
    ("request", "short"),
    ("policies", 7),
    ("policies", ["id", 1, text_of(ADDRESSES["policies"])]),
    ("chain", None),
    ("chain", {}),
    ("chain", ["idn_1"]),
    ("chain", [["idn_1", 3]]),
    ("budgets", [["bdg_1", 1, None]]),
]


@pytest.mark.parametrize(("kind", "value"), MALFORMED)
def test_a_decision_must_name_its_facts(kind: str, value: object) -> None:
    """A sealed decision from which an address is missing is a fault of its record."""
    bodies = contents()
    bodies[4] = {key: field for key, field in (bodies[4] | {kind: value}).items() if field is not None}
    log = rechain(bodies)
    with pytest.raises(ValidationFailed):
        referenced_facts(read_canonical(log[4]))
    report = verify(ORIGIN, TENANT, numbered(log), Anchor(SIZE, link(log[-1])), look_up)
    assert fault_in(report) == Fault(4, f"`{kind}` of the decision holds no address of a fact")


def test_a_record_in_doubt_does_not_answer_for_its_facts() -> None:
    """Its addresses may be the forged ones, so the chain settles first which record was changed."""
    forged = edited(LOG[6], prev=text_of(link(b"")), request="none")
    report = verify(ORIGIN, TENANT, numbered(replaced(6, forged)), HEAD, look_up)
    assert fault_in(report) == Fault(
        6, "record 6 was changed: it fits neither the record before it nor what follows it"
    )


def test_the_memory_of_checked_facts_is_bounded() -> None:
    """When it is full it is emptied, so a fact is read again rather than never."""
    asked: list[bytes] = []

    def content_of(ref: FactRef, _seq: int) -> bytes | None:
        asked.append(ref.digest)
        return known[ref.digest]

    facts = [str(number).encode() for number in range(CHECKED_FACTS_MAX + 2)]
    known = {audit.fact_hash(content): content for content in facts}
    digests = list(known)
    checker = FactChecker(content_of)

    def read_for(seq: int, chain: list[bytes]) -> int:
        """How many facts are read for a decision with this chain, besides its request."""
        asked.clear()
        first = text_of(digests[0])
        items = [["idn_1", 1, text_of(digest)] for digest in chain]
        fields = {"type": "decision", "request": text_of(digests[-1]), "policies": first, "chain": items, "budgets": []}
        assert checker.check(seq, fields) is None
        return len(asked) - 1

    assert read_for(1, digests[:-2]) == CHECKED_FACTS_MAX
    assert read_for(2, digests[:-2]) == 0
    assert read_for(3, digests[-2:-1]) == 1
    assert read_for(4, digests[1:2]) == 2


# The streaming form


@given(POSITIONS)
def test_a_verifier_tells_how_far_it_is(size: int) -> None:
    """After each row: what must come next, the link it must carry, and the record that was read."""
    verifier = Verifier(ORIGIN, TENANT)
    feed: Callable[[int, bytes], Fault | None] = verifier.feed
    for seq, body in enumerate(LOG[: size + 1]):
        assert feed(seq, body) is None
        assert verifier.fields == orjson.loads(body)
        assert (verifier.next_index, verifier.link_text) == (seq + 1, text_of(link(body)))
    assert verifier.finish(size + 1, link(LOG[size])) is None


def test_what_was_followed_leads_to_its_list() -> None:
    """One fact, the list; an address that is none is a fault of the record."""
    (ref,) = referenced_facts({"type": "followed", "changes": "A" * 43})
    assert (ref.kind, len(ref.digest)) == ("changes", 32)
    with pytest.raises(ValidationFailed, match="holds no address of a fact"):
        referenced_facts({"type": "followed", "changes": None})


def test_a_capture_without_a_hold_must_name_its_facts() -> None:
    """It has no request; its card is one of its facts."""
    rows = [["id", 1, text_of(ADDRESSES["policies"])]]
    fields: dict[str, object] = {"type": "forced", "policies": rows[0][2], "chain": rows, "cards": rows, "budgets": []}
    assert [ref.kind for ref in referenced_facts(fields)] == ["policies", "chain", "cards"]
    with pytest.raises(ValidationFailed, match="`cards` of the record holds no address"):
        referenced_facts({name: value for name, value in fields.items() if name != "cards"})

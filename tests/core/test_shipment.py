"""A shipped part of a log: each record is what it is in a store, and a fact comes with the record that names it."""

import hashlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import audit
from sidecar.core.errors import ValidationFailed
from sidecar.core.log_entries import link
from sidecar.core.shipment import Named, Part, own_facts, read_part
from sidecar.core.verification import Fault

ORIGIN = audit.origin("log-1")
REQUEST, MANIFEST, LIST, CHAIN = b"the request", b"the policies", b"the changes", b"the identity"
TEXT = {content: audit.encode_hash(hashlib.sha256(content).digest()) for content in (REQUEST, MANIFEST, LIST, CHAIN)}

KINDS = ("open", "decision", "settle", "followed", "clock_event", "release")


def fields(kind: str) -> audit.Body:
    """What a record of a kind says, as far as it is looked at."""
    match kind:
        case "open":
            return {"tenant_id": "acme", "root": "root", "time_zone": "UTC", "mode": "live"}
        case "decision":
            named = {"request": TEXT[REQUEST], "policies": TEXT[MANIFEST], "budgets": []}
            return {"decision": "dec_1", "chain": [["root", 1, TEXT[CHAIN]]], **named}
        case "followed":
            return {"changes": TEXT[LIST]}
        case "settle" | "release":
            return {"decision": "dec_1", "identity": "root", "state": f"{kind}d", "measures": []}
        case _:
            return {}


def log(*kinds: str) -> list[bytes]:
    """A log of records of these kinds, a microsecond apart."""
    head = audit.Head(0, audit.genesis(ORIGIN), 0)
    bodies = []
    for number, kind in enumerate(kinds, 1):
        sealed = audit.seal(head, ORIGIN, kind, number, fields(kind))
        bodies.append(sealed.body)
        head = sealed.head
    return bodies


WHOLE = log(*KINDS)


def test_a_part_says_what_must_be_in_front_of_it_and_what_is_its_end() -> None:
    for start in range(len(WHOLE)):
        part = read_part(ORIGIN, "acme", start, WHOLE[start:], ())
        assert isinstance(part, Part)
        assert part.previous == (link(WHOLE[start - 1]) if start else audit.genesis(ORIGIN))
        assert (part.to_seq, part.link) == (len(WHOLE), link(WHOLE[-1]))
        assert (part.first_us, part.last_us) == (start + 1, len(WHOLE))


def test_the_endings_of_holds_are_told() -> None:
    part = read_part(ORIGIN, "acme", 0, WHOLE, ())
    assert isinstance(part, Part)
    assert [(each.kind, each.seq, each.decision_id) for each in part.endings] == [
        ("settle", 2, "dec_1"),
        ("release", 5, "dec_1"),
    ]


def test_a_fact_goes_to_the_record_that_names_it() -> None:
    """A request to its record alone, others to all."""
    part = read_part(ORIGIN, "acme", 0, WHOLE, (LIST, REQUEST, MANIFEST, CHAIN))
    assert isinstance(part, Part)
    assert set(part.facts) == {Named(REQUEST, 1), Named(MANIFEST, None), Named(LIST, None), Named(CHAIN, None)}
    with pytest.raises(ValidationFailed, match="a fact is named by no record of the batch"):
        read_part(ORIGIN, "acme", 2, WHOLE[2:], (REQUEST,))


def test_what_came_from_the_control_plane_is_none_of_a_followers_own_facts() -> None:
    digests = {content: hashlib.sha256(content).digest() for content in TEXT}
    assert own_facts(1, orjson.loads(WHOLE[1])) == ((digests[REQUEST], 1), (digests[MANIFEST], None))
    assert own_facts(3, orjson.loads(WHOLE[3])) == ((digests[LIST], None),)
    assert own_facts(2, orjson.loads(WHOLE[2])) == ()
    with pytest.raises(ValidationFailed, match="`changes` of what was followed"):
        own_facts(3, {"type": "followed"})


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7), st.data())
def test_a_flipped_bit_at_any_place_is_found(seq: int, bit: int, data: st.DataObject) -> None:
    """Named is the record, or the one before where nothing tells which of the two it is.

    The last one may have become another sound record, which only the next one does not follow.
    """
    body = bytearray(WHOLE[seq])
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << bit
    found = read_part(ORIGIN, "acme", 0, [*WHOLE[:seq], bytes(body), *WHOLE[seq + 1 :]], ())
    if seq < len(WHOLE) - 1 or isinstance(found, Fault):
        assert isinstance(found, Fault)
        assert found.seq in {seq - 1, seq}
    else:
        assert found.link != link(WHOLE[-1])


def test_a_record_of_another_place_tenant_or_log_is_found() -> None:
    for bodies in (WHOLE[:2] + WHOLE[3:], [WHOLE[0], WHOLE[0]], WHOLE[1:], [*WHOLE[:2], WHOLE[3], WHOLE[2]]):
        assert isinstance(read_part(ORIGIN, "acme", 0, bodies, ()), Fault)
    assert read_part(ORIGIN, "other", 0, WHOLE, ()) == Fault(0, "record 0 does not `open` the log of tenant `other`")
    found = read_part(audit.origin("log-2"), "acme", 2, WHOLE[2:], ())
    assert isinstance(found, Fault)
    assert "belongs to another log" in found.reason


def test_a_changed_record_that_comes_last_is_found_by_the_one_that_it_follows() -> None:
    changed = WHOLE[-1].replace(b'"prev":"', b'"prev":"A', 1)
    found = read_part(ORIGIN, "acme", 0, [*WHOLE[:-1], changed], ())
    assert isinstance(found, Fault)


def test_what_cannot_be_understood_of_an_ending_or_a_decision_is_a_fault() -> None:
    head = audit.Head(3, b"\x07" * 32, 5)
    bad: tuple[tuple[str, audit.Body], ...] = (("settle", {"decision": 7}), ("decision", {"request": "none"}))
    for kind, body in bad:
        sealed = audit.seal(head, ORIGIN, kind, 9, body)
        found = read_part(ORIGIN, "acme", 3, [sealed.body], ())
        assert isinstance(found, Fault)
        assert found.seq == 3


def test_the_name_of_a_log_names_its_id() -> None:
    assert audit.log_id_of(ORIGIN) == "log-1"
    for bad in ("log-1", "sidecar.local/", "sidecar.local/LOG", "elsewhere/log-1", "sidecar.local/a/b", "x" * 200):
        assert audit.log_id_of(bad) is None

"""The writer's half of the audit log: the bytes, the links, and what a decision's record says."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import log_entries, verification
from sidecar.core.audit import (
    FORMAT,
    INTEGER_MAX,
    NAMED_MAX,
    Body,
    DecisionFacts,
    Head,
    Sealed,
    Verdict,
    Version,
    decision_body,
    encode_hash,
    fact_hash,
    genesis,
    link_of,
    origin,
    seal,
    version,
)
from sidecar.core.budget import Claim, Usage
from sidecar.core.directory import IdentityChain
from sidecar.core.errors import Unavailable
from sidecar.core.limits import AUDIT_BODY_BYTES_MAX, BUDGETS_PER_CHAIN_MAX, CHAIN_DEPTH_MAX, QUANTITIES_MAX
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.policy_ids import ID_LENGTH_MAX
from sidecar.core.reasons import CODES
from sidecar.core.staleness import Freshly
from sidecar.core.windows import Window
from tests.core.builders import CHAIN, NOON_US, budget, identity, purchase, tool_call

ORIGIN = origin("log-1")
EMPTY = Head(0, genesis(ORIGIN), 0)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abz_09", min_size=1), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.text("abz_09", min_size=1, max_size=4), VALUES, max_size=4)
TIMES = st.integers(0, 10**16 // 2)
DIGEST = b"\x11" * 32


# --- Sealing


@given(FIELDS, TIMES)
def test_a_body_is_canonical_json(fields: Body, now_us: int) -> None:
    """As the standard library writes it: keys sorted, no spaces, no escapes that are not needed."""
    body = seal(EMPTY, ORIGIN, "note", now_us, fields).body
    expected = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert body == expected


@given(FIELDS, TIMES)
def test_a_record_says_where_it_stands_whatever_its_fields_say(fields: Body, now_us: int) -> None:
    head = Head(7, DIGEST, 3)
    ours = {
        "v": FORMAT,
        "log": ORIGIN,
        "i": 7,
        "prev": encode_hash(DIGEST),
        "ts": max(3, now_us),
        "type": "note",
    }
    content = json.loads(seal(head, ORIGIN, "note", now_us, fields).body)
    assert content == {**fields, **ours}
    forged: Body = dict.fromkeys(ours, "forged")
    assert json.loads(seal(head, ORIGIN, "note", now_us, forged).body) == ours


@given(st.lists(st.tuples(FIELDS, TIMES), min_size=1, max_size=6))
def test_each_record_links_to_the_one_before_and_time_never_goes_back(records: list[tuple[Body, int]]) -> None:
    head, times, previous = EMPTY, [0], genesis(ORIGIN)
    for number, (fields, now_us) in enumerate(records):
        sealed = seal(head, ORIGIN, "note", now_us, fields)
        content = json.loads(sealed.body)
        assert (sealed.index, content["i"], content["prev"]) == (number, number, encode_hash(previous))
        times.append(max(times[-1], now_us))
        previous = hashlib.sha256(b"\x00" + sealed.body).digest()
        head = sealed.head
        assert (content["ts"], head) == (times[-1], Head(number + 1, previous, times[-1]))


def test_a_record_keeps_the_number_of_the_last_clock_event() -> None:
    assert seal(Head(0, DIGEST, 0, clock_epoch=5), ORIGIN, "note", 1, {}).head.clock_epoch == 5


def test_a_link_is_the_leaf_hash_of_rfc_6962() -> None:
    """The hash of the empty leaf is given in the test vectors of Certificate Transparency."""
    empty_leaf = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert link_of(b"").hex() == empty_leaf


def test_a_log_begins_with_its_name() -> None:
    assert origin("log-1") == "sidecar.local/log-1"
    assert genesis("a") == hashlib.sha256(b"sidecar/genesis/v1\na\n").digest()
    assert genesis("a") != genesis("b")


@given(st.binary(min_size=32, max_size=32))
def test_a_hash_is_written_without_padding_and_can_be_read(digest: bytes) -> None:
    text = encode_hash(digest)
    assert len(text) == 43
    assert log_entries.digest_of(text) == digest


def test_a_fact_lies_under_the_hash_of_its_bytes() -> None:
    assert fact_hash(b"bytes") == hashlib.sha256(b"bytes").digest()


@pytest.mark.parametrize("spare", [0, 1])
def test_a_body_has_a_largest_size(spare: int) -> None:
    """One request more fails, and the log stays whole."""
    frame = len(seal(EMPTY, ORIGIN, "note", 0, {"a": ""}).body)
    text = "x" * (AUDIT_BODY_BYTES_MAX - frame + spare)
    if spare:
        with pytest.raises(Unavailable, match="an audit record of 65536 bytes is over the limit of 65535"):
            seal(EMPTY, ORIGIN, "note", 0, {"a": text})
    else:
        assert len(seal(EMPTY, ORIGIN, "note", 0, {"a": text}).body) == AUDIT_BODY_BYTES_MAX


@pytest.mark.parametrize("value", [INTEGER_MAX + 1, -INTEGER_MAX - 1, "\ud800", b"bytes"])
def test_what_no_reader_would_take_is_not_written(value: object) -> None:
    """A record that verification refuses would stop the next start of the server."""
    with pytest.raises(Unavailable, match="an audit record cannot be written"):
        seal(EMPTY, ORIGIN, "note", 0, {"a": value})


# --- Decisions


def body_of(
    request: AuthorizeRequest,
    claimed: tuple[tuple[Claim, Usage], ...] = (),
    *,
    chain: IdentityChain = CHAIN,
    others: IdentityChain = (),
    **verdict: object,
) -> Body:
    """What the record of a decision says."""
    said = {
        "decision_id": "dec_1",
        "allowed": True,
        "codes": ("permitted",),
        "determining": ("base",),
        "errors": (),
        "expires_at_us": None,
    } | verdict
    return decision_body(
        request=request,
        verdict=Verdict(**said),  # type: ignore[arg-type]
        claimed=claimed,
        facts=DecisionFacts(
            request=encode_hash(fact_hash(b"request")),
            policies=encode_hash(fact_hash(b"policies")),
            chain=versions(chain),
            budgets=tuple(
                version(each.budget.budget_id, each.budget.revision, each.budget.budget_id.encode())
                for each, _ in claimed
            ),
            others=versions(others),
        ),
        engine="cedarpy 4",
        token_id="tok_1",
        now_us=NOON_US,
        entity_revision=17,
    )


def versions(identities: IdentityChain) -> tuple[Version, ...]:
    """How the record names these identities."""
    return tuple(version(each.identity_id, each.revision, each.identity_id.encode()) for each in identities)


def sealed(body: Body) -> Sealed:
    """A record that stands alone in its log."""
    return seal(EMPTY, ORIGIN, "decision", NOON_US, body)


def content(body: Body) -> Body:
    """The fields as a reader finds them."""
    found: Body = json.loads(sealed(body).body)
    return found


DAY = Window(NOON_US - 12 * 3_600_000_000, NOON_US + 12 * 3_600_000_000)
CLAIMED = (
    (Claim(budget("bud_1"), DAY, 4723), Usage(100, 20)),
    (Claim(budget("bud_2", period="per_transaction", revision=9), None, 4723), Usage()),
)


def test_a_decision_says_in_clear_who_wanted_what_and_how_it_came_out() -> None:
    found = content(body_of(purchase(card_id="card_1", quantities={"tokens": 3, "calls": 1}), expires_at_us=NOON_US))
    assert {key: found[key] for key in found.keys() - {"chain", "v", "log", "i", "prev", "ts", "budgets"}} == {
        "type": "decision",
        "decision": "dec_1",
        "identity": "bot",
        "action": "card.authorize",
        "resource": {"type": "merchant", "id": "AWS"},
        "amount": 4723,
        "currency": "CAD",
        "quantities": [["calls", 1], ["tokens", 3]],
        "card": "card_1",
        "now": NOON_US,
        "verdict": "allow",
        "codes": ["permitted"],
        "matched": ["base"],
        "expires": NOON_US,
        "request": encode_hash(fact_hash(b"request")),
        "policies": encode_hash(fact_hash(b"policies")),
        "engine": "cedarpy 4",
        "token": "tok_1",
        "entity_revision": 17,
    }


def test_a_followers_decision_says_how_old_its_data_was_and_might_have_been() -> None:
    plain = content(body_of(purchase()))
    found = content(body_of(purchase(), freshly=Freshly(1_500, 60_000_000, -70_000_000, "a fork")))
    extra = {"age_ms": 2, "stale_after_ms": 60_000, "skew_ms": -70_000, "fault": True}
    assert found == plain | extra


def test_a_decision_refers_to_each_version_of_its_identity_chain() -> None:
    assert content(body_of(purchase()))["chain"] == [
        ["bot", 3, encode_hash(fact_hash(b"bot"))],
        ["team", 2, encode_hash(fact_hash(b"team"))],
        ["boss", 1, encode_hash(fact_hash(b"boss"))],
    ]


def test_a_decision_refers_to_the_identity_that_is_acted_on_and_to_those_above_it() -> None:
    """What it is and where it stands counts in the ruling, so the record could not be recomputed without it."""
    found = content(body_of(purchase(resource=ResourceRef("agent", "bot")), others=CHAIN))
    assert found["others"] == found["chain"]


def test_a_decision_refers_to_each_budget_with_its_window_and_figures() -> None:
    assert content(body_of(purchase(), CLAIMED))["budgets"] == [
        ["bud_1", 4, encode_hash(fact_hash(b"bud_1")), DAY.start_us, 100, 20, 4723],
        ["bud_2", 9, encode_hash(fact_hash(b"bud_2")), None, 0, 0, 4723],
    ]


def test_a_denial_names_its_codes_and_the_policies_that_failed() -> None:
    found = content(
        body_of(
            purchase(),
            allowed=False,
            codes=("policy_error", "forbidden", "forbidden"),
            errors=("broken",),
            replay_of="dec_0",
        )
    )
    assert (found["verdict"], found["codes"], found["errors"]) == ("deny", ["policy_error", "forbidden"], ["broken"])
    assert found["replay_of"] == "dec_0"


def test_what_a_request_has_not_is_left_out() -> None:
    optional = {"amount", "currency", "quantities", "card", "errors", "expires", "replay_of", "others"}
    assert not (optional | {"matched_more", "errors_more"}) & content(body_of(tool_call())).keys()


def test_nothing_is_kept_of_an_amount_of_nothing_but_its_zero() -> None:
    assert content(body_of(purchase(amount_minor=0)))["amount"] == 0


def test_a_record_holds_no_name_and_no_metadata() -> None:
    """They are personal; as facts they can be erased without breaking the chain."""
    people = tuple(identity(each.identity_id, name="SECRET", metadata={"SECRET": "SECRET"}) for each in CHAIN)
    request = purchase(context={"purpose": "SECRET"}, attributes={"country": "SECRET"})
    claimed = ((Claim(budget(name="SECRET"), DAY, 1), Usage()),)
    assert b"SECRET" not in sealed(body_of(request, claimed, chain=people)).body


@given(
    st.integers(0, 10**15),
    st.dictionaries(st.sampled_from(["tokens", "calls"]), st.integers(0, 10**15)),
    st.integers(0, 10**18),
    st.integers(0, 10**18),
)
def test_no_record_holds_a_float_or_a_number_that_a_reader_takes_wrongly(
    amount: int, quantities: dict[str, int], settled: int, held: int
) -> None:
    """A budget that only counts can have used more than a JSON number holds: such a figure is text."""
    request = purchase(amount_minor=amount, quantities=quantities)
    body = sealed(body_of(request, ((Claim(budget(), DAY, amount), Usage(settled, held)),))).body
    found = json.loads(body, parse_float=pytest.fail)
    (row,) = found["budgets"]
    assert [int(row[4]), int(row[5])] == [settled, held]
    assert [isinstance(row[4], str), isinstance(row[5], str)] == [settled > INTEGER_MAX, held > INTEGER_MAX]
    assert log_entries.read_canonical(body) == found


def test_of_the_policies_that_matched_so_many_are_named_and_the_rest_are_counted() -> None:
    """A tenant can have thousands that permit one request, and the record has a largest size."""
    many = tuple(f"pol_{number:04}" for number in range(2_000))
    found = content(body_of(purchase(), determining=many, errors=many, codes=("permitted",) * len(many)))
    assert (found["matched"], found["matched_more"]) == (list(many[:NAMED_MAX]), len(many) - NAMED_MAX)
    assert (found["errors"], found["errors_more"]) == (list(many[:NAMED_MAX]), len(many) - NAMED_MAX)
    assert found["codes"] == ["permitted"]


def test_the_largest_request_that_the_limits_let_through_can_be_recorded() -> None:
    widest = "\U0001f600"
    request = purchase(
        identity_id="i" * 128,
        action="a" * 128,
        resource=ResourceRef("r" * 64, widest * 512),
        amount_minor=10**15,
        quantities={"q" * 62 + f"{number:02}": 10**15 for number in range(QUANTITIES_MAX)},
        card_id="c" * 128,
    )
    people = tuple(identity("i" * 128, revision=INTEGER_MAX) for _ in range(CHAIN_DEPTH_MAX))
    limits = tuple(
        (Claim(budget("bud_" + "0" * 26, revision=INTEGER_MAX), DAY, 10**15), Usage(2**62, 2**62))
        for _ in range(BUDGETS_PER_CHAIN_MAX)
    )
    names = (widest * ID_LENGTH_MAX + "@pol_" + "0" * 26,) * 10_000
    body = body_of(
        request, limits, chain=people, others=people, allowed=False, codes=CODES, determining=names, errors=names
    )
    assert len(sealed(body).body) <= AUDIT_BODY_BYTES_MAX


def test_the_readers_half_accepts_what_the_writers_half_makes() -> None:
    opening = seal(EMPTY, ORIGIN, "open", NOON_US, {"tenant_id": "t_1"})
    decision = seal(opening.head, ORIGIN, "decision", NOON_US - 5, body_of(purchase(), CLAIMED, others=CHAIN[2:]))
    report = verification.verify(
        ORIGIN,
        "t_1",
        [(0, opening.body), (1, decision.body)],
        verification.Anchor(decision.head.next_index, decision.head.link),
    )
    assert report.first_invalid is None
    refs = verification.referenced_facts(json.loads(decision.body))
    assert [ref.kind for ref in refs] == [
        *("request", "policies"),
        *("chain", "chain", "chain"),
        *("budgets", "budgets"),
        "others",
    ]

"""The change feed as values: what is written is read again, and nothing else is."""

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import feed
from sidecar.core.access import Former, Token
from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity
from sidecar.core.errors import ValidationFailed
from sidecar.core.feed import (
    Change,
    FeedRefused,
    FollowedToken,
    Page,
    TenantProfile,
    files_digest,
    files_of,
    mark_of_text,
    mark_text,
    read_change,
    read_page,
    state_digest,
    write_change,
    write_page,
)
from sidecar.core.model import AuditMark
from sidecar.core.rates import RateLimit
from sidecar.core.snapshot import PolicyFiles, PolicyRecord, SourceFile

IDENTITY = Identity(identity_id="ann", parent_id="root", type="agent", name="Ann", created_at_us=1, revision=3)
POLICY = PolicyRecord(
    policy_id="pol_1",
    identity_id=None,
    name="x",
    rules=None,
    cedar="permit (principal, action, resource);",
    requirements={},
    created_at_us=1,
    revision=4,
)
BUDGET = Budget(
    budget_id="bud_1",
    identity_id="ann",
    card_id=None,
    name="daily",
    dimension="amount",
    period="daily",
    limit=500,
    currency="CAD",
    actions=(),
    on_exceeded="deny",
    on_expiry="release",
    notify_at_bp=8_000,
    created_at_us=1,
    revision=5,
)
CARD = Card(card_id="card_1", identity_id="ann", currency="CAD", created_at_us=1, revision=6, thawed_revision=6)
TOKEN = Token(
    token_id="tok_1",
    key_id="key",
    digest=b"\x00\xff" * 16,
    prefix="at_live_key",
    tenant=0,
    kind="agent",
    name="ann's",
    identity_id="ann",
    may_release=False,
    created_at_us=1,
    expires_at_us=None,
    rate_limit=RateLimit(5, 1),
    former=Former("old", 9),
)

CHANGES = (
    Change(kind="identity", id="ann", revision=3, place=3, owner="root", external_id="a", value=IDENTITY),
    Change(kind="policy", id="pol_1", revision=4, place=4, value=POLICY),
    Change(kind="budget", id="bud_1", revision=5, place=5, owner="ann", value=BUDGET),
    Change(kind="card", id="card_1", revision=6, place=6, owner="ann", value=CARD),
    Change(
        kind="token", id="tok_1", revision=7, place=7, owner="ann", value=FollowedToken(token=TOKEN, former_digest=b"x")
    ),
    Change(kind="policy", id="pol_0", revision=8),
)

FILES = PolicyFiles(
    schemas=(SourceFile("s", "entity X;"),),
    shared=(SourceFile("p", "// all"),),
    by_tenant={"t_one": (SourceFile("t_one/p", "// one"),), "t_two": (SourceFile("t_two/p", "// two"),)},
)

PAGE = Page(
    origin="sidecar.local/01",
    follower_id="tok_9",
    scope="ann",
    from_revision=2,
    to_revision=8,
    head=8,
    time_us=1_773_057_600_000_000,
    tenant=TenantProfile(
        tenant_id="t_one",
        name="One",
        mode="live",
        time_zone="UTC",
        root_identity_id="root",
        created_at_us=1,
        rate_limit=RateLimit(5, 1),
    ),
    files_digest=files_digest(files_of(FILES, "t_one")),
    files=files_of(FILES, "t_one"),
    changes=CHANGES,
)


def signed(fields: dict[str, Any]) -> bytes:
    """A page of these fields with the digest that fits them."""
    body = {name: value for name, value in fields.items() if name != "digest"}
    digest = feed.digest_of(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))
    return orjson.dumps(body | {"digest": digest}, option=orjson.OPT_SORT_KEYS)


def fields_of(page: Page = PAGE) -> dict[str, Any]:
    """A page as it stands on the wire."""
    fields: dict[str, Any] = orjson.loads(write_page(page))
    return fields


def test_a_page_is_read_as_it_was_written() -> None:
    """Every kind of record with all that is stored of it, and removals."""
    assert read_page(write_page(PAGE)) == PAGE
    assert PAGE.is_last
    without = msgspec.structs.replace(PAGE, files=None, changes=(), to_revision=7)
    assert read_page(write_page(without)) == without
    assert not without.is_last


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.id)
def test_a_change_is_read_as_it_was_written_and_stands_on_one_line(change: Change) -> None:
    line = write_change(change)
    assert b"\n" not in line
    assert read_change(line) == change


@given(st.data())
def test_a_page_with_a_changed_byte_is_refused(data: st.DataObject) -> None:
    """Whichever byte it is, and also where the rest still reads as a page."""
    written = bytearray(write_page(PAGE))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FeedRefused):
        read_page(bytes(written))


@given(st.integers(0, len(write_page(PAGE)) - 1))
def test_a_page_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(FeedRefused):
        read_page(write_page(PAGE)[:length])


def test_a_page_without_its_digest_is_refused() -> None:
    body = fields_of()
    del body["digest"]
    with pytest.raises(FeedRefused, match="cut off or changed"):
        read_page(orjson.dumps(body))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"format": 2}, "writes format `2`, this follower reads `1`: upgrade it"),
        ({"format": None}, "writes format `None`"),
        ({"news": 1}, "the page has the field `news`, which this follower does not know: upgrade it"),
        ({"head": "8"}, "the page cannot be read"),
        ({"head": None}, "the page cannot be read"),
        ({"changes": {}}, "the changes of a page are a list"),
        ({"changes": [1]}, "a change is a JSON object"),
        ({"changes": [{"kind": "lease", "id": "x", "revision": 1}]}, "has the kind `lease`, which this follower"),
        ({"changes": [{"kind": ["card"], "id": "x", "revision": 1}]}, "has the kind"),
        ({"changes": [{"kind": "card", "id": "x", "revision": 1, "lent": 1}]}, "card `x` has the field `lent`"),
        ({"changes": [{"kind": "card", "revision": 1}]}, "card `None` cannot be read"),
        ({"files_digest": "0" * 64}, "are not those that it names"),
    ],
)
def test_what_a_newer_control_plane_tells_is_refused_and_never_skipped(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FeedRefused) as refused:
        read_page(signed(fields_of() | changed))
    assert sentence in refused.value.message


@pytest.mark.parametrize("number", range(5))
def test_a_field_of_a_record_that_would_be_lost_is_refused(number: int) -> None:
    """At any depth, also within what is stored of a token."""
    fields = fields_of()
    value = fields["changes"][number]["value"]
    (value.get("token") or value)["new_rule"] = {"at": 1}
    with pytest.raises(FeedRefused, match="has the field `new_rule`"):
        read_page(signed(fields))


def test_a_field_within_a_list_that_would_be_lost_is_refused() -> None:
    fields = fields_of()
    fields["files"]["shared"][0]["encoding"] = "latin-1"
    with pytest.raises(FeedRefused, match="has the field `encoding`"):
        read_page(signed(fields))


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b"null"])
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(FeedRefused):
        read_page(body)
    with pytest.raises(FeedRefused):
        read_change(body)


def test_of_files_those_are_told_that_hold_for_the_tenant() -> None:
    assert files_of(FILES, "t_one").by_tenant == {"t_one": FILES.by_tenant["t_one"]}
    assert files_of(FILES, "t_none").by_tenant == {}
    assert files_digest(files_of(FILES, "t_one")) != files_digest(files_of(FILES, "t_two"))
    assert files_digest(FILES) == FILES.digest().hex()


def test_two_states_have_one_digest_only_when_they_are_the_same() -> None:
    """Whatever the order in which they are told."""
    assert state_digest(CHANGES) == state_digest(reversed(CHANGES))
    assert state_digest(CHANGES) != state_digest(CHANGES[1:])
    other = msgspec.structs.replace(CHANGES[0], value=msgspec.structs.replace(IDENTITY, status="suspended"))
    assert state_digest(CHANGES) != state_digest((other, *CHANGES[1:]))


def test_a_mark_is_asked_for_as_it_was_told() -> None:
    mark = AuditMark(12, "A" * 43)
    assert mark_of_text(mark_text(mark)) == mark


@pytest.mark.parametrize("text", ["", "3", ":", "3:", "03:" + "A" * 43, "-3:" + "A" * 43, "3:" + "A" * 42 + "B"])
def test_what_names_no_record_is_no_mark(text: str) -> None:
    with pytest.raises(ValidationFailed, match="the number of a record and its hash"):
        mark_of_text(text)

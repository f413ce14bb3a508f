"""What a page may tell of a record, and what is refused before anything of it is stored."""

from typing import Any

import msgspec
import pytest

from sidecar.core.access import Token
from sidecar.core.budget import Budget, card_owner
from sidecar.core.cards import Card, ExternalRef
from sidecar.core.directory import Identity
from sidecar.core.feed import Change, FeedRefused, FollowedToken, Page, TenantProfile
from sidecar.core.feed_review import review_page
from sidecar.core.model import AuditMark
from sidecar.core.snapshot import PolicyFiles, PolicyRecord, SourceFile

ROOT = Identity(identity_id="root", parent_id=None, type="user", name="Root", created_at_us=1, revision=1)
ANN = Identity(
    identity_id="ann", parent_id="root", type="agent", name="A", external_id="E", created_at_us=1, revision=4
)
RULE = PolicyRecord(
    policy_id="pol_1",
    identity_id="ann",
    name="n",
    rules=None,
    cedar="permit (principal, action, resource);",
    requirements={},
    created_at_us=1,
    revision=2,
)
LIMIT = Budget(
    budget_id="bud_1",
    identity_id="ann",
    name="n",
    dimension="amount",
    period="daily",
    limit=5,
    currency="CAD",
    created_at_us=1,
    revision=3,
)
CARD = Card(
    card_id="card_1",
    identity_id="ann",
    currency="CAD",
    external_ref=ExternalRef("net", "1"),
    created_at_us=1,
    thawed_revision=5,
    revision=5,
)
TOKEN = Token(
    token_id="tok_1",
    key_id="k",
    digest=b"d",
    prefix="ag_",
    tenant=0,
    kind="agent",
    name="n",
    identity_id="ann",
    may_release=False,
    created_at_us=1,
    expires_at_us=None,
)
PROFILE = TenantProfile(
    tenant_id="t_one", name="One", mode="live", time_zone="UTC", root_identity_id="root", created_at_us=1
)


def told(change: Change, **fields: object) -> Change:
    return msgspec.structs.replace(change, **fields)


IDENTITY = Change(kind="identity", id="ann", revision=4, place=2, owner="root", external_id="E", value=ANN)
POLICY = Change(kind="policy", id="pol_1", revision=2, place=2, owner="ann", value=RULE)
BUDGET = Change(kind="budget", id="bud_1", revision=3, place=3, owner="ann", value=LIMIT)
OF_CARD = Change(kind="card", id="card_1", revision=5, place=5, owner="ann", external_id="net\n1", value=CARD)
OF_TOKEN = Change(kind="token", id="tok_1", revision=6, place=6, owner="ann", value=FollowedToken(token=TOKEN))
GONE = Change(kind="policy", id="pol_2", revision=7)


def page(*changes: Change, **fields: object) -> Page:
    made = Page(
        origin="o",
        follower_id="tok_f",
        scope=None,
        from_revision=0,
        to_revision=9,
        head=9,
        time_us=1,
        tenant=PROFILE,
        files_digest="d",
        changes=changes,
    )
    return msgspec.structs.replace(made, **fields)


def test_what_fits_itself_is_let_pass() -> None:
    revoked = told(IDENTITY, external_id=None, value=msgspec.structs.replace(ANN, status="revoked"))
    review_page(page(IDENTITY, POLICY, BUDGET, OF_CARD, OF_TOKEN, GONE))
    review_page(page(revoked, told(OF_CARD, external_id=None, value=msgspec.structs.replace(CARD, external_ref=None))))
    review_page(page(IDENTITY, IDENTITY, is_compacted=True, from_revision=12))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (told(GONE, revision=0), "policy `pol_2` has revision 0, expected 1 to 9"),
        (told(IDENTITY, revision=10), "revision 10, expected 1 to 9"),
        (told(IDENTITY, revision=5), "is told with revision 5, its own is 4"),
        (told(IDENTITY, id="bob"), "another id, owner or external id"),
        (told(IDENTITY, kind="budget"), "another id, owner or external id"),
        (told(IDENTITY, owner="ann"), "another id, owner or external id"),
        (told(IDENTITY, external_id=None), "another id, owner or external id"),
        (told(IDENTITY, place=0), "has the place 0, expected 1 to 4"),
        (told(IDENTITY, place=5), "has the place 5, expected 1 to 4"),
        (told(IDENTITY, id="\n", value=msgspec.structs.replace(ANN, identity_id="\n")), "identity `\n`: "),
        (told(GONE, id="x" * 600), "not an id"),
        (told(BUDGET, value=msgspec.structs.replace(LIMIT, currency="NOT")), "budget `bud_1`: "),
        (told(BUDGET, value=msgspec.structs.replace(LIMIT, currency=None)), "do not go together"),
        (
            told(BUDGET, owner=card_owner("c"), value=msgspec.structs.replace(LIMIT, card_id="c")),
            "neither an identity nor a card, or both",
        ),
        (
            told(BUDGET, value=msgspec.structs.replace(LIMIT, follower_id="tok_f", on_exceeded="suspend")),
            "nobody can be suspended",
        ),
        (told(OF_CARD, value=msgspec.structs.replace(CARD, currency="NOT")), "card `card_1`: "),
        (
            told(OF_TOKEN, value=FollowedToken(token=msgspec.structs.replace(TOKEN, kind="follower"))),
            "the token of a follower",
        ),
    ],
)
def test_what_does_not_fit_itself_is_refused(change: Change, sentence: str) -> None:
    with pytest.raises(FeedRefused) as caught:
        review_page(page(change))
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"follower_id": None}, "is none of a follower"),
        ({"to_revision": 10}, "which is no order"),
        ({"from_revision": 10}, "which is no order"),
        ({"tenant": msgspec.structs.replace(PROFILE, time_zone="Mars/Olympus")}, "the tenant: "),
        (
            {"files": PolicyFiles(schemas=(), shared=(), by_tenant={"t_two": (SourceFile("a", "b"),)})},
            "policy files of another tenant",
        ),
        ({"changes": (GONE, GONE)}, "policy `pol_2` comes twice"),
        ({"outside": ("ann",)}, "what is outside of the whole tenant"),
        ({"mark": AuditMark(3, "A")}, "the end of the log that is told is none"),
        ({"mark": AuditMark(-3, "A" * 43)}, "the end of the log that is told is none"),
        ({"mark": AuditMark(3, "A" * 43), "is_compacted": True, "follower_id": None}, "is none of a follower"),
    ],
)
def test_a_page_that_is_none_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FeedRefused, match=sentence):
        review_page(page(**fields))

"""What does not fit what is there, or would be there, is refused before anything is applied."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.budget import Budget, card_owner
from sidecar.core.cards import Card, ExternalRef
from sidecar.core.directory import Identity
from sidecar.core.feed import Change, FeedRefused, Followed, FollowedToken
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.core.money import Major
from sidecar.service.card_drafts import CardDraft
from sidecar.service.treasury import CardDesk
from tests.service.builders import OPERATOR, World, limit
from tests.service.followers import Follower, followed_digest

AT = 1_000


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    """A follower that is where its control plane is, of an agent with a card, a budget each, and a token."""
    with World(tmp_path / "control") as control:
        control.tenant()
        control.identity("bob", external_id="B")
        control.budget(limit("100", "bob"))
        control.minted("bob")
        desk = CardDesk(control.store, control.treasurer, control.ids)
        draft = CardDraft(
            identity_id="bob", currency="CAD", external_ref=ExternalRef("net", "1"), spend_limit_daily=Major("50")
        )
        control.run(desk.create(OPERATOR, "t_one", draft, None, control.now_us))
        with Follower(tmp_path / "follower", control) as made:
            made.sync()
            before = followed_digest(made)
            yield made
            assert followed_digest(made) == before
            assert made.faults() == []


def stored(follower: Follower, kind: str, number: int = -1) -> Change:
    """A record of a kind, the newest unless told."""
    with follower.look() as part:
        return list(part.feed.all(kind))[number]  # type: ignore[arg-type]


def other(change: Change, value: Followed, **fields: object) -> Change:
    """The same change with another value, of the revision that the page reaches."""
    if not isinstance(value, FollowedToken):
        value = msgspec.structs.replace(value, revision=AT)
    return msgspec.structs.replace(change, value=value, revision=AT, **fields)


def refused(follower: Follower, *changes: Change) -> str:
    """Why a page that tells of changes is refused."""
    page = follower.page()
    with pytest.raises(FeedRefused) as caught:
        follower.take(msgspec.structs.replace(page, to_revision=AT, head=AT, changes=changes))
    return caught.value.message


def identity(key: str, parent: str | None, place: int = AT, **fields: object) -> Change:
    value = Identity(identity_id=key, parent_id=parent, type="agent", name=key, created_at_us=1, revision=AT)
    value = msgspec.structs.replace(value, **fields)
    found_by = value.external_id
    return Change(kind="identity", id=key, revision=AT, place=place, owner=parent, external_id=found_by, value=value)


def gone(change: Change) -> Change:
    return Change(kind=change.kind, id=change.id, revision=AT)


def test_whoever_has_no_parent_is_refused(follower: Follower) -> None:
    assert "`ann` has the parent `nobody`" in refused(follower, identity("ann", "nobody"))
    assert "has no parent, or is the root" in refused(follower, identity("ann", None))
    root = stored(follower, "identity")
    with follower.look() as part:
        found = part.feed.find("identity", "root")
    assert found is not None
    assert isinstance(found.value, Identity)
    below = other(found, msgspec.structs.replace(found.value, parent_id="bob"), owner="bob")
    assert "has no parent, or is the root" in refused(follower, below)
    assert "the root `root` of the tenant is not there" in refused(follower, gone(found))
    assert "identity `bob` is gone" in refused(follower, gone(root))


def test_a_circle_and_a_chain_that_is_too_long_are_refused(follower: Follower) -> None:
    circle = refused(follower, identity("ann", "cat", 998), identity("cat", "ann", 999))
    assert f"has more than {CHAIN_DEPTH_MAX}" in circle
    names = ["root", *(f"n{number}" for number in range(CHAIN_DEPTH_MAX))]
    long = [
        identity(name, above, place) for place, (name, above) in enumerate(zip(names[1:], names, strict=False), 900)
    ]
    assert f"has more than {CHAIN_DEPTH_MAX}" in refused(follower, *long)


@pytest.mark.parametrize("kind", ["policy", "budget", "card", "token"])
def test_what_belongs_to_nobody_is_refused(follower: Follower, kind: str) -> None:
    change = stored(follower, kind, 0 if kind == "budget" else -1)
    value = change.value
    assert value is not None
    if isinstance(value, FollowedToken):
        lost: Followed = FollowedToken(token=msgspec.structs.replace(value.token, identity_id="nobody"))
    else:
        lost = msgspec.structs.replace(value, identity_id="nobody")
    assert "belongs to identity `nobody`, which is not there" in refused(follower, other(change, lost, owner="nobody"))


def test_a_budget_of_no_card_is_refused(follower: Follower) -> None:
    change = stored(follower, "budget", 0)
    assert isinstance(change.value, Budget)
    lost = msgspec.structs.replace(change.value, identity_id=None, card_id="card_x")
    said = refused(follower, other(change, lost, owner=card_owner("card_x")))
    assert "belongs to card `card_x`, which is not there" in said


def test_what_has_something_does_not_go(follower: Follower) -> None:
    """An identity with a policy, a budget, a card, a token or somebody below; a card with a budget."""
    card, of_card, budget = stored(follower, "card"), stored(follower, "budget"), stored(follower, "budget", 0)
    assert "is gone, and" in refused(follower, gone(stored(follower, "identity")))
    assert f"card `{card.id}` is gone, and budget" in refused(follower, gone(card))
    assert isinstance(budget.value, Budget)
    moved = msgspec.structs.replace(budget.value, identity_id=None, card_id=card.id)
    late = refused(follower, gone(card), gone(of_card), other(budget, moved, owner=of_card.owner))
    assert f"belongs to card `{card.id}`, which is not there" in late


def test_a_card_belongs_to_its_network_once(follower: Follower) -> None:
    card = stored(follower, "card")
    assert isinstance(card.value, Card)
    closed = other(card, msgspec.structs.replace(card.value, status="closed"))
    named = msgspec.structs.replace(card.value, card_id="card_2", revision=AT)
    twin = msgspec.structs.replace(closed, id="card_2", place=AT, value=named)
    assert "have one external id" in refused(follower, closed, twin)
    assert f"has the name of `{card.id}`" in refused(follower, twin)


def test_names_and_places_belong_to_one(follower: Follower) -> None:
    """What another record has that stays, and what two of one page claim."""
    bob = stored(follower, "identity")
    ann = identity("ann", "root", external_id="B")
    assert "`ann` has the name of `bob`" in refused(follower, ann)
    both = refused(
        follower, identity("ann", "root", 998, external_id="X"), identity("cat", "root", 999, external_id="X")
    )
    assert both == "identity `ann` and `cat` have one external id"
    assert f"`ann` has the place of `{bob.id}`" in refused(follower, identity("ann", "root", bob.place))
    assert "have one place" in refused(follower, identity("ann", "root"), identity("cat", "root"))
    assert isinstance(bob.value, Identity)
    assert "has the place 1000, it had" in refused(follower, other(bob, bob.value, place=AT))


def test_a_public_part_belongs_to_one_token(follower: Follower) -> None:
    token = stored(follower, "token")
    assert isinstance(token.value, FollowedToken)
    twin = FollowedToken(token=msgspec.structs.replace(token.value.token, token_id="tok_2"))
    assert f"has the public part of `{token.id}`" in refused(follower, other(token, twin, id="tok_2", place=AT))
    again = other(token, token.value)
    assert "have one public part" in refused(follower, again, other(token, twin, id="tok_2", place=AT))

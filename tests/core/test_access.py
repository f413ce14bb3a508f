"""What a caller may do and reach."""

import pytest

from sidecar.core.access import Caller, CallerKind, Token, TokenKind
from sidecar.core.errors import Forbidden, NotFound
from tests.core.builders import CHAIN, ROOT, TEAM

OPERATOR = Caller("operator")


def token(kind: TokenKind, identity_id: str | None = None, expires_at_us: int | None = None) -> Token:
    """A token that may not release."""
    return Token(
        token_id="tok_1",
        key_id="KEY",
        digest=b"",
        prefix="at_live_KEY",
        tenant=1,
        kind=kind,
        name="a token",
        identity_id=identity_id,
        may_release=False,
        created_at_us=0,
        expires_at_us=expires_at_us,
    )


def caller(kind: TokenKind, identity_id: str | None = None) -> Caller:
    """The caller behind a token."""
    return Caller(kind, token(kind, identity_id))


def test_a_token_without_an_end_stays_alive() -> None:
    assert token("agent").is_alive(10**18)


@pytest.mark.parametrize(("now_us", "alive"), [(999, True), (1000, False), (1001, False)])
def test_a_token_is_dead_from_its_end_on(now_us: int, alive: bool) -> None:  # noqa: FBT001 -- a column of the table
    assert token("agent", expires_at_us=1000).is_alive(now_us) is alive


def test_records_name_a_caller_by_the_id_of_its_token() -> None:
    assert OPERATOR.name == "operator"
    assert caller("agent", "bot").name == "tok_1"


@pytest.mark.parametrize(
    ("kind", "administers"), [("operator", True), ("tenant", True), ("agent", False), ("follower", False)]
)
def test_tenant_keys_and_the_operator_administer(kind: CallerKind, administers: bool) -> None:  # noqa: FBT001 -- as above
    who = Caller(kind, None if kind == "operator" else token(kind))
    assert who.may_administer is administers
    if administers:
        who.require_administrator()
    else:
        with pytest.raises(Forbidden, match=f"`{kind}`"):
            who.require_administrator()


def test_the_operator_alone_does_what_is_the_operators() -> None:
    OPERATOR.require_operator()
    with pytest.raises(Forbidden):
        caller("tenant").require_operator()


def test_an_agent_frees_budget_only_when_its_token_says_so() -> None:
    """Or an agent could spend and then free its own budget."""
    releasing = Token(
        token_id="tok_2",
        key_id="KEY",
        digest=b"",
        prefix="at_live_KEY",
        tenant=1,
        kind="agent",
        name="a token",
        identity_id="bot",
        may_release=True,
        created_at_us=0,
        expires_at_us=None,
    )
    assert [OPERATOR.may_free_budget, caller("tenant").may_free_budget] == [True, True]
    assert not caller("agent", "bot").may_free_budget
    assert Caller("agent", releasing).may_free_budget


@pytest.mark.parametrize("who", [OPERATOR, caller("tenant")], ids=lambda who: who.kind)
def test_an_administrator_reaches_the_whole_tenant(who: Caller) -> None:
    who.require_reach(CHAIN)


@pytest.mark.parametrize("kind", ["agent", "follower"])
def test_any_other_caller_without_an_identity_reaches_nobody(kind: TokenKind) -> None:
    assert not caller(kind).reaches(CHAIN)
    assert not Caller(kind).reaches(CHAIN)


@pytest.mark.parametrize("identity_id", ["bot", "team", "boss"])
def test_an_identity_reaches_itself_and_what_is_below_it(identity_id: str) -> None:
    caller("agent", identity_id).require_reach(CHAIN)


@pytest.mark.parametrize("above", [(TEAM, ROOT), (ROOT,)])
def test_what_is_above_or_beside_does_not_exist(above: tuple[object, ...]) -> None:
    reached = tuple(each for each in CHAIN if each in above)
    with pytest.raises(NotFound, match=f"unknown identity `{reached[0].identity_id}`") as caught:
        caller("agent", "bot").require_reach(reached)
    assert caught.value.field == "identity_id"

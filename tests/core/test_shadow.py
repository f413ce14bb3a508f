"""Differences are counted where they belong, and their amounts add up per currency."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.model import Reason, ResourceRef
from sidecar.core.shadow import DROPPED, ERROR, SAME, Difference, Flips, NamedPolicy, Side, Tally, side_of, tally_of

FLIPS = st.builds(
    Flips, st.integers(0, 5), st.dictionaries(st.sampled_from(["CAD", "EUR", "JPY"]), st.integers(0, 10**18))
)
TALLIES = st.builds(Tally, st.integers(0, 5), FLIPS, FLIPS, st.integers(0, 5), st.integers(0, 5))
PERMIT = Side(allowed=True, codes=("permitted",), policies=())
DENIAL = Side(allowed=False, codes=("forbidden",), policies=())


def difference(live: Side, shadow: Side, amount_minor: int | None = 5, currency: str | None = "CAD") -> Difference:
    """A decision that came out otherwise."""
    return Difference(
        decision_id="dec_1",
        seq=1,
        at_us=0,
        identity_id="bot",
        action="act",
        resource=ResourceRef("tool", "x"),
        amount_minor=amount_minor,
        currency=currency,
        live=live,
        shadow=shadow,
        policy_revision="sha256:",
        shadow_revision="sha256:",
    )


def test_a_comparison_counts_in_its_direction_with_its_amount() -> None:
    assert tally_of(None) == SAME
    denied = difference(PERMIT, DENIAL)
    assert denied.direction == "allow_to_deny"
    assert tally_of(denied) == Tally(allow_to_deny=Flips(1, {"CAD": 5}))
    allowed = difference(DENIAL, PERMIT)
    assert allowed.direction == "deny_to_allow"
    assert tally_of(allowed) == Tally(deny_to_allow=Flips(1, {"CAD": 5}))


def test_without_an_amount_it_counts_all_the_same() -> None:
    assert tally_of(difference(PERMIT, DENIAL, None, None)) == Tally(allow_to_deny=Flips(1, {}))


def test_what_was_not_compared_was_not_evaluated() -> None:
    assert [(each.evaluated, each.all) for each in (SAME, ERROR, DROPPED)] == [(1, 1), (0, 1), (0, 1)]


@given(st.lists(TALLIES, max_size=4))
def test_tallies_add_up_in_any_order(tallies: list[Tally]) -> None:
    whole = sum(tallies, Tally())
    assert whole == sum(reversed(tallies), Tally())
    assert whole.all == sum(each.all for each in tallies)
    assert whole.evaluated == sum(each.evaluated for each in tallies)
    sums = [each.allow_to_deny.amounts.get("CAD", 0) for each in tallies]
    assert whole.allow_to_deny.amounts.get("CAD", 0) == sum(sums)
    assert list(whole.allow_to_deny.amounts) == sorted(whole.allow_to_deny.amounts)


def test_a_side_names_each_code_and_each_policy_once() -> None:
    """Reasons that no policy gave, such as a budget's, have a code only."""
    reasons = [
        Reason(verdict="deny", code="forbidden", message="no", policy_id="a", source="a.cedar:1"),
        Reason(verdict="deny", code="forbidden", message="no again", policy_id="a", source="a.cedar:1"),
        Reason(verdict="deny", code="budget_exceeded", message="no money"),
    ]
    side = side_of(reasons, allowed=False)
    assert side == Side(
        allowed=False, codes=("forbidden", "budget_exceeded"), policies=(NamedPolicy("a", "a.cedar:1"),)
    )

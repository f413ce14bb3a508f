"""The index finds exactly the scopes that match, in their order, and looks at no others."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.policy_scope import ANY, Asking, Constraint, EntityUid, Scope
from sidecar.core.scope_index import ScopeIndex, keys_for

TYPES = ("Agent", "Team", "Tool")
UIDS = st.tuples(st.sampled_from(TYPES), st.sampled_from("abc"))
CONSTRAINTS = st.one_of(
    st.just(ANY),
    st.builds(Constraint, type_name=st.sampled_from(TYPES)),
    st.builds(Constraint, equal=UIDS),
    st.builds(
        Constraint,
        type_name=st.none() | st.sampled_from(TYPES),
        within=st.lists(UIDS, max_size=3).map(tuple),
    ),
)
SCOPES = st.lists(st.builds(Scope, CONSTRAINTS, CONSTRAINTS, CONSTRAINTS), max_size=30)
AGENT: EntityUid = ("Agent", "a")


@st.composite
def askings(draw: st.DrawFn) -> Asking:
    """Who asks what, each with some entities above."""
    principal, action, resource = draw(UIDS), draw(UIDS), draw(UIDS)
    above = [frozenset({uid, *draw(st.lists(UIDS, max_size=4))}) for uid in (principal, action, resource)]
    return Asking(principal, action, resource, *above)


@given(SCOPES, askings())
def test_the_candidates_are_those_that_match(scopes: list[Scope], asking: Asking) -> None:
    index = ScopeIndex((scope, ()) for scope in scopes)
    expected = tuple(at for at, scope in enumerate(scopes) if asking.matches(scope))
    assert index.candidates(asking) == expected


@given(st.lists(st.tuples(CONSTRAINTS, st.lists(UIDS, max_size=2)), max_size=10), askings())
def test_what_policies_of_a_principal_look_into_is_known_whatever_they_say_of_action_and_resource(
    written: list[tuple[Constraint, list[EntityUid]]], asking: Asking
) -> None:
    scopes = [(Scope(principal, Constraint(within=()), ANY), reaches) for principal, reaches in written]
    index = ScopeIndex(scopes)
    expected = {entity for scope, reaches in scopes if asking.principal_matches(scope) for entity in reaches}
    assert index.reaches(keys_for(asking.principal, asking.above_principal)) == tuple(sorted(expected))


def test_policies_that_no_resource_of_the_type_can_tell_apart_need_no_further_look_up() -> None:
    """So one answer serves every request of that principal, action and type."""
    of_agent = Scope(Constraint(equal=AGENT))
    on_tools = Scope(resource=Constraint("Tool"))
    of_others = [Scope(Constraint(equal=("Agent", str(number))), resource=Constraint(equal=AGENT)) for number in "bc"]
    index = ScopeIndex((scope, ()) for scope in (of_agent, *of_others, on_tools))
    keys = keys_for(AGENT, [AGENT])
    narrowed = index.narrow(keys, keys_for(("Action", "x"), []), "Tool")
    assert (narrowed.positions, narrowed.buckets) == ((0, 3), ())
    assert narrowed.on(("Tool", "hammer"), []) == (0, 3)
    assert index.narrow(keys, keys_for(("Action", "x"), []), "Team").positions == (0,)

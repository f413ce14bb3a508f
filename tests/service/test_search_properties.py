"""A search finds who and what a dry run would permit: no more, no less, each once, however the pages are cut."""

from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sidecar.core.access import Caller
from sidecar.core.errors import ValidationFailed
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.service.search_plan import Sought
from tests.service.builders import OPERATOR, World, limit
from tests.service.searching import IDENTITY_TYPES, by_asking, files, results, search

TYPES = ("agent", "agent", "agent", "agent", "user", "team")
TOOLS = ("hammer", "saw")

PRINCIPALS = (
    ["principal"] * 3
    + [f"principal is {kind}" for kind in ("Agent", "User")]
    + [f'principal == Agent::"i{n}"' for n in range(1, 10)]
    + [f'principal in {kind}::"i{n}"' for n in range(1, 10) for kind in ("Agent", "Team", "User")]
    + ['principal in User::"root"', 'principal is Agent in User::"root"', 'principal is Agent in Team::"i2"']
)
ACTIONS = (
    *("action", "action", 'action == Action::"call"', 'action in Action::"use"', 'action == Action::"stop"'),
    'action in [Action::"buy", Action::"call"]',
)
RESOURCES = (
    *(["resource"] * 4),
    *("resource is Tool", 'resource == Tool::"hammer"', 'resource == Agent::"i3"', 'resource in User::"root"'),
    *('resource in Agent::"i2"', 'resource is Agent in Team::"i1"', 'resource == Lamp::"red"', "resource is Agent"),
)
CONDITIONS = (
    "",
    "",
    "true",
    "context has hour && context.hour > 11",
    "context has hour && context.hour > 12",
    'context has note && context.note == "please"',
    "principal is Agent",
    "principal is User || context has note",
    'principal is Agent && principal.name == "I3"',
    'principal is Agent && principal.hasTag("color") && principal.getTag("color") == "red"',
    'principal is Agent && principal has external_id && principal in Team::"i1"',
    'resource is Tool && resource.server == "far"',
    'resource is Tool && resource has server && resource.server == "near"',
    'resource is Tool && [Tool::"hammer", Tool::"saw"].contains(resource)',
    "resource is Agent && resource in principal",
    "resource is Agent && resource == principal",
    "resource is Agent && principal in resource",
    'resource is Agent && resource.hasTag("color") && resource.getTag("color") == "red"',
    'if principal in Agent::"i4" then false else context has hour',
    'Agent::"i3" in Team::"i1"',
    'Agent::"i3".hasTag("color") && Agent::"i3".getTag("color") == "red"',
    "context has friend && context.friend in principal",
    'context has friend && context.friend.name == "I2"',
    "context has amount && context.amount + 9223372036854775807 > 0",
    "context has amount && context.amount < 500",
)

NAMING = (
    'permit(principal, action, resource) when { resource is Tool && [Tool::"hammer", Tool::"saw"].contains(resource) };'
)
BROAD = (
    "permit(principal, action, resource);",
    "permit(principal is Agent, action, resource) when { context has hour };",
    'permit(principal in Agent::"i1", action in Action::"use", resource);',
    'permit(principal, action, resource in Agent::"i2");',
    NAMING,
)
"""Policies of which each example has one, so that there is something to find."""

policies = st.builds(
    lambda effect, principal, action, resource, kind, condition: (
        f"{effect}({principal}, {action}, {resource}){f' {kind} {{ {condition} }}' if condition else ''};"
    ),
    st.sampled_from(["permit", "permit", "permit", "forbid"]),
    st.sampled_from(PRINCIPALS),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.sampled_from(["when", "when", "unless"]),
    st.sampled_from(CONDITIONS),
)
trees = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(TYPES), st.booleans()), min_size=5, max_size=9)
asked = st.fixed_dictionaries(
    {
        "identity_id": st.sampled_from(["i1", "i2", "i3", "i1", "i2", "i3", "root", "nobody"]),
        "action": st.sampled_from([*["call"] * 6, "stop", "buy", "use", "fly"]),
        "resource": st.sampled_from(
            [
                *(("tool", "hammer"), ("agent", "i3"), ("tool", "saw"), ("agent", "i1"), ("lamp", "red")),
                *(("agent", "nobody"), ("team", "i2"), ("moon", "luna")),
            ]
        ),
        "context": st.sampled_from([{}, {"note": "please"}, {"friend": {"type": "Agent", "id": "i2"}}]),
        "attributes": st.sampled_from([{}, {}, {"server": "near"}]),
        "amount_minor": st.sampled_from([None, 100, 1_000]),
    }
)


def _request(values: dict[str, Any]) -> AuthorizeRequest:
    resource = ResourceRef(*values["resource"])
    changes: dict[str, Any] = {"resource": resource} | ({} if resource.type == "tool" else {"attributes": {}})
    currency = None if values["amount_minor"] is None else "CAD"
    return AuthorizeRequest(**(values | changes), currency=currency, ttl_seconds=604_800)


def _grow(world: World, tree: list[tuple[int, str, bool]]) -> dict[str, str]:
    """Make a tenant and identities, some tagged; returns their types by their ids."""
    world.found()
    types = {"root": "user"}
    for number, (parent, kind, is_red) in enumerate(tree, start=1):
        names = list(types)
        types[f"i{number}"] = kind
        metadata: dict[str, Any] = {"color": "red"} if is_red else {}
        world.identity(f"i{number}", names[parent % number], type_name=kind, metadata=metadata)
    return types


def _block(world: World, types: dict[str, str], blocked: tuple[int, ...]) -> None:
    for number in blocked:
        if f"i{number}" in types:
            world.revoke(f"i{number}")


@given(
    st.lists(policies, max_size=6),
    st.sampled_from(BROAD),
    trees,
    asked,
    st.sampled_from(["subject", "subject", "resource", "action"]),
    st.sampled_from([*["agent"] * 5, "user", "team", "moon"]),
    st.sampled_from([(), (), (), (3,), (5,)]),
    st.sampled_from([None, None, None, 1, 2]),
    st.booleans(),
    st.integers(1, 4),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_search_finds_what_a_dry_run_would_permit(  # noqa: PLR0913, PLR0917 -- each is drawn by itself
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    broad: str,
    tree: list[tuple[int, str, bool]],
    values: dict[str, Any],
    sought: Sought,
    subject_type: str,
    blocked: tuple[int, ...],
    asker: int | None,
    is_budgeted: bool,  # noqa: FBT001
    size: int,
) -> None:
    with World(tmp_path_factory.mktemp("search"), files=files(broad, *texts)) as world:
        types = _grow(world, tree)
        caller = world.token(f"i{asker}") if f"i{asker}" in types else OPERATOR
        if is_budgeted:
            world.budget(limit("5.00", "i1"))
        _block(world, types, blocked)
        request = _request(values)
        acting = types.get(request.identity_id)
        if sought != "subject" and acting is not None:
            subject_type = acting
        wanted = search(sought, request, subject_type)
        candidates = {
            "subject": [name for name, kind in types.items() if kind == subject_type],
            "resource": _resources(types, request.resource.type, caller, world),
            "action": ["call", "stop", "buy", "use"],
        }[sought]
        expected = by_asking(world, wanted, candidates, caller)
        try:
            found = results(world, wanted, caller, size)
        except ValidationFailed:
            event(f"{sought}: refused")
            assert expected == []
            return
        assert len(set(found)) == len(found)
        if sought == "resource" and request.resource.type == "tool" and broad != NAMING:
            assert set(found) <= set(expected)  # what no policy names cannot be found
        else:
            assert sorted(found) == expected
        event(f"{sought}: {min(len(found), 2)} results")


def _resources(types: dict[str, str], kind: str, caller: Caller, world: World) -> list[str]:
    """Return all resources that a search can know of: what it was told of, and stored identities within reach."""
    if kind not in IDENTITY_TYPES:
        return {"tool": list(TOOLS), "lamp": ["red", "green"]}.get(kind, ["luna"])
    with world.look() as part:
        everybody = {listed.value.identity_id: listed.value for listed in part.identities.all()}

    def within(name: str) -> bool:
        parent = everybody[name].parent_id
        return caller.top in {None, name} or (parent is not None and within(parent))

    return [name for name, each in types.items() if each == kind and within(name)]

"""Two policy sets differ in what their policies mean, policy by policy, and each change says what it may allow."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import PolicyInvalid, ValidationFailed
from sidecar.core.policy_difference import Allowance, PolicyChange, PolicyDifference, compare, read_policies, together
from sidecar.core.snapshot import SourceFile
from tests.core.builders import files

PERMIT = '@id("{}") permit (principal, action, resource) when {{ context.amount <= {} }};'
FORBID = '@id("{}") forbid (principal, action, resource) when {{ context.amount >= {} }};'
TEMPLATE = '@id("t") permit (principal == ?principal, action, resource) when {{ context.amount <= {} }};'


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> PolicyDifference:
    """How two sets differ that are given as texts by path; a path with a folder belongs to a tenant."""
    before, after = (
        files(
            *((f"{top}/{path}", text) for path, text in texts.items() if "/" not in path),
            by_tenant={
                tenant: tuple(
                    SourceFile(f"{top}/{path}", text) for path, text in texts.items() if path.startswith(f"{tenant}/")
                )
                for tenant in sorted({path.partition("/")[0] for path in texts if "/" in path})
            },
        )
        for top, texts in (("one", old), ("other", new))
    )
    return compare(read_policies(before), read_policies(after))


def change(old: str, new: str) -> PolicyChange:
    """The one change between two texts of one file."""
    (found,) = difference({"a.cedar": old}, {"a.cedar": new}).changes
    return found


def parts(found: PolicyChange) -> list[tuple[str, str]]:
    """Which parts a change is of, by kind and name."""
    return [(part.part, part.name) for part in found.parts]


def test_sets_that_are_written_differently_do_not_differ() -> None:
    """Comments, spaces, order, the name of the folder and another line are no difference."""
    old = {"a.cedar": PERMIT.format("a", 1) + FORBID.format("b", 2)}
    new = {
        "a.cedar": "// moved down\n\n"
        + FORBID.format("b", 2)
        + " // why\n"
        + PERMIT.format("a", 1).replace(" when", "\nwhen")
    }
    assert difference(old, new) == PolicyDifference((), 2)
    assert difference(old, new).may_allow == "same"


@pytest.mark.parametrize(
    ("text", "added", "removed"),
    [
        (PERMIT.format("a", 1), "more", "less"),
        (FORBID.format("a", 1), "less", "more"),
        (TEMPLATE.format(1), "same", "same"),
    ],
)
def test_a_policy_that_comes_or_goes_says_what_that_may_allow(text: str, added: Allowance, removed: Allowance) -> None:
    come, gone = change("", text), change(text, "")
    assert (come.kind, come.may_allow, come.old) == ("added", added, None)
    assert (gone.kind, gone.may_allow, gone.new) == ("removed", removed, None)
    assert come.policy == gone.policy
    assert (come.policy.file, come.policy.line) == ("a.cedar", 1)


@pytest.mark.parametrize(
    ("old", "new", "may_allow"),
    [
        (PERMIT.format("a", 1), PERMIT.format("a", 2), "more"),
        (PERMIT.format("a", 2), PERMIT.format("a", 1), "less"),
        (FORBID.format("a", 1), FORBID.format("a", 2), "more"),
        (FORBID.format("a", 2), FORBID.format("a", 1), "less"),
        (PERMIT.format("a", 1), PERMIT.format("a", "context.hour"), "both"),
        (PERMIT.format("a", 1), FORBID.format("a", 1), "less"),
        (FORBID.format("a", 1), PERMIT.format("a", 1), "more"),
        (TEMPLATE.format(1), TEMPLATE.format(2), "same"),
        (TEMPLATE.format(1), PERMIT.format("t", 1), "more"),
        (PERMIT.format("t", 1), TEMPLATE.format(1), "less"),
    ],
)
def test_a_changed_policy_says_what_that_may_allow(old: str, new: str, may_allow: Allowance) -> None:
    found = change(old, new)
    assert (found.kind, found.may_allow) == ("changed", may_allow)


def test_what_changed_is_told_by_part() -> None:
    old = '@id("a") @advice("x") @note("n") @kept("k") permit (principal is User, action, resource) when { context.a };'
    new = '@id("a") @advice("y") @kept("k") @description("d") forbid (principal, action == Action::"x", resource);'
    found = change(old, new)
    assert parts(found) == [
        ("effect", "effect"),
        ("scope", "principal"),
        ("scope", "action"),
        ("conditions", "conditions"),
        ("annotation", "advice"),
        ("annotation", "description"),
        ("annotation", "note"),
    ]
    assert [(part.old, part.new) for part in found.parts[1:]] == [
        ("principal is User", "principal"),
        ("action", 'action == Action::"x"'),
        ("when { context.a };", None),
        ("x", "y"),
        (None, "d"),
        ("n", None),
    ]


def test_annotations_alone_change_no_decision() -> None:
    found = change('@advice("x")' + PERMIT.format("a", 1), PERMIT.format("a", 1))
    assert (found.kind, found.may_allow, parts(found)) == ("changed", "same", [("annotation", "advice")])


def test_conditions_are_compared_line_by_line() -> None:
    lines = [f'context.purpose != "{"x" * 30}{number}"' for number in range(8)]
    old = f"{PERMIT.format('a', 1)[:-3]} && {' && '.join(lines)} }};"
    (part,) = change(old, old.replace("x3", "y3")).parts
    text = 'context.purpose != "' + "x" * 30
    assert part.lines == (
        f'   {text}1" &&',
        f'   {text}2" &&',
        f'-  {text}3" &&',
        f'+  {text[:-1]}y3" &&',
        f'   {text}4" &&',
        f'   {text}5" &&',
    )


def test_the_same_policy_in_another_file_has_moved() -> None:
    text = PERMIT.format("a", 1)
    (found,) = difference({"a.cedar": text}, {"b.cedar": text}).changes
    assert (found.kind, found.may_allow, parts(found)) == ("moved", "same", [("file", "file")])
    assert [(part.old, part.new) for part in found.parts] == [("a.cedar", "b.cedar")]


def test_the_same_policy_with_another_id_is_renamed() -> None:
    found = change(PERMIT.format("a", 1), PERMIT.format("b", 1))
    assert (found.kind, found.may_allow, found.policy.id, parts(found)) == ("renamed", "same", "b", [])
    assert found.old is not None
    assert found.old.id == "a"


def test_a_policy_that_is_given_an_id_is_renamed() -> None:
    found = change(PERMIT.format("a", 1).removeprefix('@id("a")'), PERMIT.format("a", 1))
    assert (found.kind, found.may_allow, found.policy.id) == ("renamed", "same", "a")


def test_another_policy_with_an_id_that_is_taken_over_is_a_change() -> None:
    """The id says which policy it is, even where another one now means what it meant."""
    old = {"a.cedar": PERMIT.format("a", 1) + PERMIT.format("b", 2)}
    new = {"a.cedar": PERMIT.format("a", 2) + PERMIT.format("b", 1)}
    assert [(each.kind, each.policy.id) for each in difference(old, new).changes] == [
        ("changed", "a"),
        ("changed", "b"),
    ]


def test_policies_without_an_id_are_known_by_what_they_mean() -> None:
    """One that is put in front of others changes none of them, though all of them are numbered anew."""
    first, second, third = (PERMIT.format("x", number).removeprefix('@id("x")') for number in (1, 2, 3))
    found = difference({"a.cedar": second + third}, {"a.cedar": first + second + third})
    assert [(each.kind, each.policy.id) for each in found.changes] == [("added", "a.cedar#1")]
    assert found.unchanged == 2
    assert change(first, second).kind == "changed"
    moved = difference({"a.cedar": first}, {"b.cedar": first})
    assert [each.kind for each in moved.changes] == ["moved"]


def test_policies_of_tenants_are_their_own() -> None:
    """The same id may stand in the folders of two tenants, and a change is told with its tenant."""
    text = PERMIT.format("a", 1)
    old = {"t_1/a.cedar": text, "t_2/a.cedar": text}
    (found,) = difference(old, {"t_1/a.cedar": text, "t_2/a.cedar": PERMIT.format("a", 2)}).changes
    assert (found.kind, found.policy.tenant_id, found.policy.file) == ("changed", "t_2", "t_2/a.cedar")
    (gone,) = difference(old, {"t_1/a.cedar": text}).changes
    assert (gone.kind, gone.policy.tenant_id) == ("removed", "t_2")


@pytest.mark.parametrize(
    ("old", "new", "may_allow"),
    [
        ("a.cedar", "t_1/a.cedar", "less"),
        ("t_1/a.cedar", "a.cedar", "more"),
        ("t_1/a.cedar", "t_2/a.cedar", "both"),
    ],
)
def test_a_policy_that_holds_for_others_now_has_changed(old: str, new: str, may_allow: Allowance) -> None:
    text = PERMIT.format("a", 1)
    (found,) = difference({old: text}, {new: text}).changes
    assert (found.kind, found.may_allow) == ("changed", may_allow)
    assert parts(found) == [("tenant", "tenant"), ("file", "file")]


def test_what_may_allow_more_is_told_first() -> None:
    old = {"a.cedar": PERMIT.format("d", 1) + FORBID.format("c", 1) + PERMIT.format("b", 1)}
    new = {"a.cedar": '@advice("x")' + PERMIT.format("b", 1) + PERMIT.format("a", "context.hour")}
    found = difference(old, new)
    assert [(each.policy.id, each.may_allow) for each in found.changes] == [
        ("a", "more"),
        ("c", "more"),
        ("d", "less"),
        ("b", "same"),
    ]
    assert found.may_allow == "both"


def test_changes_that_allow_the_same_add_nothing() -> None:
    assert together([]) == "same"
    assert together(["same", "less"]) == "less"
    assert together(["more", "less"]) == "both"


def test_a_set_that_does_not_parse_is_refused_with_its_place() -> None:
    with pytest.raises(PolicyInvalid, match=r"^one/a.cedar:2:9: "):
        difference({"a.cedar": "\npermit (nobody, action, resource);"}, {})


@pytest.mark.parametrize("other", ["b.cedar", "t_1/b.cedar"])
def test_an_id_that_is_there_twice_is_refused_with_both_places(other: str) -> None:
    with pytest.raises(ValidationFailed, match=f"`a` is there twice, in `a.cedar:1` and `{other}:2`"):
        difference({}, {"a.cedar": PERMIT.format("a", 1), other: "\n" + PERMIT.format("a", 2)})


@pytest.mark.parametrize("bad", ["", r"a`b", r"a\u{1b}b"])
def test_an_id_that_is_none_is_refused(bad: str) -> None:
    with pytest.raises(PolicyInvalid, match=r"^one/a.cedar:1:1: `@id` must be"):
        difference({"a.cedar": PERMIT.format(bad, 1)}, {})


SETS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.sampled_from([PERMIT, FORBID]), st.integers(1, 3)), max_size=6
)


@given(SETS, SETS)
def test_every_policy_is_told_once(old: dict[str, tuple[str, int]], new: dict[str, tuple[str, int]]) -> None:
    """Each policy of both sets is in exactly one change or unchanged, and back again more is less."""
    before, after = ("".join(text.format(name, bound) for name, (text, bound) in each.items()) for each in (old, new))
    there = difference({"a.cedar": before}, {"a.cedar": after})
    assert sorted(each.old.id for each in there.changes if each.old) == sorted(
        name for name in old if new.get(name) != old[name]
    )
    assert sorted(each.new.id for each in there.changes if each.new) == sorted(
        name for name in new if new[name] != old.get(name)
    )
    assert there.unchanged == sum(new.get(name) == told for name, told in old.items())
    back = difference({"a.cedar": after}, {"a.cedar": before})
    swapped = {"more": "less", "less": "more"}
    assert swapped.get(there.may_allow, there.may_allow) == back.may_allow

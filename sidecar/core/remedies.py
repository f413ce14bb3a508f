"""What the validator's complaints mean, and what to write instead.

Cedar's sentences are kept, because people search for them; here they get the code of a rule, and a hint where the
schema or the text itself shows what would be right.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Final, TypeAlias

from sidecar.core.condition_text import Path, paths
from sidecar.core.literals import quote
from sidecar.core.policy_scope import Scope
from sidecar.core.policy_unit import Effect
from sidecar.core.schema import SchemaModel

Remedy: TypeAlias = tuple[str, str | None]
"""The code of a rule and a hint."""

_WHERE: Final = re.compile(r'(in context for |on entity type )(?:Action::"([^"]*)"|`([^`]*)`)')
_NAMED: Final = re.compile(r'Action::"([^"]*)"|`([^`]*)`')
_OPTIONAL: Final = re.compile(r"unable to guarantee safety of access to optional attribute `([^`]+)`")
_TAG: Final = re.compile(r"unable to guarantee safety of access to tag `([^`]+)`")
_ATTRIBUTE: Final = re.compile(r"attribute `([^`]+)` .*not found")
_TYPE: Final = re.compile(r"unrecognized entity type `([^`]+)`")
_ACTION: Final = re.compile(r'unrecognized action `Action::"([^`]*)"`')
_SCOPE: Final = re.compile("unable to find an applicable action given the policy scope constraints")
_LISTED_MAX: Final = 3

_FAIL_OPEN: Final = "in plain Cedar a `forbid` that errors is skipped and so fails open, here it denies everybody"
_DENIES: Final = "a policy that errors denies the request here, whatever other policies permit"


def stem(message: str) -> str:
    """Return the beginning of a complaint, up to the action or type that it is about."""
    where = _WHERE.search(message)
    return message if where is None else message[: where.start()]


def folded(messages: Iterable[str]) -> list[str]:
    """Return complaints that differ only in the action or type they are about as one, which lists these."""
    groups: dict[tuple[str, str], list[str]] = {}
    for message in sorted(set(messages)):
        where = _WHERE.search(message)
        key = (message, "") if where is None else (message[: where.end(1)], message[where.end() :])
        groups.setdefault(key, []).append("" if where is None else message[where.end(1) : where.end()])
    return [before + _listed(places) + behind for (before, behind), places in groups.items()]


def _listed(places: Sequence[str]) -> str:
    more = len(places) - _LISTED_MAX
    return ", ".join(places[:_LISTED_MAX]) + (f" and {more} more" if more > 0 else "")


def without_consequences(messages: Sequence[str]) -> list[str]:
    """Return complaints without the one that a scope matches nothing where an unknown name in it is why."""
    unknown = any(_TYPE.search(message) or _ACTION.search(message) for message in messages)
    return [message for message in messages if not (unknown and _SCOPE.search(message))]


def remedy(message: str, part: str, head: tuple[Effect, Scope], model: SchemaModel) -> Remedy:
    """Return the rule that the validator's ``message`` breaks, and a hint.

    ``part`` is the text that it is about, ``head`` the effect and scope of the policy.
    """
    effect, scope = head
    known: list[tuple[re.Pattern[str], Callable[[re.Match[str]], Remedy]]] = [
        (_OPTIONAL, lambda found: ("unguarded_attribute", _guard(found[1], part, effect))),
        (_TAG, lambda found: ("unguarded_tag", _tag_guard(found[1], part, effect))),
        (_ATTRIBUTE, lambda found: ("unknown_name", _nearest(found[1], _attributes(message, model)))),
        (_TYPE, lambda found: ("unknown_name", _nearest(found[1], model.entity_types))),
        (_ACTION, lambda found: ("unknown_name", _nearest(found[1], model.actions))),
        (_SCOPE, lambda _: ("impossible_scope", _applicable(scope, model))),
    ]
    return next((say(found) for pattern, say in known if (found := pattern.search(message))), ("type_error", None))


def _guard(name: str, part: str, effect: Effect) -> str:
    steps = tuple(name.split("."))
    owners = (_owner(path, steps) for path in paths(part))
    owner = next((each for each in owners if each is not None), "…")
    written = name if all(step.isidentifier() for step in steps) else quote(name)
    return f"write `{owner} has {written} && …` before it; {_consequence(effect)}"


def _owner(path: Path, steps: tuple[str, ...]) -> str | None:
    """Return the expression of which ``path`` reads the attributes ``steps``; None where it does not."""
    begins = (begin for begin in range(len(path.attributes)) if path.attributes[begin : begin + len(steps)] == steps)
    begin = next(begins, None)
    return None if begin is None else ".".join([path.root, *path.attributes[:begin]])


def _tag_guard(tag: str, part: str, effect: Effect) -> str:
    readers = (path for path in paths(part) if path.tag is not None)
    base = next((".".join([path.root, *path.attributes]) for path in readers), "…")
    return f"write `{base}.hasTag({tag}) && …` before it; {_consequence(effect)}"


def _consequence(effect: Effect) -> str:
    return _FAIL_OPEN if effect == "forbid" else _DENIES


def _attributes(message: str, model: SchemaModel) -> list[str]:
    """Return the attributes of the contexts and types that a complaint is about."""
    where = _WHERE.search(message)
    names: dict[str, None] = {}
    for action, entity in _NAMED.findall(message[where.start() :]) if where is not None else ():
        owner = model.actions[action].context if action else model.entity_types[entity].attributes
        names.update(dict.fromkeys(owner.fields))
    return list(names)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return "known are " + ", ".join(f"`{each}`" for each in names) if names else None


def _applicable(scope: Scope, model: SchemaModel) -> str | None:
    """Return what the actions that a scope names do apply to."""
    equal = scope.action.equal
    if equal is not None and not model.actions[equal[1]].can_be_asked:
        return f'`{equal[1]}` is a group of actions: write `action in Action::"{equal[1]}"`'
    names = [member for _, name in scope.action.named for member in model.members(name)]
    lines = [
        f"`{name}` is for principals {_types(model.actions[name].principals)} "
        f"and resources {_types(model.actions[name].resources)}"
        for name in dict.fromkeys(names)
    ]
    return "; ".join(lines[:_LISTED_MAX]) or None


def _types(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))

"""What the policies that reach an identity name: the values at which a denied request might be permitted.

Hints are guesses read from text. Whether any of them is any good is for ``sidecar.core.nearest`` to try.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from sidecar.core.condition_text import Path, conditions, literals, paths
from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import snake_case
from sidecar.core.model import ResourceRef
from sidecar.core.policy_set import Entry
from sidecar.core.schema import SchemaModel

_CATEGORY_DIGITS: Final = 4


class Hints(msgspec.Struct, frozen=True):
    """What the policies that reach an identity name. ``hours`` are full hours at which a rule about time may turn."""

    amounts: tuple[int, ...] = ()
    currencies: tuple[str, ...] = ()
    merchant_categories: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    resources: tuple[ResourceRef, ...] = ()
    hours: frozenset[int] = frozenset()


def hints(entries: Iterable[Entry], schema: SchemaModel) -> Hints:
    """Return what ``entries`` name, in their order."""
    amounts: dict[int, None] = {}
    currencies: dict[str, None] = {}
    categories: dict[str, None] = {}
    actions: dict[str, None] = {}
    entities: dict[tuple[str, str], None] = {}
    hours = set[int]()
    for entry in entries:
        if entry.unit.effect == "permit":
            for _, name in entry.scope.action.named:
                actions.update(dict.fromkeys(schema.members(name)))
            entities.update(dict.fromkeys(entry.scope.resource.named))
        for piece in conditions(entry.unit.text):
            named, seen = literals(piece.text), _seen(paths(piece.text))
            if "amount" in seen:
                amounts.update(dict.fromkeys(named.numbers))
            if "currency" in seen:
                currencies.update((text, None) for text in named.texts if _is_currency(text))
            if "merchant_category" in seen:
                categories.update((text, None) for text in named.texts if _is_category(text))
            if not seen.isdisjoint({"hour", "weekday", "now"}):
                hours |= {0, *(number for number in named.numbers if number < 24)}  # noqa: PLR2004 -- hours of a day
            if "resource" in seen:
                entities.update(dict.fromkeys(named.entities))
    return Hints(
        tuple(amounts),
        tuple(currencies),
        tuple(categories),
        tuple(actions),
        _resources(entities, schema),
        frozenset(hours),
    )


def _seen(looked: Iterable[Path]) -> set[str]:
    """Return the first attributes of the context that are looked at, and ``resource`` where that itself is."""
    found = set[str]()
    for path in looked:
        if path.root == "context":
            found.add(path.attributes[0])
        elif path.root == "resource":
            # Its category comes from the request too.
            found.add(path.attributes[0] if path.attributes else "resource")
    return found


def _is_currency(text: str) -> bool:
    try:
        places(text, "")
    except ValidationFailed:
        return False
    return True


def _is_category(text: str) -> bool:
    return len(text) == _CATEGORY_DIGITS and text.isascii() and text.isdigit()


def _resources(entities: Iterable[tuple[str, str]], schema: SchemaModel) -> tuple[ResourceRef, ...]:
    """Return those that a request can name without an identity being looked up."""
    named = ((snake_case(kind), entity_id) for kind, entity_id in entities if kind not in schema.identity_types)
    return tuple(ResourceRef(kind, entity_id) for kind, entity_id in named if kind is not None)

"""What a tenant lets the callers of AuthZEN say about entities, and what it tells them beside a verdict.

A property in a request takes part in the decision only where its name is allowed here, since whoever asks could
otherwise claim any role. Nothing is allowed unless it is said.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.model import check_key

NAMES_MAX: Final = 64
"""Names in one list; a property more is a tag or an attribute more that a policy reads."""

NAME_LENGTH_MAX: Final = 128


class Authzen(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one tenant.

    ``subject_properties`` and ``resource_properties`` name the properties that take part; ``item_context`` says that
    each answer of several has its context as well.
    """

    subject_properties: tuple[str, ...] = ()
    resource_properties: tuple[str, ...] = ()
    item_context: bool = False


def told_of(settings: Authzen) -> dict[str, object]:
    """Return what a record tells of the settings."""
    return {
        "subject_properties": settings.subject_properties,
        "resource_properties": settings.resource_properties,
        "item_context": settings.item_context,
    }


def check_names(names: Iterable[str], field: str) -> tuple[str, ...]:
    """Return names of properties, each once and in their order.

    Raises ValidationFailed, naming the place, for one that is empty, too long, not printable or read by Cedar as a
    call, and for too many.
    """
    checked = tuple(dict.fromkeys(names))
    if len(checked) > NAMES_MAX:
        raise ValidationFailed(f"at most {NAMES_MAX} names", field=field)
    for index, name in enumerate(checked):
        if not (0 < len(name) <= NAME_LENGTH_MAX and name.isprintable()):
            raise ValidationFailed(
                f"the name of a property has 1 to {NAME_LENGTH_MAX} printable characters", field=f"{field}[{index}]"
            )
        check_key(name, field)
    return checked

"""From the parts of a question to a draft: the amounts that budgets count are taken from where callers put them.

A field that the native request has beside its resource (``OWN``) is taken from the properties of the resource, else
from those of the action, else from the context. What is left of the action's properties is ``action`` in the context;
as natively, what the schema does not declare is refused by name.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec

from sidecar.core.errors import NotFound, SidecarError, ValidationFailed
from sidecar.core.grammar import CardId, Currency, MerchantCategory, Quantities
from sidecar.core.ids import check_action, check_type
from sidecar.core.money import Major
from sidecar.doors.authzen.shapes import Action, Resource, Subject, read
from sidecar.doors.native import drafts
from sidecar.doors.native.shapes import AuthorizeBody, ResourceBody
from sidecar.service.evaluations import Evaluation

OWN: Final = ("amount", "currency", "merchant_category", "quantities")
"""Fields that budgets and policies know by these names, wherever the caller has them."""

PLACES: Final[Mapping[str, str]] = {
    "identity_id": "subject.id",
    "card_id": "resource.properties.card_id",
    **{f"resource.{name}": f"resource.properties.{name}" for name in OWN},
    "resource.attributes": "resource.properties",
}
"""What this door calls the places of the native request."""


class _Own(msgspec.Struct, frozen=True):
    """The fields of ``OWN``, and the card, as they are given in one place."""

    amount: Major | None = None
    currency: Currency | None = None
    merchant_category: MerchantCategory | None = None
    quantities: Quantities | None = None
    card_id: CardId | None = None


def evaluation(subject: Subject, action: Action, resource: Resource, context: Mapping[str, object]) -> Evaluation:
    """Return the draft of a question.

    Raises NotFound for an action or a type of resource whose name none can have, ValidationFailed naming the place of
    anything else that does not pass its grammar.
    """
    with called():
        _require_possible(action.name, resource.type)
        own, rest = _own(resource.properties, action.properties, context)
        request = drafts.authorize(
            AuthorizeBody(
                identity_id=subject.id,
                action=action.name,
                resource=ResourceBody(
                    type=resource.type,
                    id=resource.id,
                    amount=own.amount,
                    currency=own.currency,
                    merchant_category=own.merchant_category,
                    quantities=own.quantities or {},
                ),
                card_id=own.card_id,
                context=rest,
            )
        )
    return Evaluation(subject.type, request, subject.properties, _without(resource.properties, (*OWN, "card_id")))


@contextmanager
def called() -> Iterator[None]:
    """Name the place of a mistake as the callers of this door know it."""
    try:
        yield
    except SidecarError as error:
        error.field = place_of(error.field)
        raise


def place_of(field: str | None) -> str | None:
    """Return what this door calls a place of the native request."""
    for native, here in PLACES.items():
        if field is not None and (field == native or field.startswith(f"{native}.")):
            return here + field[len(native) :]
    return field


def _require_possible(action: str, resource_type: str) -> None:
    """Raise NotFound for names that no schema can declare."""
    try:
        check_action(action, "action.name")
        check_type(resource_type, "resource.type")
    except ValidationFailed as error:
        raise NotFound(error.message, field=error.field) from None


def _own(
    resource: Mapping[str, object], action: Mapping[str, object], context: Mapping[str, object]
) -> tuple[_Own, dict[str, object]]:
    """Return the sidecar's own fields, and the context without them. Raises ValidationFailed where two differ."""
    card, found = ("card_id",), dict[str, tuple[object, str]]()
    sources = (
        (resource, "resource.properties", OWN + card),
        (action, "action.properties", OWN + card),
        (context, "context", OWN),
    )
    for values, place, names in sources:
        given = {name: values[name] for name in names if name in values}
        if given:
            _add(found, read(given, _Own, place), place)
    rest = _without(context, OWN)
    left = _without(action, OWN + card)
    if left and rest.setdefault("action", left) != left:
        message = "`action` has two different values, in `action.properties` and in `context`"
        raise ValidationFailed(message, field="context.action")
    return msgspec.structs.replace(_Own(), **{name: value for name, (value, _) in found.items()}), rest


def _add(found: dict[str, tuple[object, str]], given: _Own, place: str) -> None:
    for name, value in msgspec.structs.asdict(given).items():
        if value is None:
            continue
        before, where = found.setdefault(name, (value, place))
        if before != value:
            raise ValidationFailed(f"`{name}` has two different values, in `{where}` and in `{place}`", field=place)


def _without(values: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in names}

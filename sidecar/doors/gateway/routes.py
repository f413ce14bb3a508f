"""Routes of a mapping: which requests they match, and which question such a request is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

import msgspec

from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.ids import check_action, check_name, check_type
from sidecar.core.limits import QUANTITIES_MAX
from sidecar.doors.gateway.patterns import HostPattern, PathPattern, host_pattern, path_pattern
from sidecar.doors.gateway.templates import Template, parse
from sidecar.doors.gateway.values import Value, check_names, value_of

METHOD_LENGTH_MAX: Final = 32
"""The longest registered method has 17 characters."""

Settling: TypeAlias = Literal["at_once", "later"]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of which every key is known."""


class _Match(Strict, frozen=True):
    path: str
    methods: list[str] | None = None
    host: str | None = None


class _Resource(Strict, frozen=True):
    type: str
    id: str
    attributes: dict[str, object] = {}


class RouteTable(Strict, frozen=True):
    """A route as a mapping writes it."""

    match: _Match
    name: str | None = None
    public: bool = False
    action: str | None = None
    resource: _Resource | None = None
    context: dict[str, object] = {}
    merchant_category: str | None = None
    card_id: str | None = None
    amount: str | None = None
    currency: str | None = None
    quantities: dict[str, str] = {}
    settle: Settling | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a route asks. ``amount`` and ``currency`` are both there or neither."""

    action: Template
    resource_type: str
    resource_id: Template
    attributes: Mapping[str, Value]
    context: Mapping[str, Value]
    merchant_category: Template | None
    card_id: Template | None
    amount: Template | None
    currency: Template | None
    quantities: Mapping[str, Template]
    settling: Settling

    @property
    def reserves(self) -> bool:
        """Whether its permits hold an amount or quantities."""
        return self.amount is not None or bool(self.quantities)

    @property
    def shown(self) -> Iterator[Template | Value]:
        """Everything in it that a request fills."""
        further = (self.merchant_category, self.card_id, self.amount, self.currency)
        yield self.action
        yield self.resource_id
        yield from self.attributes.values()
        yield from self.context.values()
        yield from self.quantities.values()
        yield from (each for each in further if each is not None)


class Route(msgspec.Struct, frozen=True):
    """Requests of ``methods`` (None for all) to a path, at a host where one is named.

    ``question`` is None where they pass without one.
    """

    name: str
    methods: frozenset[str] | None
    host: HostPattern | None
    path: PathPattern
    question: Question | None


def read_route(written: RouteTable, place: str) -> Route:
    """Return the route that ``written`` is. Raises ConfigurationInvalid, naming the place below ``place``."""
    with at(f"{place}.match.path"):
        path = path_pattern(written.match.path)
    with at(f"{place}.match.host"):
        host = None if written.match.host is None else host_pattern(written.match.host)
    methods = written.match.methods
    if methods is not None and (not methods or not all(is_method(each) for each in methods)):
        raise ConfigurationInvalid(f"{place}.match.methods: expected methods in upper case, such as `GET`")
    with at(f"{place}.name"):
        name = f"routes[{place.rpartition('[')[2]}" if written.name is None else check_name(written.name, "name")
    question = None
    if written.public:
        _require_nothing_asked(written, place)
    else:
        question = _question(written, path.names, place)
    return Route(name, None if methods is None else frozenset(methods), host, path, question)


def is_method(text: str) -> bool:
    """Whether a method can be named in a mapping: the usual ones are, and readers agree on them."""
    return text.isascii() and text.replace("-", "").isalpha() and text.isupper() and len(text) <= METHOD_LENGTH_MAX


def _require_nothing_asked(written: RouteTable, place: str) -> None:
    """Raise ConfigurationInvalid for a public route that asks something all the same."""
    if msgspec.structs.replace(written, match=_Match("/"), name=None) != RouteTable(_Match("/"), public=True):
        raise ConfigurationInvalid(f"{place}: a public route asks nothing and has only `match` and `name`")


def _question(written: RouteTable, captures: frozenset[str], place: str) -> Question:
    if written.action is None or written.resource is None:
        missing = "action" if written.action is None else "resource"
        raise ConfigurationInvalid(f"{place}: `{missing}` is missing; a route that asks nothing is `public = true`")
    if (written.amount is None) != (written.currency is None):
        missing = "currency" if written.currency is None else "amount"
        raise ConfigurationInvalid(f"{place}.{missing}: an amount and its currency are given together")
    resource = written.resource
    with at(f"{place}.resource.type"):
        check_type(resource.type, "type")
    with at(f"{place}.quantities"):
        _check_quantities(written.quantities)

    def template(text: str, key: str) -> Template:
        with at(f"{place}.{key}"):
            return parse(text, captures)

    def maybe(text: str | None, key: str) -> Template | None:
        return None if text is None else template(text, key)

    action = template(written.action, "action")
    if not action.places:
        with at(f"{place}.action"):
            check_action(written.action, "action")
    question = Question(
        action=action,
        resource_type=resource.type,
        resource_id=template(resource.id, "resource.id"),
        attributes=_values(resource.attributes, captures, f"{place}.resource.attributes"),
        context=_values(written.context, captures, f"{place}.context"),
        merchant_category=maybe(written.merchant_category, "merchant_category"),
        card_id=maybe(written.card_id, "card_id"),
        amount=maybe(written.amount, "amount"),
        currency=maybe(written.currency, "currency"),
        quantities={name: template(text, f"quantities.{name}") for name, text in written.quantities.items()},
        settling="at_once" if written.settle is None else written.settle,
    )
    if written.settle is not None and not question.reserves:
        raise ConfigurationInvalid(f"{place}.settle: the route has neither an amount nor quantities")
    return question


def _check_quantities(written: Mapping[str, str]) -> None:
    if len(written) > QUANTITIES_MAX:
        raise ValueError(f"at most {QUANTITIES_MAX} quantities")
    for name in written:
        check_type(name, "quantities")
        if name in {"amount", "count"}:
            raise ValueError(f"`{name}` is no quantity")


def _values(written: Mapping[str, object], captures: frozenset[str], place: str) -> dict[str, Value]:
    with at(place):
        check_names(written)
    found = {}
    for name, value in written.items():
        with at(f"{place}.{name}"):
            found[name] = value_of(value, captures)
    return found


@contextmanager
def at(place: str) -> Iterator[None]:
    """Say at which place of the file a mistake is."""
    try:
        yield
    except (ValidationFailed, ValueError) as error:
        raise ConfigurationInvalid(f"{place}: {error}") from None

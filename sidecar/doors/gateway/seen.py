"""What a proxy saw of a request, and the question that the mapping makes of it. Pure, and the same for every proxy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from sidecar.core.currencies import places
from sidecar.core.errors import Forbidden, Unauthenticated, ValidationFailed
from sidecar.core.ids import check_action, check_caller_id, check_name
from sidecar.core.limits import RESERVATION_TTL_SECONDS_DEFAULT
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.money import Major
from sidecar.doors.gateway.mapping import HttpMapping, IdentitySource
from sidecar.doors.gateway.paths import host_of, segments_of
from sidecar.doors.gateway.routes import Question, Route, is_method
from sidecar.doors.gateway.templates import HEADER, HOST, METHOD, PATH, Template
from sidecar.doors.gateway.values import values_of

HEADER_BYTES_MAX: Final = 8192
"""A value of a header that is read; no id, amount or attribute needs a tenth of it."""

MERCHANT_CATEGORY_LENGTH: Final = 4


class SeenRequest(msgspec.Struct, frozen=True):
    """A request as a proxy tells of it: ``target`` is the path as it was written, with its query.

    ``host`` is None where the proxy does not say. ``headers`` are those of the mapping, by names in lower case; doors
    get them from ``read_headers``.
    """

    method: str
    host: str | None
    target: str
    headers: Mapping[str, str]


class Asked(msgspec.Struct, frozen=True):
    """What a request asks: ``identity`` as the proxy named it, None where it is the token's.

    ``request`` is None where the route is public. Its ``identity_id`` is empty: who asks is found out by the service.
    """

    route: Route
    identity: str | None = None
    request: AuthorizeRequest | None = None

    @property
    def settles_at_once(self) -> bool:
        """Whether what a permit holds is settled with it."""
        question = self.route.question
        return question is not None and question.reserves and question.settling == "at_once"


def read_headers(names: frozenset[str], every: Callable[[str], Sequence[bytes]]) -> dict[str, str]:
    """Return the headers of ``names`` that came; ``every`` gives all values of one.

    Raises ValidationFailed for one that came twice (of two, the proxy may mean the one and this door read the other),
    that is too long, or that has other than printable ASCII characters.
    """
    found = {}
    for name in names:
        values = every(name)
        if values:
            found[name] = single(name, values)
    return found


def single(name: str, values: Sequence[bytes]) -> str:
    """Return the one value of a header. Raises ValidationFailed as ``read_headers`` does."""
    if len(values) > 1:
        raise ValidationFailed(f"the header `{name}` is given twice", field=name)
    value = values[0]
    if len(value) > HEADER_BYTES_MAX:
        raise ValidationFailed(f"the header `{name}` is over {HEADER_BYTES_MAX} bytes", field=name)
    if not value.isascii() or not (text := value.decode("ascii")).isprintable():
        raise ValidationFailed(f"the header `{name}` has other than printable ASCII characters", field=name)
    return text


def is_public(mapping: HttpMapping, seen: SeenRequest) -> bool:
    """Whether a request passes without a question, and so without a token. One that cannot be read does not."""
    if all(route.question is not None for route in mapping.routes):
        return False
    try:
        return route_of(mapping, seen).question is None
    except (Forbidden, ValidationFailed):
        return False


def route_of(mapping: HttpMapping, seen: SeenRequest) -> Route:
    """Return the route of ``seen``. Raises Forbidden where none matches, ValidationFailed as ``draft`` does."""
    return _routed(mapping, seen)[0]


def draft(mapping: HttpMapping, seen: SeenRequest) -> Asked:
    """Return what ``seen`` asks.

    Raises Forbidden where no route matches, Unauthenticated where the proxy names no identity, ValidationFailed where
    a part of the request cannot be read in exactly one way or does not pass its grammar.
    """
    route, values = _routed(mapping, seen)
    if route.question is None:
        return Asked(route)
    values |= {f"{HEADER}{name}": value for name, value in seen.headers.items()}
    return Asked(route, _identity(mapping.identity, seen.headers), _request(route.question, values))


def _routed(mapping: HttpMapping, seen: SeenRequest) -> tuple[Route, dict[str, str]]:
    """Return the route of a request, and what fills the places of its templates but headers."""
    if not is_method(seen.method):
        raise ValidationFailed("the method cannot be read", field="method")
    path, host = segments_of(seen.target), None
    if mapping.needs_host:
        if seen.host is None:
            raise ValidationFailed("the proxy does not say which host was asked, and routes depend on it", field="host")
        host = host_of(seen.host)
    for route in mapping.routes:
        if route.methods is not None and seen.method not in route.methods:
            continue
        if route.host is not None and (host is None or not route.host.match(host)):
            continue
        captured = route.path.match(path)
        if captured is not None:
            values = captured | {METHOD: seen.method, PATH: f"/{'/'.join(path)}"}
            return route, values if host is None else values | {HOST: host}
    raise Forbidden("no route of the mapping matches this request, so it is not let through")


def _identity(source: IdentitySource, headers: Mapping[str, str]) -> str | None:
    if source.is_token:
        return None
    named = headers.get(source.header)
    if not named:
        raise Unauthenticated(f"the header `{source.header}`, in which the proxy names who asks, is missing")
    return check_name(named, source.header) if source.is_external else check_caller_id(named, source.header)


def _request(question: Question, values: Mapping[str, str]) -> AuthorizeRequest:
    amount_minor = currency = None
    if question.amount is not None and question.currency is not None:
        currency = _text(question.currency, values, "resource.currency")
        places(currency, "resource.currency")  # names its own field; `minor` would name the amount's
        amount_minor = _major(question.amount, values, "resource.amount").minor(currency, "resource.amount")
    category, card_id = question.merchant_category, question.card_id
    resource_id = check_name(_text(question.resource_id, values, "resource.id"), "resource.id")
    return AuthorizeRequest(
        identity_id="",
        action=check_action(_text(question.action, values, "action"), "action"),
        resource=ResourceRef(question.resource_type, resource_id),
        amount_minor=amount_minor,
        currency=currency,
        merchant_category=None if category is None else _category(_text(category, values, "merchant_category")),
        quantities={
            name: _major(template, values, f"quantities.{name}").integer(f"quantities.{name}")
            for name, template in question.quantities.items()
        },
        attributes=values_of(question.attributes, values, "resource.attributes"),
        context=values_of(question.context, values, "context"),
        card_id=None if card_id is None else check_caller_id(_text(card_id, values, "card_id"), "card_id"),
        ttl_seconds=RESERVATION_TTL_SECONDS_DEFAULT,
    )


def _text(template: Template, values: Mapping[str, str], field: str) -> str:
    text = template.fill(values)
    if text is None:
        raise ValidationFailed("a header that it is read from is missing", field=field)
    return text


def _major(template: Template, values: Mapping[str, str], field: str) -> Major:
    try:
        return Major(_text(template, values, field))
    except ValueError as error:
        raise ValidationFailed(str(error), field=field) from None


def _category(value: str) -> str:
    if not (len(value) == MERCHANT_CATEGORY_LENGTH and value.isascii() and value.isdigit()):
        raise ValidationFailed("a merchant category has four digits (ISO 18245)", field="merchant_category")
    return value

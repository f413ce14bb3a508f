"""The table ``http`` of a mapping file: which question a request at a proxy is, read strictly when the server starts.

Routes are tried in their order and the first that matches is the request's; what none matches is not let through.
"""

from collections.abc import Mapping
from typing import Final, Literal, Self, TypeAlias

import msgspec

from sidecar.core.errors import ConfigurationInvalid, SidecarError
from sidecar.doors.gateway.routes import Route, RouteTable, Strict, read_route
from sidecar.doors.gateway.templates import HOST, is_header
from sidecar.doors.wire.typed import convert

ROUTES_MAX: Final = 1_000
"""They are tried one after the other: some 0.2 ms for a request that only the last one matches."""

AUTHORIZATION: Final = "authorization"
CREDENTIAL_HEADER: Final = "x-sidecar-authorization"
IDENTITY_HEADER: Final = "x-agent-id"

Names: TypeAlias = Literal["original", "forwarded"]


class _Identity(Strict, frozen=True):
    origin: Literal["header", "token"] = msgspec.field(name="from")
    header: str | None = None
    external_id: bool = False


class _ForwardAuth(Strict, frozen=True):
    headers: Names | None = None


class _Http(Strict, frozen=True):
    identity: _Identity
    credential_header: str | None = None
    forward_auth: _ForwardAuth = _ForwardAuth()
    routes: tuple[RouteTable, ...] = ()


class IdentitySource(msgspec.Struct, frozen=True):
    """Who asks: the identity of the token in ``header``, or the one that a trusted proxy names in ``header``.

    ``is_external`` says that the proxy names it by its external id.
    """

    is_token: bool
    header: str
    is_external: bool = False


class HttpMapping(msgspec.Struct, frozen=True):
    """What a proxy's requests mean.

    ``credential_header`` has the token of the proxy, or that of the agent where it is the identity. ``headers`` are all
    that are read for identity and questions; each may come once. ``needs_host`` says that a route looks at the host.
    ``names`` are the headers that tell a forward-auth door of the request, None for the one set that is there.
    """

    identity: IdentitySource
    credential_header: str
    routes: tuple[Route, ...]
    headers: frozenset[str]
    needs_host: bool
    names: Names | None = None

    @classmethod
    def read(cls, table: Mapping[str, object]) -> Self:
        """Return the mapping that a table writes; an empty table lets nothing through.

        Raises ConfigurationInvalid, naming the place.
        """
        if not table:
            source = IdentitySource(is_token=True, header=AUTHORIZATION)
            return cls(source, AUTHORIZATION, (), frozenset(), needs_host=False)
        try:
            written = convert(table, _Http)
        except SidecarError as error:
            place = "http" if error.field is None else f"http.{error.field}"
            raise ConfigurationInvalid(f"{place}: {error.message}") from None
        source = _source(written.identity)
        if len(written.routes) > ROUTES_MAX:
            raise ConfigurationInvalid(f"http.routes: {len(written.routes)} routes, expected at most {ROUTES_MAX}")
        routes = tuple([read_route(route, f"http.routes[{index}]") for index, route in enumerate(written.routes)])
        questions = [route.question for route in routes if route.question is not None]
        shown = [each for question in questions for each in question.shown]
        headers = frozenset[str]().union(*(each.headers for each in shown))
        return cls(
            source,
            _credential_header(written, source),
            routes,
            headers if source.is_token else headers | {source.header},
            any(route.host is not None for route in routes) or any(HOST in each.places for each in shown),
            written.forward_auth.headers,
        )


def _source(written: _Identity) -> IdentitySource:
    is_token = written.origin == "token"
    if is_token and written.external_id:
        raise ConfigurationInvalid("http.identity.external_id: a token has one identity; only headers name others")
    header = (AUTHORIZATION if is_token else IDENTITY_HEADER) if written.header is None else written.header
    _require_header(header, "http.identity.header")
    return IdentitySource(is_token, header, written.external_id)


def _credential_header(written: _Http, source: IdentitySource) -> str:
    place, named = "http.credential_header", written.credential_header
    if source.is_token:
        if named is not None:
            raise ConfigurationInvalid(f"{place}: the token in `{source.header}` is the identity's, there is no other")
        return source.header
    header = CREDENTIAL_HEADER if named is None else named
    _require_header(header, place)
    if header == source.header:
        raise ConfigurationInvalid(f"{place}: `{header}` names the identity already")
    return header


def _require_header(name: str, place: str) -> None:
    if is_header(name) is None:
        raise ConfigurationInvalid(f"{place}: not a header, expected a name in lower case")

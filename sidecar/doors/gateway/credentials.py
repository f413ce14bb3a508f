"""Who asks at the doors of proxies: the token in the header that the mapping names, and the identity behind it."""

from collections.abc import Callable

from sidecar.core.errors import Unauthenticated
from sidecar.core.model import AuthorizeRequest
from sidecar.doors.gateway.mapping import HttpMapping
from sidecar.doors.gateway.seen import Asked, SeenRequest, is_public, read_headers, single
from sidecar.doors.wire.http import Incoming
from sidecar.doors.wire.manner import Credentials
from sidecar.service.gateway import Passage


def seen_by(mapping: HttpMapping, incoming: Incoming, method: str, host_header: str, target: str) -> SeenRequest:
    """Return what a proxy saw, with the headers that the mapping reads. Raises ValidationFailed as ``read_headers``."""
    hosts = incoming.every(host_header.encode())
    headers = read_headers(mapping.headers, lambda name: incoming.every(name.encode()))
    return SeenRequest(method, single(host_header, hosts) if hosts else None, target, headers)


def credentials_by(
    mapping: HttpMapping, see: Callable[[Incoming], SeenRequest], incoming: Incoming
) -> Credentials | None:
    """Return the bearer token of a request, None where what the proxy saw needs none.

    Raises Unauthenticated without one, ValidationFailed for two.
    """
    if is_public(mapping, see(incoming)):
        return None
    return Credentials(bearer_token(mapping, incoming.every(mapping.credential_header.encode())))


def bearer_token(mapping: HttpMapping, values: list[bytes]) -> str:
    """Return the token in ``values`` of the header that has it. Raises Unauthenticated and ValidationFailed."""
    name = mapping.credential_header
    scheme, _, token = (single(name, values) if values else "").partition(" ")
    if scheme.lower() != "bearer" or not (token := token.strip()):
        raise Unauthenticated(f"the header `{name}: Bearer <token>` is missing")
    return token


def passage(mapping: HttpMapping, asked: Asked, request: AuthorizeRequest) -> Passage:
    """Return what the service is asked for ``asked``, whose request is ``request``."""
    return Passage(
        request=request,
        identity=asked.identity,
        is_external=mapping.identity.is_external,
        settles_at_once=asked.settles_at_once,
    )


def no_credentials(_incoming: Incoming) -> Credentials | None:
    """Return None: an unknown path below a door needs no token to be refused."""
    return None

"""The messages of ``envoy.service.auth.v3``, as what the door knows of HTTP: only this module knows their types.

They come with the optional extra ``grpc``, so nothing that every server loads may import it.
https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from envoy.config.core.v3 import base_pb2  # type: ignore[import-untyped]  # generated, without stubs
from envoy.service.auth.v3 import external_auth_pb2  # type: ignore[import-untyped]  # as above
from google.protobuf.message import DecodeError

from sidecar.core.errors import ValidationFailed

Headers: TypeAlias = Iterable[tuple[str, str]]

OK: Final = 0
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
UNAUTHENTICATED: Final = 16

CODES: Final[Mapping[int, int]] = {401: UNAUTHENTICATED, 429: RESOURCE_EXHAUSTED}
"""gRPC's code beside a status with which a request is refused; that of any other is ``PERMISSION_DENIED``."""

_REPLACING: Final = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class Checked(msgspec.Struct, frozen=True):
    """The HTTP request that a proxy asks about: ``target`` is its path with its query, as the client wrote it.

    ``joined`` are headers of which Envoy may have made one of several, with commas between them; ``raw`` are as the
    client sent them, each as often as it came (``encode_raw_headers``). Their names are in lower case, those that
    HTTP/2 begins with a colon are left out.
    """

    method: str
    host: str
    target: str
    joined: tuple[tuple[str, bytes], ...]
    raw: tuple[tuple[str, bytes], ...]


def read(message: bytes) -> Checked:
    """Return what a ``CheckRequest`` asks about. Raises ValidationFailed for anything else."""
    request = external_auth_pb2.CheckRequest()
    try:
        request.ParseFromString(message)
    except DecodeError as error:
        raise ValidationFailed("the message is no `CheckRequest`") from error
    http = request.attributes.request.http
    if not http.method:
        raise ValidationFailed("the message tells of no HTTP request: `attributes.request.http` is not set")
    if not http.path.startswith("/"):
        raise ValidationFailed("the request has no path that begins with `/`")
    joined = ((name, value.encode()) for name, value in http.headers.items())
    raw = ((each.key, each.raw_value or each.value.encode()) for each in http.header_map.headers)
    return Checked(http.method, http.host, http.path, _of_client(joined), _of_client(raw))


def _of_client(headers: Iterable[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    return tuple([(name.lower(), value) for name, value in headers if not name.startswith(":")])


def permit(headers: Headers, removed: Iterable[str], marks: Mapping[str, str]) -> bytes:
    """Return the ``CheckResponse`` that lets a request pass.

    ``headers`` take the place of those that the client sent, ``removed`` are kept from the upstream, ``marks`` are told
    to Envoy's later filters and its access log.
    """
    response = external_auth_pb2.CheckResponse()
    response.status.code = OK
    response.ok_response.headers.extend(_options(headers))
    response.ok_response.headers_to_remove.extend(removed)
    response.dynamic_metadata.update(dict(marks))
    message: bytes = response.SerializeToString()
    return message


def denial(status: int, headers: Headers, body: bytes, marks: Mapping[str, str]) -> bytes:
    """Return the ``CheckResponse`` that answers the client in place of the upstream."""
    response = external_auth_pb2.CheckResponse()
    response.status.code = CODES.get(status, PERMISSION_DENIED)
    response.denied_response.status.code = status
    response.denied_response.headers.extend(_options(headers))
    response.denied_response.body = body.decode()
    response.dynamic_metadata.update(dict(marks))
    message: bytes = response.SerializeToString()
    return message


def _options(headers: Headers) -> list[Any]:
    return [
        base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=name, value=value), append_action=_REPLACING)
        for name, value in headers
    ]

"""Messages of Envoy's external authorization over gRPC, as Envoy sends them and as it reads them."""

from typing import Any, TypeAlias

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest  # type: ignore[import-untyped]

Generated: TypeAlias = Any
"""Messages whose classes are generated and have no types."""

OVERWRITE_IF_EXISTS_OR_ADD = 2


def asked(path: str = "/v1/tools/x?a=1", method: str = "GET", **headers: str) -> Generated:
    """Return the message that Envoy sends for a request."""
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.host, http.path = method, "api.example.com", path
    http.headers.update({":method": method, ":authority": "api.example.com", ":path": path})
    http.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return request


def raw(request: Generated, *headers: tuple[str, bytes]) -> bytes:
    """Return ``request`` with ``headers`` as ``encode_raw_headers`` sends them."""
    for name, value in headers:
        request.attributes.request.http.header_map.headers.add(key=name, raw_value=value)
    message: bytes = request.SerializeToString()
    return message


def headers_of(options: Generated) -> dict[str, str]:
    """Return the headers of a response, each of which takes the place of the client's."""
    assert {each.append_action for each in options} <= {OVERWRITE_IF_EXISTS_OR_ADD}
    return {each.header.key: each.header.value for each in options}

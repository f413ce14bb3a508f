"""Which URLs a tenant may have called, judged by the library that will call them, so that no two readers differ.

This is the first of three checks: the URL when it is given and again before each attempt, then all addresses that its
name has, then the one of them that is connected to (``sidecar.doors.webhooks.sender``).
"""

from typing import Final

import httpx

from sidecar.core.destinations import is_disguised, is_public, literal
from sidecar.core.errors import ValidationFailed

URL_LENGTH_MAX: Final = 2_048
"""What every server and library in between can carry."""

HTTPS_PORT: Final = 443
PORT_UNPRIVILEGED_MIN: Final = 1_024
"""Below it, apart from HTTPS, live services that are not HTTP and might be talked into something, such as mail."""

_LOCAL_SUFFIXES: Final = ("localhost", "local", "internal", "localdomain", "home.arpa", "lan", "intranet", "corp")
"""Names that are never public: RFC 6761, 6762, 8375, and what networks use in their place."""


def public_only(url: str) -> None:
    """Raise ValidationFailed, naming ``url``, unless it is HTTPS on a public host."""
    parsed = _read(url)
    if parsed.scheme != "https":
        raise _refusal("expected an `https` URL")
    port = HTTPS_PORT if parsed.port is None else parsed.port
    if port != HTTPS_PORT and port < PORT_UNPRIVILEGED_MIN:
        raise _refusal(f"expected port {HTTPS_PORT} or one from {PORT_UNPRIVILEGED_MIN} on")
    host = host_of(parsed).rstrip(".")
    address = literal(host)
    if address is not None:
        if not is_public(address):
            raise _refusal("expected a public address")
    elif is_disguised(host) or "." not in host or host.endswith(tuple(f".{suffix}" for suffix in _LOCAL_SUFFIXES)):
        raise _refusal("expected a public host name")


def anywhere(url: str) -> None:
    """Raise ValidationFailed, naming ``url``, unless it is an HTTP or HTTPS URL; for local development only."""
    if _read(url).scheme not in {"http", "https"}:
        raise _refusal("expected an `http` or `https` URL")


def host_of(url: httpx.URL) -> str:
    """Return the host as it is connected to: a name in ASCII, or an address without brackets."""
    return url.raw_host.decode("ascii")


def _read(url: str) -> httpx.URL:
    if not 0 < len(url) <= URL_LENGTH_MAX:
        raise _refusal(f"expected a URL of 1 to {URL_LENGTH_MAX} characters")
    # What a URL has to escape is refused, not mended: a backslash or a space is where readers of URLs differ.
    if not (url.isascii() and url.isprintable()) or any(sign in url for sign in ' \\"<>^`{|}'):
        raise _refusal("expected a URL without characters that have to be escaped")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise _refusal("expected a URL such as `https://example.com/hook`") from None
    if parsed.userinfo or "@" in url.partition("//")[2].partition("?")[0].partition("/")[0]:
        raise _refusal("expected a URL without user or password")
    if "#" in url:
        raise _refusal("expected a URL without a fragment")
    if not host_of(parsed) or "%" in host_of(parsed):
        raise _refusal("expected a URL with a host")
    if parsed.port is not None and not 0 < parsed.port < 1 << 16:
        raise _refusal("expected a port of 1 to 65535")
    return parsed


def _refusal(sentence: str) -> ValidationFailed:
    return ValidationFailed(f"this URL cannot be called as a webhook, {sentence}", field="url")

"""Whom passkeys are for: a domain, and the pages below it that may ask for them (WebAuthn Level 3, 5.1.2 and 13.4.9).

A passkey is bound to the domain for good: under another one, those that were registered sign nothing any more.
"""

import re
from typing import Final

import msgspec

from sidecar.core.errors import ConfigurationInvalid, ValidationFailed

LOCAL: Final = "localhost"
"""The one host whose pages need no TLS for passkeys."""

_DOMAIN: Final = r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_PORTS: Final = {"http": 80, "https": 443}
_PORT_MAX: Final = 65_535

_is_domain: Final = re.compile(_DOMAIN).fullmatch
_as_origin: Final = re.compile(rf"(?P<scheme>https?)://(?P<host>{_DOMAIN})(:(?P<port>[1-9][0-9]{{0,4}}))?").fullmatch


class RelyingParty(msgspec.Struct, frozen=True):
    """The domain that passkeys are bound to, and the origins of the pages that may ask for them."""

    rp_id: str = LOCAL
    origins: tuple[str, ...] = ("http://localhost:8181",)


def parse_origins(text: str, field: str) -> tuple[str, ...]:
    """Return the origins that ``text`` lists, separated by commas.

    Raises ValidationFailed, naming ``field``, for none and for what is no origin as browsers write it.
    """
    origins = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for origin in origins:
        if _host(origin) is None:
            expected = "expected such as `https://wallet.example.com`, without a path and in lower case"
            raise ValidationFailed(f"`{origin}` is no origin, {expected}", field=field)
    return origins


def check_party(party: RelyingParty) -> None:
    """Raise ConfigurationInvalid where the domain is none, or browsers would refuse it to one of the pages."""
    if _is_domain(party.rp_id) is None:
        raise ConfigurationInvalid(f"`{party.rp_id}` is no domain that passkeys can be bound to")
    for origin in party.origins:
        host = _host(origin) or ""
        if host != party.rp_id and not host.endswith(f".{party.rp_id}"):
            raise ConfigurationInvalid(
                f"a page of `{origin}` cannot use passkeys of `{party.rp_id}`, its host is another"
            )
        if origin.startswith("http:") and host != LOCAL and not host.endswith(f".{LOCAL}"):
            raise ConfigurationInvalid(f"a page of `{origin}` cannot use passkeys, which need `https`")


def _host(origin: str) -> str | None:
    """Return the host of an origin in its one spelling, None for any other text."""
    found = _as_origin(origin)
    if found is None:
        return None
    scheme, host, port = found["scheme"], found["host"], found["port"]
    is_spelled_out = port is not None and (int(port) > _PORT_MAX or int(port) == _PORTS[scheme])
    return None if is_spelled_out else host

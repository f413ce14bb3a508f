"""The flags of a server that follows a control plane: read, and checked together before anything is started."""

from urllib.parse import urlsplit

import click

from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.staleness import StalenessLimits, parse_limits
from sidecar.core.token_text import read


class AddressType(click.ParamType[str]):
    """The address of a server as click reads it."""

    name = "url"

    def __init__(self, whose: str = "a control plane") -> None:
        """Read the address of ``whose``."""
        self._whose = whose

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address without a slash at its end; what is wrong with it is said without it, for its password."""
        expected = "expected such as https://sidecar.example:8181"
        if not (value.isascii() and value.isprintable()) or " " in value:
            self.fail(f"the address of {self._whose} has no such characters, {expected}", param, ctx)
        if not _is_address(value):
            self.fail(f"not the address of {self._whose}, {expected}", param, ctx)
        if any(sign in value for sign in "@?#"):
            self.fail(f"the address of {self._whose} has no password, query or fragment, {expected}", param, ctx)
        return value.rstrip("/")


def _is_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        return False


class FollowerTokenType(click.ParamType[str]):
    """A follower's token as click reads it."""

    name = "token"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the token; what is wrong with it is said without it."""
        parts = read(value.strip())
        if parts is None or parts.prefix != "fw":
            self.fail("not a follower's token, which begins with `fw_` and is copied whole", param, ctx)
        return value.strip()


class StalenessType(click.ParamType[StalenessLimits]):
    """Limits of age as click reads them."""

    name = "limits"

    def convert(
        self, value: str | StalenessLimits, param: click.Parameter | None, ctx: click.Context | None
    ) -> StalenessLimits:
        """Return the limits that ``value`` writes."""
        try:
            return value if isinstance(value, StalenessLimits) else parse_limits(value, "max_staleness")
        except ValidationFailed as error:
            self.fail(error.message, param, ctx)


def check_following(control_plane: str | None, token: str | None) -> None:
    """Raise ConfigurationInvalid where one of the two is given without the other."""
    if control_plane is not None and token is None:
        raise ConfigurationInvalid("`--control-plane` needs the follower's token in `SIDECAR_CONTROL_PLANE_TOKEN`")
    if token is not None and control_plane is None:
        raise ConfigurationInvalid("`--control-plane-token` needs the address of the server in `--control-plane`")

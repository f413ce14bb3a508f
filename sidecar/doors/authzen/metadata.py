"""Where a policy decision point can be asked, for clients that know its address only.

Source: OpenID AuthZEN Authorization API 1.0, section 9. The address of a tenant is that of the server with the tenant's
id behind it, and its metadata lies where RFC 8615 has it: the well-known part stands between the two. It says nothing
that a path does not say, so it needs no token and does not tell whether a tenant exists.
"""

import re
from typing import Final

from sidecar.core.errors import NotFound, ValidationFailed
from sidecar.core.ids import check_caller_id
from sidecar.doors.authzen.manner import AUTHZEN
from sidecar.doors.authzen.shapes import PATHS
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer

PATH: Final = "/.well-known/authzen-configuration"

_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""A name or an address, and perhaps a port (RFC 9110 section 7.2): nothing else gets into an answer."""


class MetadataCalls:
    """The call; it needs no service."""

    def __init__(self, public_url: str | None) -> None:
        """Tell ``public_url`` as the address of this server; None for the one that a request was sent to."""
        self._public_url = public_url

    def calls(self) -> tuple[Call, ...]:
        """Return the call; it takes the path of a tenant as well."""
        call = Call(
            method="GET",
            path=PATH,
            aliases=(f"{PATH}/{{tenant_id}}",),
            run=self.configuration,
            is_open=True,
            is_raw=True,
            is_documented=False,
            manner=AUTHZEN,
        )
        return (call,)

    async def configuration(self, ask: Ask) -> Answer:
        """Tell where to ask."""
        base = self._base(ask)
        tenant_id = ask.path.get("tenant_id")
        if tenant_id is not None:
            base = f"{base}/{_checked(tenant_id)}"
        endpoints = {name: f"{base}{path}" for name, path in PATHS.items()}
        return json_answer({"policy_decision_point": base} | endpoints)

    def _base(self, ask: Ask) -> str:
        """Return the address of this server. Raises ValidationFailed where a request does not say to whom it was sent.

        What a proxy says of the address before it is not read: anybody could say it.
        """
        if self._public_url is not None:
            return self._public_url
        hosts = ask.head.every(b"host")
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if _HOST.fullmatch(host) is None:
            raise ValidationFailed("the header `Host` must be one host name or address, with a port where there is one")
        return f"http://{host}"


def _checked(tenant_id: str) -> str:
    try:
        return check_caller_id(tenant_id, "tenant_id")
    except ValidationFailed as error:
        raise NotFound(error.message, field=error.field) from None

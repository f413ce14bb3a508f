"""Envoy's external authorization over HTTP: Envoy repeats its client's method and path below a prefix, and asks.

200 lets the request through, and its headers go to the upstream as far as the filter's configuration lists them; any
other status is the client's answer with all of its headers and body. For 5xx, and without an answer, Envoy goes by its
``failure_mode_allow``. A permit that holds something is settled at once unless its route says ``later``: Envoy tells
nobody how the request ended, but the upstream gets the decision's id and can settle or release it. Sources: Envoy's
``envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto`` and ``envoy/service/auth/v3/external_auth.proto``.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from sidecar.core.errors import SidecarError, ValidationFailed
from sidecar.doors.gateway import answers
from sidecar.doors.gateway.credentials import credentials_by, no_credentials, passage, seen_by
from sidecar.doors.gateway.mapping import HttpMapping
from sidecar.doors.gateway.seen import SeenRequest, draft
from sidecar.doors.wire.endpoint import ANY_METHOD, Ask, Call
from sidecar.doors.wire.http import Answer, Header, Incoming, status_of
from sidecar.doors.wire.manner import Manner, error_body
from sidecar.doors.wire.rates import rate_headers
from sidecar.service.gateway import Gateway

PREFIX: Final = "/envoy"
"""What Envoy is told as ``path_prefix``."""

REMOVED: Final = "X-Envoy-Auth-Headers-To-Remove"
"""Names headers of the request that the upstream is not to see; Envoy keeps this one to itself."""

STATUSES: Final[Mapping[int, int]] = {400: 400, 401: 401, 403: 403, 413: 413, 429: 429, 500: 503, 503: 503}
"""Statuses of errors as a client of Envoy sees them. What is missing is 403: an unknown identity is no missing page."""


class EnvoyCalls:
    """The call of Envoy's HTTP filter."""

    def __init__(self, gateway: Gateway, mapping: HttpMapping) -> None:
        """Translate by ``mapping`` for ``gateway``."""
        self._gateway = gateway
        self._mapping = mapping
        self._manner = Manner(
            credentials=partial(credentials_by, mapping, self._seen),
            error_answer=error_answer,
            limit_headers=rate_headers,
        )
        # The upstream must see neither a token of the sidecar nor a decision that the client made up.
        secret = (REMOVED, mapping.credential_header)
        self._on_permit: tuple[Header, ...] = (secret,)
        self._on_public: tuple[Header, ...] = ((REMOVED, f"{mapping.credential_header},{answers.ID.lower()}"),)

    def calls(self) -> tuple[Call, ...]:
        """Return the call."""
        return (
            Call(
                method=ANY_METHOD,
                path=PREFIX + "/{path:path}",
                aliases=(PREFIX,),
                run=self.check,
                is_raw=True,
                is_decision=True,
                is_documented=False,
                manner=self._manner,
            ),
        )

    async def check(self, ask: Ask) -> Answer:
        """Say whether the request may pass."""
        asked = draft(self._mapping, self._seen(ask.head))
        if asked.request is None:
            return Answer(200, headers=self._on_public)
        decision = await self._gateway.decide(ask.caller, passage(self._mapping, asked, asked.request), ask.now_us)
        return answers.answer(decision, 200, self._on_permit)

    def _seen(self, incoming: Incoming) -> SeenRequest:
        """Return what Envoy saw. The query is left out: no mapping looks at it."""
        path = incoming.raw_path()
        if not path.startswith(PREFIX.encode()):
            raise ValidationFailed("the path of the door itself is encoded", field="path")
        target = path.removeprefix(PREFIX.encode()).decode("latin-1") or "/"
        return seen_by(self._mapping, incoming, incoming.method, "host", target)


def error_answer(error: SidecarError, request_id: str, _methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``, which lets nothing through."""
    status = STATUSES.get(status_of(error), 403)
    return Answer(status, error_body(error, request_id), answers.error_headers(error))


MANNER: Final = Manner(credentials=no_credentials, error_answer=error_answer, limit_headers=rate_headers)
"""How a path is answered that is below this door's and none of it."""

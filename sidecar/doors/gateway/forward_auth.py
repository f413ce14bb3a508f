"""Forward authentication, as nginx (``auth_request``), Traefik and Caddy do it: the request is told of in headers.

204 lets a request through, 401 and 403 do not; nothing else is answered, since nginx makes a 500 of everything else.
So faults and rate limits are 403 as well, and say what they are in ``X-Decision-Error``. Nothing is reserved here: no
proxy of this kind tells how a request ended, and each may ask again for the same one. Budgets of the dimension
``count`` count. Sources: nginx ``ngx_http_auth_request_module``, Traefik ``ForwardAuth``, Caddy ``forward_auth``.
"""

from functools import partial
from typing import Final, NamedTuple

from sidecar.core.errors import Forbidden, SidecarError, Unauthenticated, ValidationFailed
from sidecar.doors.gateway import answers
from sidecar.doors.gateway.credentials import credentials_by, no_credentials, passage, seen_by
from sidecar.doors.gateway.mapping import HttpMapping, Names
from sidecar.doors.gateway.seen import SeenRequest, draft, route_of, single
from sidecar.doors.wire.endpoint import ANY_METHOD, Ask, Call
from sidecar.doors.wire.http import Answer, Incoming
from sidecar.doors.wire.manner import Manner, error_body
from sidecar.doors.wire.rates import rate_headers
from sidecar.service.gateway import Gateway

PATH: Final = "/forward-auth"


class _Telling(NamedTuple):
    """The headers in which a proxy tells of a request."""

    method: str
    target: str
    host: str


TELLING: Final[dict[Names, _Telling]] = {
    "original": _Telling("x-original-method", "x-original-uri", "x-original-host"),
    "forwarded": _Telling("x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"),
}


class ForwardAuthCalls:
    """The call of proxies that ask before they forward."""

    def __init__(self, gateway: Gateway, mapping: HttpMapping) -> None:
        """Translate by ``mapping`` for ``gateway``."""
        self._gateway = gateway
        self._mapping = mapping
        self._manner = Manner(
            credentials=partial(credentials_by, mapping, self._seen),
            error_answer=error_answer,
            limit_headers=rate_headers,
        )

    def calls(self) -> tuple[Call, ...]:
        """Return the call."""
        return (
            Call(
                method=ANY_METHOD,
                path=PATH,
                run=self.check,
                is_raw=True,
                is_decision=True,
                is_documented=False,
                manner=self._manner,
            ),
        )

    async def check(self, ask: Ask) -> Answer:
        """Say whether the request may pass."""
        seen = self._seen(ask.head)
        route = route_of(self._mapping, seen)
        # Before anything else is read: headers for an amount do not have to get here to be told that they are in vain.
        if route.question is not None and route.question.reserves:
            message = f"the route `{route.name}` has an amount or quantities, which are not reserved at this door"
            raise Forbidden(message)
        asked = draft(self._mapping, seen)
        if asked.request is None:
            return Answer(204)
        decision = await self._gateway.decide(ask.caller, passage(self._mapping, asked, asked.request), ask.now_us)
        return answers.answer(decision, 204)

    def _seen(self, incoming: Incoming) -> SeenRequest:
        """Return what the proxy tells of. Raises ValidationFailed where it tells too little, or twice."""
        telling = _telling(self._mapping, incoming)
        method = _told(incoming, telling.method)
        target = _told(incoming, telling.target)
        return seen_by(self._mapping, incoming, method, telling.host, target)


def error_answer(error: SidecarError, request_id: str, _methods: tuple[str, ...]) -> Answer:
    """Return the answer that tells of ``error``, which lets nothing through."""
    status = 401 if isinstance(error, Unauthenticated) else 403
    return Answer(status, error_body(error, request_id), answers.error_headers(error))


MANNER: Final = Manner(credentials=no_credentials, error_answer=error_answer, limit_headers=rate_headers)
"""How a path is answered that is below this door's and none of it."""


def _telling(mapping: HttpMapping, incoming: Incoming) -> _Telling:
    """Return the headers that tell of the request: those that the mapping names, or the one set that is there.

    A client can send the other set through a proxy that passes on what it does not know, so both are refused.
    """
    if mapping.names is not None:
        return TELLING[mapping.names]
    there = [each for each in TELLING.values() if _is_there(incoming, each)]
    if len(there) != 1:
        got = "both" if there else "neither"
        message = f"expected `X-Original-Method` and `-URI` or `X-Forwarded-Method` and `-Uri` of the proxy, got {got}"
        raise ValidationFailed(message)
    return there[0]


def _is_there(incoming: Incoming, telling: _Telling) -> bool:
    return bool(incoming.every(telling.method.encode()) or incoming.every(telling.target.encode()))


def _told(incoming: Incoming, name: str) -> str:
    values = incoming.every(name.encode())
    if not values:
        raise ValidationFailed(f"the header `{name}` of the proxy is missing", field=name)
    return single(name, values)

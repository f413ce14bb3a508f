"""One attempt: an event signed as its endpoint's format says, posted, and what came back in a word.

Nothing of an answer but its status is kept: whoever chose the URL must not learn what an internal service says. The
words for failures are few for the same reason: a closed port, an open one behind a private address and a failed
handshake read alike, since telling them apart would map a network.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, TypeAlias

import httpx
from httpx_secure import httpx_ssrf_protection
from standardwebhooks import Webhook

from sidecar.core.destinations import Address, is_public, literal
from sidecar.core.errors import ValidationFailed
from sidecar.core.instants import to_datetime
from sidecar.core.webhooks import Response, secret_text
from sidecar.doors.webhooks.addresses import host_of, public_only
from sidecar.doors.webhooks.connections import connect_to, use_judged
from sidecar.doors.webhooks.names import Names
from sidecar.service.deliveries import Parcel

ATTEMPT_SECONDS: Final = 15.0
"""How long an attempt may take as a whole; Standard Webhooks recommends 15 to 30."""

ANSWER_BYTES_MAX: Final = 4_096
"""How much of an answer is read, so that its connection can be used again; beyond it the connection is closed."""

IDLE_CONNECTIONS_MAX: Final = 32
"""Connections kept for the next event; those in use are bounded by the courier."""

NOT_ALLOWED: Final = "address_not_allowed"
TIMED_OUT: Final = "timed_out"
UNREACHABLE: Final = "connection_failed"

HEADERS: Final = {"content-type": "application/json", "user-agent": "agent-authorization-sidecar"}

VENDOR_SIGNATURES: Final = {"ledger": "Proxy-Signature", "tally": "tally-signature"}
"""The header in which a vendor's receivers look for ``t=<unix seconds>,v1=<hex HMAC-SHA256 of "{t}.{body}">``."""

Judge: TypeAlias = Callable[[str, int], Awaitable[tuple[str, ...]]]
"""What gives the addresses at which a URL may be called for a tenant, by its number; none where it may not."""


class Sender:
    """Posts events; made and used in one event loop. ``public_sender`` and ``local_sender`` make the two there are."""

    def __init__(self, make_client: Callable[[], httpx.AsyncClient], judge: Judge) -> None:
        """Post what ``judge`` lets pass; the client is made with the first event, since loading roots is slow."""
        self._make_client = make_client
        self._judge = judge
        self._client: httpx.AsyncClient | None = None

    async def send(self, parcel: Parcel, now_us: int) -> Response:
        """Make one attempt and return what it met; every failure of the network is a value."""
        started = time.monotonic()
        status, error = None, None
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                if addresses := await self._judge(parcel.url, parcel.place.tenant):
                    with connect_to(addresses):
                        status = await self._post(parcel, now_us)
                else:
                    error = NOT_ALLOWED
        except (TimeoutError, httpx.TimeoutException):
            error = TIMED_OUT
        except (httpx.HTTPError, OSError, ValueError):
            error = UNREACHABLE
        return Response(status, error, round((time.monotonic() - started) * 1000))

    async def _post(self, parcel: Parcel, now_us: int) -> int:
        """Post the event and return the answer's status; a redirection is an answer like any other."""
        if self._client is None:
            self._client = self._make_client()
        headers = HEADERS | signed_headers(parcel, now_us)
        async with self._client.stream("POST", parcel.url, content=parcel.waiting.body, headers=headers) as response:
            read = 0
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read > ANSWER_BYTES_MAX:
                    break
            return response.status_code

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


def public_sender() -> Sender:
    """Return a sender that reaches public addresses only."""
    names = Names()

    async def judge(url: str, tenant: int) -> tuple[str, ...]:
        return await public_addresses(names, url, tenant)

    return Sender(public_client, judge)


def local_sender() -> Sender:
    """Return a sender that reaches every address; for local development only."""
    names = Names()

    async def judge(url: str, tenant: int) -> tuple[str, ...]:
        return await names.addresses(host_of(httpx.URL(url)), tenant)

    def make() -> httpx.AsyncClient:
        client = _client()
        use_judged(client)
        return client

    return Sender(make, judge)


def public_client() -> httpx.AsyncClient:
    """Return a client that connects to what was judged, and looks at the address once more before it does."""
    client = _client()
    httpx_ssrf_protection(client, custom_validator=_is_public_peer)
    use_judged(client)
    return client


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        trust_env=False,  # a proxy from the environment would connect in our place, past every check
        follow_redirects=False,
        timeout=ATTEMPT_SECONDS,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=IDLE_CONNECTIONS_MAX),
        headers={"accept": "*/*", "accept-encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # what one tenant's endpoint sets is nobody's
    )


def _is_public_peer(_host: str, address: Address, _port: int) -> bool:
    return is_public(address)


async def public_addresses(names: Names, url: str, tenant: int) -> tuple[str, ...]:
    """Return the addresses of a URL's host, none unless it may be called and every one of them is public."""
    try:
        public_only(url)
    except ValidationFailed:
        return ()
    host = host_of(httpx.URL(url))
    if literal(host) is not None:
        return (host,)
    found = await names.addresses(host, tenant)
    addresses = [literal(each) for each in found]
    return found if all(address is not None and is_public(address) for address in addresses) else ()


def signed_headers(parcel: Parcel, now_us: int) -> dict[str, str]:
    """Return the event's id, the time, and the signatures of the endpoint's format; during a rotation one per secret.

    Of Standard Webhooks these are three headers. A vendor's format has time and signatures in one header of its own,
    with the secret's whole text as the key; the id is told beside it, for receivers that skip what they have seen.
    """
    waiting, seconds = parcel.waiting, now_us // 1_000_000
    if parcel.format != "standard":
        keys = [secret_text(secret).encode() for secret in parcel.secrets]
        signed = f"{seconds}.".encode() + waiting.body
        signatures = [hmac.new(key, signed, hashlib.sha256).hexdigest() for key in keys]
        stamped = ",".join((f"t={seconds}", *(f"v1={signature}" for signature in signatures)))
        return {"webhook-id": waiting.event_id, VENDOR_SIGNATURES[parcel.format]: stamped}
    moment, body = to_datetime(now_us), waiting.body.decode()
    signatures = [Webhook(secret).sign(waiting.event_id, moment, body) for secret in parcel.secrets]
    return {
        "webhook-id": waiting.event_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(signatures),
    }

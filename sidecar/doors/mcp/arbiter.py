"""The sidecar as the proxy asks it: over HTTP, with an end in time, and closed whenever there is no good answer."""

from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from sidecar.core.errors import Forbidden, SidecarError, Unavailable, ValidationFailed
from sidecar.doors.mcp.mapping import Settle
from sidecar.doors.mcp.protocol import PATH, TOOLS_CALL, TOOLS_LIST, TOOLS_LISTED_MAX

T = TypeVar("T")

CONNECT_SECONDS: Final = 2.0
"""How long a connection may take to come about; the sidecar is on this machine or near it."""

ANSWER_SECONDS: Final = 10.0
"""How long an answer may take: a decision that waits for a disk, many times over."""

ATTEMPTS: Final = 2
"""How often one question is asked; with its key it is one decision however often it arrives."""

_FORBIDDEN: Final = 403
_SHOWN_MAX: Final = 500


class Reason(msgspec.Struct, frozen=True):
    """One reason of a decision, as far as it is told on."""

    code: str
    message: str
    advice: str | None = None
    retry_at: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What the sidecar said of a call. ``reservation`` is None where nothing is held."""

    allowed: bool
    decision_id: str | None = None
    reasons: list[Reason] = []
    reservation: dict[str, object] | None = None
    settle: Settle | None = None

    @property
    def holds(self) -> bool:
        """Whether something is held that can be settled."""
        return self.decision_id is not None and self.reservation is not None


class _Listed(msgspec.Struct, frozen=True):
    allowed: list[str]


class _Refused(msgspec.Struct, frozen=True):
    error: str


class Address(msgspec.Struct, frozen=True):
    """Where the sidecar listens: ``url``, or the socket file ``uds``."""

    url: str
    uds: Path | None = None

    def is_here(self) -> bool:
        """Whether it is on this machine, so that no proxy of a network hears what is said."""
        host = urlsplit(self.url).hostname or ""
        try:
            return self.uds is not None or ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")


class Whose(msgspec.Struct, frozen=True):
    """Whose calls are asked about, and of which server; None is the token's identity, and a server without a name."""

    identity_id: str | None = None
    server: str | None = None


class HttpArbiter:
    """Asks one sidecar with one token. Implements ``sidecar.doors.mcp.holds.Arbiter``."""

    def __init__(
        self, address: Address, token: str, whose: Whose, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Ask at ``address``, through ``transport`` where one is given."""
        if transport is None and address.uds is not None:
            transport = httpx.AsyncHTTPTransport(uds=str(address.uds))
        self._whose = {"identity_id": whose.identity_id, "server": whose.server}
        self._client = httpx.AsyncClient(
            base_url=address.url,
            headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,  # the token is for this server
            trust_env=not address.is_here(),
            transport=transport,
        )

    async def ask(self, params: msgspec.Raw, key: str) -> Verdict:
        """Return what the sidecar says of a call. Raises SidecarError where it says nothing."""
        body = msgspec.json.encode({"method": TOOLS_CALL, "params": params, **self._whose})
        return _decoded(await self._post(PATH, body, key), Verdict)

    async def shown(self, names: list[str]) -> set[str]:
        """Return which of these tools are shown. Raises SidecarError where the sidecar does not say."""
        found: set[str] = set()
        for start in range(0, len(names), TOOLS_LISTED_MAX):
            tools = names[start : start + TOOLS_LISTED_MAX]
            body = msgspec.json.encode({"method": TOOLS_LIST, "tools": tools, **self._whose})
            found.update(_decoded(await self._post(PATH, body), _Listed).allowed)
        return found

    async def settle(self, decision_id: str) -> None:
        """Settle all that a decision holds. Raises SidecarError."""
        await self._post(f"/v1/decisions/{quote(decision_id, safe='')}/settle", b"{}")

    async def release(self, decision_id: str) -> None:
        """Free what a decision holds. Raises SidecarError, and Forbidden for a token that may not."""
        await self._post(f"/v1/decisions/{quote(decision_id, safe='')}/release", b"{}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(self, path: str, body: bytes, key: str | None = None) -> bytes:
        headers = {} if key is None else {"idempotency-key": key}
        for last in range(ATTEMPTS - 1, -1, -1):
            try:
                response = await self._client.post(path, content=body, headers=headers)
            except (httpx.HTTPError, httpx.StreamError, OSError) as error:
                if last:
                    continue
                said = str(error) or type(error).__name__
                raise Unavailable(f"the sidecar cannot be reached: {said[:_SHOWN_MAX]}") from error
            if response.is_success:
                return response.content
            if not (response.is_server_error and last):
                raise _refusal(response)
        raise AssertionError  # pragma: no cover -- the last turn returns or raises


def _refusal(response: httpx.Response) -> SidecarError:
    try:
        said = msgspec.json.decode(response.content, type=_Refused).error[:_SHOWN_MAX]
    except msgspec.MsgspecError:
        said = "no reason that can be read"
    message = f"the sidecar answers {response.status_code}: {said}"
    if response.status_code == _FORBIDDEN:
        return Forbidden(message)
    return Unavailable(message) if response.is_server_error else ValidationFailed(message)


def _decoded(body: bytes, wanted: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.MsgspecError as error:
        raise Unavailable("the sidecar's answer cannot be read") from error

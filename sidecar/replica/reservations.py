"""Reservations at the control plane, as its ``POST /v1/reservations`` makes and cancels them for a follower."""

from typing import Final, Protocol

import msgspec

from sidecar.core.delegation import Word
from sidecar.core.errors import NotFound, Unavailable
from sidecar.core.model import AuthorizeRequest
from sidecar.replica.control_plane import Rejected, Unreachable
from sidecar.service.delegation import NotSent

PATH: Final = "/v1/reservations"

TIMEOUT_SECONDS: Final = 1.0
"""How long an agent waits for it; a decision fails closed then."""

_NOT_FOUND: Final = 404

_word: Final = msgspec.json.Decoder(Word)


class Posting(Protocol):
    """The control plane, see ``sidecar.replica.control_plane.ControlPlane``."""

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> bytes:
        """Post JSON and return the body of the answer."""


class RemoteDelegate:
    """The control plane behind its HTTP calls; implements ``sidecar.service.delegation.Delegate``."""

    def __init__(self, control_plane: Posting) -> None:
        """Call ``control_plane``."""
        self._control_plane = control_plane

    async def reserve(self, decision_id: str, request: AuthorizeRequest) -> Word:
        """Have a request decided.

        Raises NotSent without a connection, Unavailable for no answer that says anything, Rejected for a refusal.
        """
        body = b'{"decision_id":"%b","request":%b}' % (decision_id.encode(), request.canonical())
        try:
            answer = await self._control_plane.post(PATH, body, TIMEOUT_SECONDS)
        except Unreachable as error:
            if error.was_sent:
                raise
            raise NotSent(error.message) from error
        try:
            word = _word.decode(answer)
        except msgspec.DecodeError as error:
            raise Unavailable(f"its answer cannot be read: {error}") from error
        if word.decision_id != decision_id or word.granted is bool(word.reasons):
            raise Unavailable("its answer is about another decision, or says nothing")
        return word

    async def cancel(self, decision_id: str) -> None:
        """Cancel what a decision holds. Raises Unavailable, NotFound for one that is not ours there, Rejected."""
        try:
            await self._control_plane.post(f"{PATH}/{decision_id}/cancel", b"{}", TIMEOUT_SECONDS)
        except Rejected as error:
            if error.status == _NOT_FOUND:
                raise NotFound(error.message) from error
            raise

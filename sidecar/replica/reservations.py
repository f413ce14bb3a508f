"""Reservations at the control plane, as its ``POST /v1/reservations`` makes and cancels them for a follower."""

from typing import Final, Protocol

from sidecar.core.delegation import Word
from sidecar.core.model import AuthorizeRequest

TIMEOUT_SECONDS: Final = 1.0
"""How long an agent waits for it; a decision fails closed then."""


class Posting(Protocol):
    """The control plane's address, see ``sidecar.replica.control_plane.ControlPlane``."""

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> bytes:
        """Post and return the body of the answer."""


class RemoteDelegate:
    """The control plane behind its HTTP calls; implements ``sidecar.service.delegation.Delegate``."""

    def __init__(self, control_plane: Posting) -> None:
        """Call ``control_plane``."""
        self._control_plane = control_plane

    async def reserve(self, decision_id: str, request: AuthorizeRequest) -> Word:
        """Have a request decided. Raises Unavailable for no answer, another SidecarError for a refusal."""
        raise NotImplementedError

    async def cancel(self, decision_id: str) -> None:
        """Cancel what a decision holds. Raises as ``reserve``."""
        raise NotImplementedError

"""Envoy's external authorization over gRPC: a door that brings each question to the HTTP door's own call.

One ``Check`` becomes one request of that call, so who may ask, what is asked, the rate limits, the counts and the errors
are those of the HTTP door. Anything but a decision or a refusal is gRPC's ``UNAVAILABLE``, which closes the way as long
as Envoy's ``failure_mode_allow`` is left off.
"""

from collections.abc import Callable
from typing import Final

from sidecar.doors.wire.endpoint import Endpoint

SERVICE: Final = "envoy.service.auth.v3.Authorization"
METHOD: Final = "Check"
ROUTE: Final = f"/{SERVICE}/{METHOD}"
"""How gRPC names the call, and how it is counted."""

MESSAGE_BYTES_MAX: Final = 256 * 1024
"""Envoy takes 60 KiB of headers unless told otherwise, and sends each of them once."""

CHECKS_MAX: Final = 1024
"""Questions at work in one process; they are answered in milliseconds, so more of them is a flood."""


class CheckServer:
    """Answers Envoy over gRPC in the event loop of its process."""

    def __init__(self, endpoint: Endpoint, credential_header: str, address: str, *, shared: bool) -> None:
        """Bring questions to ``endpoint``, beside the proxy's own ``credential_header``, which only metadata may carry.

        ``shared`` lets other processes of this server listen at ``address`` as well.
        """
        raise NotImplementedError

    async def start(self) -> None:
        """Listen. Raises ConfigurationInvalid where the address cannot be had."""
        raise NotImplementedError

    async def stop(self, seconds: float) -> None:
        """Take no more questions, and return when those at work are answered, or after ``seconds``."""
        raise NotImplementedError


Serving = Callable[[str], CheckServer]

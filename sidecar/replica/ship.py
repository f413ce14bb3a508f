"""The loop that ships a follower's audit log: as soon as there is something, in batches under load, at least once.

It runs beside the loop that follows, in the process on duty, and never ends by itself.
"""

from typing import Final, Protocol

from sidecar.service.shipping import Shipping

PATH: Final = "/v1/audit/records"


class Plane(Protocol):
    """The control plane, as far as it is posted to."""

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> bytes:
        """Post ``body`` and return the answer."""


class Shipper:
    """Ships one follower's log."""

    def __init__(self, shipping: Shipping, plane: Plane) -> None:
        """Ship to ``plane`` what ``shipping`` gives."""
        self._shipping = shipping
        self._plane = plane

    async def run(self) -> None:
        """Ship until cancelled; it lives through every failure."""
        raise NotImplementedError

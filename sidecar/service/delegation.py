"""A follower's word with its control plane about budgets that are decided there, in the course of one decision.

Before the control plane is asked, an intent is on disk: it may hold something for us from then on. It is forgotten in
the very transaction that records a permit with what was granted; in every other case it stays until the control plane
has acknowledged that it is cancelled (``sidecar.service.intents``).
"""

from typing import Protocol

from sidecar.core.delegation import Word
from sidecar.core.model import AuthorizeRequest


class Delegate(Protocol):
    """The control plane, as far as it decides for a follower."""

    async def reserve(self, decision_id: str, request: AuthorizeRequest) -> Word:
        """Have a request decided under this decision's id, with what the control plane's budgets hold for it.

        Raises Unavailable where no answer came: whether something is held is not known then. Raises another
        SidecarError where it was refused.
        """

    async def cancel(self, decision_id: str) -> None:
        """Have whatever is held for a decision released, now or when it is asked for later.

        Raises Unavailable where no answer came, NotFound where the decision is none of this follower's.
        """

"""The call that tells whether this server follows a control plane, and how it stands with it."""

from typing import Final

from sidecar.doors.native import replica_answers
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.replication import Replication, Standing

_MICRO: Final = 1_000_000
DIGITS: Final = 3
"""Places of seconds: what is told is some milliseconds old when it is read."""


class ReplicaCalls:
    """The call; ``replication`` is None where nothing is followed."""

    def __init__(self, replication: Replication | None) -> None:
        """Tell of it."""
        self._replication = replication

    def calls(self) -> tuple[Call, ...]:
        """Return the documented call."""
        return (
            Call(
                method="GET",
                path="/v1/replica",
                run=self.get_replica,
                answer=replica_answers.Replica,
                tag="followers",
                names_tenant=False,
            ),
        )

    async def get_replica(self, _ask: Ask) -> Answer:
        """Tell what this server follows, how far it has come, and how old its data is."""
        if self._replication is None:
            return json_answer({"role": "standalone"})
        standing, policy_revision = self._replication.told()
        return json_answer(rendered(self._replication.control_plane, standing, policy_revision))


def rendered(control_plane: str, standing: Standing, policy_revision: str | None) -> replica_answers.Replica:
    """Return all that is told of a follower."""
    state = standing.state
    return {
        "role": "follower",
        "control_plane": control_plane,
        "tenant_id": None if state is None else state.tenant_id,
        "scope": None if state is None else state.scope,
        "follower_id": None if state is None else state.follower_id,
        **following(standing),
        "fault": standing.fault,
        "staged_records": standing.staged,
        "files_revision": None if state is None else f"sha256:{state.files_digest}",
        "policy_revision": policy_revision,
        "audit": {"records": standing.records, "shipped": standing.shipped, "backlog": standing.backlog},
    }


def following(standing: Standing) -> replica_answers.Following:
    """Return how a follower stands with its control plane."""
    return {
        "revision": standing.revision,
        "head": standing.head,
        "lag_revisions": standing.lag_revisions,
        "age_seconds": _seconds(standing.age_us),
        "skew_seconds": _seconds(standing.skew_us),
        "connected": standing.link.is_connected,
        "last_error": standing.link.error,
    }


def _seconds(number_us: int | None) -> float | None:
    return None if number_us is None else round(number_us / _MICRO, DIGITS)

"""Calls for whoever runs the process: is it alive, can it decide, what did it count. None needs a token."""

from collections.abc import Awaitable, Callable

from sidecar.core.errors import SidecarError
from sidecar.core.instants import utc_text
from sidecar.doors.native import answers, replica_answers
from sidecar.doors.native.render import Document, instant
from sidecar.doors.native.replica import following
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.reload import PolicyState
from sidecar.service.replication import Replication


class OperationCalls:
    """The calls; ``require_ready`` raises the reason why the process cannot decide.

    ``expose`` returns the metrics and their content type for a header ``Accept``, ``policies`` which files hold;
    ``replication`` is None where no control plane is followed.
    """

    def __init__(
        self,
        require_ready: Callable[[], None],
        expose: Callable[[str], Awaitable[tuple[bytes, str]]],
        policies: Callable[[], PolicyState],
        replication: Replication | None = None,
    ) -> None:
        """Ask each of them at each call."""
        self._require_ready = require_ready
        self._expose = expose
        self._policies = policies
        self._replication = replication

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        return (
            Call(
                method="GET",
                path="/v1/health",
                run=self.health,
                is_open=True,
                answer=answers.Health,
                operation="get_health",
                tag="operations",
            ),
            Call(
                method="GET", path="/livez", run=self.live, is_open=True, answer=answers.Alive, operation="get_liveness"
            ),
            Call(
                method="GET",
                path="/readyz",
                run=self.ready,
                is_open=True,
                answer=replica_answers.Ready,
                further={503: answers.NotReady},
                operation="get_readiness",
            ),
            Call(
                method="GET",
                path="/metrics",
                run=self.metrics,
                is_open=True,
                answer=str,
                content_type="text/plain",
                operation="get_metrics",
                tag="operations",
            ),
        )

    async def health(self, ask: Ask) -> Answer:
        """Tell that the process answers."""
        return json_answer({"status": "ok", "service": "sidecar", "timestamp": utc_text(ask.now_us)})

    async def live(self, ask: Ask) -> Answer:
        """Tell that the event loop turns."""
        return json_answer({"status": "ok", "timestamp": utc_text(ask.now_us)})

    async def ready(self, ask: Ask) -> Answer:
        """Tell whether a decision could be made and recorded now, and by which policy files."""
        try:
            self._require_ready()
            followed = self._followed()
            held = holding(self._policies())
        except SidecarError as error:
            return json_answer({"status": "unavailable", "reason": error.message}, 503)
        return json_answer({"status": "ok", "timestamp": utc_text(ask.now_us), "policies": held} | followed)

    def _followed(self) -> Document:
        """Return how a follower stands with its control plane. Raises Unavailable where it must not decide."""
        if self._replication is None:
            return {}
        self._replication.require_ready()
        return {"replica": following(self._replication.standing())}

    async def metrics(self, ask: Ask) -> Answer:
        """Show what all workers counted, also while nothing can be decided."""
        body, content_type = await self._expose(ask.accept)
        return Answer(200, body, content_type=content_type)


def holding(state: PolicyState) -> Document:
    """Return which policy files hold, and how the newest reload ended."""
    last = state.last
    told: Document | None = None
    if last is not None:
        told = {"at": instant(last.at_us), "outcome": last.outcome, "by": last.by, "reason": last.reason}
    return {"revision": state.revision, "loaded_at": instant(state.loaded_at_us), "last_reload": told}

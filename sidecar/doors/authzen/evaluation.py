"""Calls of AuthZEN that decide: one evaluation, and several at once."""

from sidecar.doors.authzen.manner import AUTHZEN
from sidecar.doors.authzen.shapes import PATHS, tenant_path
from sidecar.doors.wire.endpoint import Ask, Call
from sidecar.doors.wire.http import Answer


class EvaluationCalls:
    """The calls, over the services that do them."""

    def calls(self) -> tuple[Call, ...]:
        """Return the calls."""
        path = PATHS["access_evaluation_endpoint"]
        return (
            Call(
                method="POST",
                path=path,
                aliases=(tenant_path(path),),
                run=self.evaluate,
                request=object,
                is_idempotent=True,
                is_decision=True,
                is_documented=False,
                manner=AUTHZEN,
            ),
        )

    async def evaluate(self, ask: Ask) -> Answer:
        """Decide a request."""
        raise NotImplementedError

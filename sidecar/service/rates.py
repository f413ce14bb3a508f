"""Which rate limits hold for a caller. They protect the process; budgets are what protects money."""

from collections.abc import Callable
from typing import TypeAlias

from sidecar.core.access import Caller
from sidecar.core.admission import Admission, Bucket
from sidecar.core.rates import DoorLimit, RateLimit

Count: TypeAlias = Callable[[tuple[Bucket, ...], int], Admission | None]
"""Counts a request under all buckets or none; None when that cannot be done now."""


class Limiter:
    """Lets requests in, or not yet. A door with limits of its own gives its calls one bucket more."""

    def __init__(self, count: Count, tenant_default: RateLimit | None) -> None:
        """Count with ``count``; ``tenant_default`` holds for each tenant that has no limit of its own."""
        self._count = count
        self._tenant_default = tenant_default

    def admit(self, caller: Caller, now_us: int, door: DoorLimit | None = None) -> Admission | None:
        """Count a request of ``caller`` and return how it stands; None where no limit holds, as for the operator.

        All requests of a tenant's tokens count under the tenant's limit, those of one token under the token's as well,
        and under that of the ``door``, if it has one. Those of a tenant's followers count under its limit once more, by
        themselves: agents that use it up must not keep from followers what is revoked.
        """
        token = caller.token
        if token is None:
            return None
        tenant_limit = caller.tenant_rate_limit or self._tenant_default
        if tenant_limit is None and token.rate_limit is None and door is None:
            return None
        buckets: tuple[Bucket, ...] = ()
        if tenant_limit is not None:
            whose = f"{token.tenant}/followers" if caller.kind == "follower" else str(token.tenant)
            buckets = (_bucket("tenant", whose, tenant_limit),)
        if token.rate_limit is not None:
            buckets = (*buckets, _bucket("token", token.token_id, token.rate_limit))
        if door is not None:
            buckets = (*buckets, _bucket(door.policy, token.token_id, door.limit))
        return self._count(buckets, now_us)


def _bucket(policy: str, whose: str, limit: RateLimit) -> Bucket:
    """Return what is counted; a changed limit is counted anew, so that it holds from the next request on."""
    return Bucket(policy, f"{policy}/{whose}/{limit.count}/{limit.period_seconds}", limit)

"""How a limited caller stands, in the headers of draft-ietf-httpapi-ratelimit-headers-11 (a list of named items each).

https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""

from sidecar.core.admission import Admission
from sidecar.doors.wire.http import Header


def rate_headers(admission: Admission) -> tuple[Header, ...]:
    """Return the headers that every answer to a limited caller has."""
    policies = (f'"{each.policy}";q={each.limit.count};w={each.limit.period_seconds}' for each in admission.quotas)
    quotas = (f'"{each.policy}";r={each.remaining};t={each.reset_seconds}' for each in admission.quotas)
    return ("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(quotas))

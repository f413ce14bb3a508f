"""Whether a decision that was made before may be answered again (DESIGN rule 11)."""

from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.staleness import Freshly
from sidecar.service.idempotency import stored_decision
from sidecar.service.ruling import blocked_now
from sidecar.service.store import TenantTransaction


def standing_decision(
    part: TenantTransaction, request: AuthorizeRequest, decision_id: str | None, freshly: Freshly | None
) -> Decision | None:
    """Return the stored decision of a repeated request, None for a permit that must not be answered again.

    Its chain or card was blocked since, or the data is too old to know that it was not. Whoever gets None decides anew,
    and what the permit holds stays held.
    """
    stored = stored_decision(part, decision_id)
    if not stored.allowed:
        return stored
    is_stale = freshly is not None and freshly.is_stale
    return None if is_stale or blocked_now(part, request) else stored

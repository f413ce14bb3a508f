"""Reading what the shadow policies would have decided otherwise: a summary, and pages of differences."""

from typing import NamedTuple

from sidecar.core.access import Caller
from sidecar.core.shadow import Difference, Direction, Tally, shadow_revision
from sidecar.service.access import tenant_of
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Listed, Store


class Comparison(NamedTuple):
    """How a tenant's decisions compare; ``shadow_revision`` is None where no shadow files are loaded."""

    shadow_revision: str | None
    tally: Tally
    page: Page[Difference]


class Comparisons:
    """Reads what was found in every tenant."""

    def __init__(self, store: Store) -> None:
        """Work on ``store``."""
        self._store = store

    def listed(
        self, caller: Caller, tenant_id: str | None, direction: Direction | None, request: PageRequest
    ) -> Comparison:
        """Return the summary of a tenant and a page of its differences, the newest last.

        Raises Forbidden for a token of one identity.
        """
        caller.require_administrator()
        with self._store.read() as txn:
            shadows = txn.of(tenant_of(txn, caller, tenant_id)).shadows
            digest = txn.shadow_files.digest()
            found = (Listed(place, difference) for place, difference in shadows.all(after=request.after))
            page = page_of(found, request, lambda difference: direction in {None, difference.direction})
            return Comparison(None if digest is None else shadow_revision(digest), shadows.tally(), page)

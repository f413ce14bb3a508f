"""Decisions for proxies: who asks is found, the request decided, and what a permit holds settled where a route says so.

A proxy that has let a request through tells nobody how it ended. So a route may say that its permits are settled at
once; in a second transaction, before the answer: a permit that was not settled is not given.
"""

from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.errors import Forbidden, NotFound
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.service.access import tenant_of
from sidecar.service.authorize import Authorizer
from sidecar.service.settlement import Settler, Wanted
from sidecar.service.store import Store

IN_FULL: Final = Wanted(None, {}, final=True)


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A request that wants to pass. ``identity`` is who asks, None for the identity of the caller's token.

    ``is_external`` says that it is named by its external id. The ``identity_id`` of ``request`` is not looked at.
    """

    request: AuthorizeRequest
    identity: str | None = None
    is_external: bool = False
    settles_at_once: bool = False


class Gateway:
    """Decides what proxies ask."""

    def __init__(self, store: Store, authorizer: Authorizer, settler: Settler) -> None:
        """Decide by ``authorizer`` and settle by ``settler``, over one ``store``."""
        self._store = store
        self._authorizer = authorizer
        self._settler = settler

    async def decide(self, caller: Caller, passage: Passage, now_us: int) -> Decision:
        """Return the decision once it is on disk, and settled where it is to be settled at once.

        Raises Forbidden for a caller whose token names no identity where it should, NotFound for an unknown identity,
        and as ``Authorizer.authorize`` and ``Settler.settle``. Where settling failed, the hold ends with its time.
        """
        identity_id = self._identity_id(caller, passage)
        request = msgspec.structs.replace(passage.request, identity_id=identity_id)
        decision = (await self._authorizer.authorize(caller, None, request, None, now_us)).decision
        holds = decision.reserved_minor is not None or decision.reserved_quantities
        if passage.settles_at_once and holds and decision.decision_id is not None:
            await self._settler.settle(caller, None, decision.decision_id, IN_FULL, None, now_us)
        return decision

    def _identity_id(self, caller: Caller, passage: Passage) -> str:
        if passage.identity is None:
            if caller.top is None:
                raise Forbidden("this token names no identity, expected the token of an agent")
            return caller.top
        if not passage.is_external:
            return passage.identity
        with self._store.read() as txn:
            found = txn.of(tenant_of(txn, caller, None)).identities.by_external_id(passage.identity)
        if found is None:
            raise NotFound("no identity has this external id", field="identity_id")
        return found.identity_id

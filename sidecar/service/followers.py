"""Followers as their control plane knows them: by what they have shipped and what they said of themselves with it."""

from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.errors import NotFound
from sidecar.service.access import tenant_of
from sidecar.service.log_store import LogReader
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.shipment_store import Follower, ShippedLog
from sidecar.service.store import Store, TenantTransaction

LOGS_SHOWN_MAX: Final = 10
"""Logs shown of one follower, the newest; older ones are read by their names."""


class LogName(msgspec.Struct, frozen=True):
    """A shipped log: of a follower, the newest one unless ``origin`` names another."""

    follower_id: str
    origin: str | None = None


class KnownLog(msgspec.Struct, frozen=True):
    """A shipped log and how many records of it are here."""

    log: ShippedLog
    records: int


class Known(msgspec.Struct, frozen=True):
    """A follower with its logs, the newest first; ``revision`` is its tenant's now."""

    tenant_id: str
    follower: Follower
    logs: tuple[KnownLog, ...]
    revision: int


class Followers:
    """Shows the followers of every tenant."""

    def __init__(self, store: Store) -> None:
        """Work on ``store``."""
        self._store = store

    def listed(self, caller: Caller, tenant_id: str | None, request: PageRequest) -> Page[Known]:
        """Return a page of the followers, in the order in which they were first heard of.

        Raises Forbidden for a token of one identity.
        """
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            page = page_of(part.shipments.followers(after=request.after), request)
            revision = txn.tenants.revisions(part.tenant.number).entities
            return Page(tuple(_known(part, each, revision) for each in page.values), page.next_after)

    def get(self, caller: Caller, tenant_id: str | None, follower_id: str) -> Known:
        """Return a follower. Raises NotFound where nothing was heard of it, Forbidden for a token of one identity."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            follower = part.shipments.follower(follower_id)
            if follower is None:
                raise NotFound(f"unknown follower `{follower_id}`", field="follower_id")
            return _known(part, follower, txn.tenants.revisions(part.tenant.number).entities)


def _known(part: TenantTransaction, follower: Follower, revision: int) -> Known:
    logs = part.shipments.logs(follower.token_id, LOGS_SHOWN_MAX)
    counted = tuple(KnownLog(log, part.shipments.reader(log).head().next_index) for log in logs)
    return Known(part.tenant.tenant_id, follower, counted, revision)


def named_log(part: TenantTransaction, name: LogName | None) -> LogReader:
    """Return the log that a call is about: the tenant's own, or one that was shipped. Raises NotFound."""
    if name is None:
        return part.audit
    if name.origin is None:
        log = next(iter(part.shipments.logs(name.follower_id, 1)), None)
    else:
        log = part.shipments.log(name.follower_id, name.origin)
    if log is None:
        raise NotFound(f"no log of a follower `{name.follower_id}` was shipped", field="follower_id")
    return part.shipments.reader(log)

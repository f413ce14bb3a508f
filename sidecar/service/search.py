"""Searches: which identities may do something, with which resources, and what may be done.

The results are those for which a dry run would answer yes at this moment: policies, blocks and budgets are looked at as
``Authorizer.rehearse`` does, for each candidate by itself, and nothing is reserved or recorded. What no policy could
permit is left out before anybody is looked at (``sidecar.core.search``). Candidates are looked at a page at a time and
some at once, each time in a read transaction of its own, with the event loop free in between.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from sidecar.core.access import Caller
from sidecar.core.errors import Conflict, NotFound, ValidationFailed
from sidecar.core.limits import LIST_LIMIT_DEFAULT
from sidecar.core.search_mark import START, Mark, mark_of, token_of
from sidecar.service.access import tenant_of
from sidecar.service.authorize import Authorizer
from sidecar.service.judgement import judge
from sidecar.service.ruling import rule
from sidecar.service.search_plan import NOBODY, Search, plan
from sidecar.service.search_walk import Step, Walk
from sidecar.service.snapshots import Snapshots
from sidecar.service.store import Store, TenantTransaction, Transaction

EVALUATED_MAX: Final = 250
"""Candidates that one page decides on, in some 150 ms of one core: of each the chain is read and parsed anew. A page
may be short and still have a next one."""

SCANNED_MAX: Final = 5_000
"""Stored identities that one page reads, those of other types with them."""

EVALUATED_AT_ONCE: Final = 4
"""Candidates that are decided on in a few milliseconds: nothing else happens on the event loop meanwhile."""

SCANNED_AT_ONCE: Final = 100
"""Stored identities that are read at once: some 2 ms."""


class PageAsked(NamedTuple):
    """How many results a page may have, and where it goes on; an empty ``token`` for the first one."""

    limit: int = LIST_LIMIT_DEFAULT
    token: str = ""


class Found(NamedTuple):
    """Ids of identities or resources, or names of actions, and the token of the next page; empty at the end."""

    results: tuple[str, ...]
    next_token: str


class _Progress:
    """How far a page has come."""

    def __init__(self, mark: Mark, limit: int) -> None:
        self.mark = mark
        self.results: list[str] = []
        self.is_over = False
        self._limit = limit
        self._evaluated = 0
        self._scanned = 0

    @property
    def is_full(self) -> bool:
        """Whether the page ends here."""
        return (
            self.is_over
            or len(self.results) == self._limit
            or self._evaluated >= EVALUATED_MAX
            or self._scanned >= SCANNED_MAX
        )

    def advance(self, steps: Iterator[Step], is_permitted: Callable[[str], bool]) -> None:
        """Take as many of ``steps`` as may be looked at at once."""
        evaluated_max, scanned_max = self._evaluated + EVALUATED_AT_ONCE, self._scanned + SCANNED_AT_ONCE
        while not self.is_full and self._evaluated < evaluated_max and self._scanned < scanned_max:
            step = next(steps, None)
            if step is None:
                self.is_over = True
                break
            self.mark = step.mark
            self._scanned += 1
            if step.candidate is not None:
                self._evaluated += 1
                self.results += [step.candidate] if is_permitted(step.candidate) else []


class Searcher:
    """Searches for everybody who asks this process."""

    def __init__(self, store: Store, snapshots: Snapshots, authorizer: Authorizer) -> None:
        """Decide on each candidate as ``authorizer`` would in a dry run."""
        self._store = store
        self._snapshots = snapshots
        self._authorizer = authorizer

    async def search(
        self, caller: Caller, tenant_id: str | None, search: Search, asked: PageAsked, now_us: int
    ) -> Found:
        """Return a page of what would be permitted; it can be short, or empty, and still have a next one.

        While nothing changes each result comes once. Who or what does not exist, or is out of reach, has no results.
        Raises ValidationFailed for a request that does not fit the schema whatever stands in the place of what is
        sought, and for a token of another search.
        """
        with self._store.read() as txn:
            tenant = tenant_of(txn, caller, tenant_id)
            part = txn.of(tenant)
            search = search.completed(part, self._snapshots.policies(txn, part))
            binding = search.binding(tenant.tenant_id, caller)
            progress = _Progress(mark_of(asked.token, binding) if asked.token else START, asked.limit)
            walk = self._walk(txn, part, caller, search, now_us)
        while not progress.is_full:
            with self._store.read() as txn:
                part = txn.of(tenant_of(txn, caller, tenant_id))
                permits = partial(self._permits, txn, part, search, now_us)
                progress.advance(walk.steps(part, progress.mark), permits)
            await asyncio.sleep(0)
        return Found(tuple(progress.results), "" if progress.is_over else token_of(progress.mark, binding))

    def _walk(self, txn: Transaction, part: TenantTransaction, caller: Caller, search: Search, now_us: int) -> Walk:
        """Return the candidates; none for an asking identity that is unknown or out of reach."""
        policies = self._snapshots.policies(txn, part)
        if search.sought == "subject":
            return plan(part, caller, search, policies, None, now_us)
        try:
            view = self._snapshots.passing(txn, part, search.request.identity_id)
            caller.require_reach(view.chain)
        except NotFound:
            return NOBODY
        return plan(part, caller, search, policies, view, now_us)

    def _permits(self, txn: Transaction, part: TenantTransaction, search: Search, now_us: int, candidate: str) -> bool:
        """Whether a dry run with a candidate in the place of what is sought would answer yes; not where it fails."""
        request = search.asking(candidate)
        try:
            proposal = rule(
                part, self._snapshots.passing(txn, part, request.identity_id, request.card_id), request, now_us
            )
            if proposal.denials:  # nothing that budgets say makes it a permit
                return False
            freshly = self._authorizer.look(txn, part, request, now_us, proposal)
            return judge(part, proposal, request, now_us, freshly, seat=self._authorizer.seat(txn)).allowed
        except (ValidationFailed, NotFound, Conflict):
            return False

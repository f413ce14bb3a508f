"""Card programs: the accounts at card networks that a tenant has, made, shown, given new secrets, and deleted.

A secret comes from its network and is in no answer: whoever has lost it finds it where it came from. Records name a
program by its id.
"""

from collections.abc import Callable, Iterable
from hmac import compare_digest

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import Body
from sidecar.core.card_events import CardProgram, Network
from sidecar.core.card_programs import (
    NETWORK_PROGRAMS_MAX,
    TENANT_PROGRAMS_MAX,
    check_secret,
    is_over,
    rotated,
)
from sidecar.core.errors import Conflict, NotFound
from sidecar.core.idempotency import IdempotencyKey
from sidecar.service.access import part_of, tenant_of
from sidecar.service.card_program_store import Enrolled
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Listed, Store, TenantTransaction, Transaction


class ProgramDraft(msgspec.Struct, frozen=True):
    """A program to be made; ``secret`` is the one that its network shows."""

    network: Network
    name: str
    secret: str


class ShownProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A program without its secrets. ``former_until_us`` is None where no replaced secret opens any more."""

    program_id: str
    tenant_id: str
    network: Network
    name: str
    created_at_us: int
    rotated_at_us: int | None
    former_until_us: int | None
    revision: int


class Heard(msgspec.Struct, frozen=True):
    """A program that a message may be of, and the id of its tenant."""

    tenant_id: str
    program: CardProgram


class ProgramDesk:
    """Keeps the card programs of every tenant."""

    def __init__(self, store: Store, new_id: Callable[[str, int], str]) -> None:
        """Work on ``store``."""
        self._store = store
        self._new_id = new_id

    async def create(
        self, caller: Caller, tenant_id: str | None, draft: ProgramDraft, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[ShownProgram]:
        """Make a program.

        Raises ValidationFailed for a text that is no secret of its network, Conflict where there are as many programs
        as there can be, and where another program has the secret: a message would be of both.
        """
        caller.require_administrator()
        check_secret(draft.network, draft.secret)

        def work(txn: Transaction) -> Done[ShownProgram]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, ShownProgram, lambda: make(txn, part))

        def make(txn: Transaction, part: TenantTransaction) -> ShownProgram:
            known = list(txn.card_programs.all())
            _require_room(known, part, draft.network)
            _require_own(known, draft.network, draft.secret, None)
            program = CardProgram(
                program_id=self._new_id("cprg", now_us),
                network=draft.network,
                name=draft.name,
                secret=draft.secret,
                created_at_us=now_us,
                revision=1,
            )
            place = max((each.place for each in known), default=0) + 1
            txn.card_programs.keep(Enrolled(part.tenant.number, place, program))
            body: Body = {"network": program.network, "name": program.name}
            _record(part, "card_program_created", program, caller, now_us, body)
            return _shown(part.tenant.tenant_id, program, now_us)

        return await self._store.write(work)

    def get(self, caller: Caller, tenant_id: str | None, program_id: str, now_us: int) -> ShownProgram:
        """Return a program. Raises NotFound."""
        caller.require_administrator()
        with self._store.read() as txn:
            tenant = tenant_of(txn, caller, tenant_id)
            return _shown(tenant.tenant_id, _known(txn, tenant.number, program_id).program, now_us)

    def listed(self, caller: Caller, tenant_id: str | None, request: PageRequest, now_us: int) -> Page[ShownProgram]:
        """Return a page of a tenant's programs in order of creation."""
        caller.require_administrator()
        with self._store.read() as txn:
            tenant = tenant_of(txn, caller, tenant_id)
            found = [
                Listed(each.place, _shown(tenant.tenant_id, each.program, now_us))
                for each in txn.card_programs.all()
                if each.tenant == tenant.number and each.place > request.after
            ]
        return page_of(found, request)

    async def rotate(
        self,
        caller: Caller,
        tenant_id: str | None,
        program_id: str,
        secret: str,
        grace_seconds: int,
        now_us: int,
        key: IdempotencyKey | None = None,
    ) -> Done[ShownProgram]:
        """Give a program a new secret; messages are known by the old one as well for ``grace_seconds``.

        Raises NotFound, ValidationFailed for a text that is no secret of its network, Conflict for one that is known.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[ShownProgram]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, ShownProgram, lambda: turn(txn, part))

        def turn(txn: Transaction, part: TenantTransaction) -> ShownProgram:
            old = _known(txn, part.tenant.number, program_id)
            network = old.program.network
            _require_own(txn.card_programs.all(), network, check_secret(network, secret), program_id)
            program = rotated(old.program, secret, grace_seconds, now_us)
            txn.card_programs.keep(old._replace(program=program))
            _record(part, "card_program_rotated", program, caller, now_us, {"grace_seconds": grace_seconds})
            return _shown(part.tenant.tenant_id, program, now_us)

        return await self._store.write(work)

    async def delete(self, caller: Caller, tenant_id: str | None, program_id: str, now_us: int) -> None:
        """Delete a program with its secrets; from then on its messages are nobody's. Raises NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            part = part_of(txn, caller, tenant_id, now_us)
            program = _known(txn, part.tenant.number, program_id).program
            txn.card_programs.forget(program_id)
            _record(part, "card_program_deleted", program, caller, now_us, {})

        await self._store.write(work)

    def hear(self, network: Network, program_id: str | None) -> tuple[Heard, ...]:
        """Return the programs of ``network`` that a message may be of: the named one, or each. Nobody is asked who."""
        with self._store.read() as txn:
            programs = txn.card_programs
            named = None if program_id is None else programs.find(program_id)
            found = programs.all() if program_id is None else () if named is None else (named,)
            heard = []
            for each in found:
                tenant = txn.tenants.get(each.tenant) if each.program.network == network else None
                if tenant is not None:
                    heard.append(Heard(tenant.tenant_id, each.program))
        return tuple(heard)


def _require_room(known: list[Enrolled], part: TenantTransaction, network: Network) -> None:
    """Raise Conflict where there are as many programs as there can be."""
    if sum(each.tenant == part.tenant.number for each in known) >= TENANT_PROGRAMS_MAX:
        raise Conflict(f"the tenant has {TENANT_PROGRAMS_MAX} card programs, which is the most it can have")
    if sum(each.program.network == network for each in known) >= NETWORK_PROGRAMS_MAX:
        raise Conflict(f"the server has {NETWORK_PROGRAMS_MAX} card programs of `{network}`, the most it can have")


def _require_own(known: Iterable[Enrolled], network: Network, secret: str, program_id: str | None) -> None:
    """Raise Conflict where ``secret`` is one that a program of ``network`` has, or has had until a rotation.

    The former secret of the program ``program_id`` itself may come back.
    """
    for each in known:
        program = each.program
        former = () if program.former_secret is None or program.program_id == program_id else (program.former_secret,)
        if program.network == network and any(
            compare_digest(secret.encode(), taken.encode()) for taken in (program.secret, *former)
        ):
            raise Conflict("a card program has this secret already", field="secret")


def _known(txn: Transaction, tenant: int, program_id: str) -> Enrolled:
    enrolled = txn.card_programs.find(program_id)
    if enrolled is None or enrolled.tenant != tenant:
        raise NotFound(f"unknown card program `{program_id}`", field="program_id")
    return enrolled


def _shown(tenant_id: str, program: CardProgram, now_us: int) -> ShownProgram:
    return ShownProgram(
        program_id=program.program_id,
        tenant_id=tenant_id,
        network=program.network,
        name=program.name,
        created_at_us=program.created_at_us,
        rotated_at_us=program.rotated_at_us,
        former_until_us=None if is_over(program, now_us) else program.former_until_us,
        revision=program.revision,
    )


def _record(part: TenantTransaction, kind: str, program: CardProgram, caller: Caller, now_us: int, more: Body) -> None:
    part.audit.append(kind, now_us, {"card_program": program.program_id, "by": caller.name} | more)

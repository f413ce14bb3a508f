"""The doors that speak another vendor's API, put together: the services that each translates onto, and its manner."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.dialects import tally_manner
from sidecar.doors.dialects.ledger import BASE as LEDGER_BASE
from sidecar.doors.dialects.ledger import LedgerCalls
from sidecar.doors.dialects.ledger_drafts import ROLES
from sidecar.doors.dialects.ledger_render import MANNER as LEDGER_MANNER
from sidecar.doors.dialects.tally import TallyCalls
from sidecar.doors.dialects.tledger import TLedgerCalls
from sidecar.doors.dialects.tledger_manner import TLEDGER
from sidecar.doors.dialects.tledger_payments import TLedgerPaymentCalls
from sidecar.doors.wire.endpoint import Call
from sidecar.doors.wire.manner import Manner
from sidecar.service.accounts import Bank
from sidecar.service.budgets import Treasurer
from sidecar.service.enrolment import Registrar
from sidecar.service.enrolment_changes import Enrolments
from sidecar.service.identities import Registry
from sidecar.service.payments import Paymaster
from sidecar.service.policies import Legislator
from sidecar.service.roster import Roster
from sidecar.service.spenders import Spenders
from sidecar.service.store import Store
from sidecar.service.tenants import Tenancy
from sidecar.service.tokens import TokenDesk
from sidecar.service.treasury import CardDesk

MANNERS: Final[Mapping[str, Manner]] = MappingProxyType(
    {LEDGER_BASE: LEDGER_MANNER, "/tledger": TLEDGER, tally_manner.PREFIX: tally_manner.TALLY}
)
"""How an unknown path is answered, by the path that it is below."""


def dialect_calls(
    store: Store,
    new_id: Callable[[str, int], str],
    registry: Registry,
    treasurer: Treasurer,
    legislator: Legislator,
    desk: TokenDesk,
    cards: CardDesk,
    paymaster: Paymaster,
) -> tuple[Call, ...]:
    """Return the calls of all dialects, over the services that the native API uses."""
    tenancy = Tenancy(store, registry, desk, new_id)
    registrar = Registrar(store, registry, treasurer, legislator, desk, new_id)
    enrolments, spenders = Enrolments(store, treasurer, ROLES), Spenders(store, ROLES)
    return (
        *TLedgerCalls(tenancy, registry, registrar, treasurer, Bank(store, new_id), desk).calls(),
        *TLedgerPaymentCalls(paymaster, registry).calls(),
        *TallyCalls(Roster(store, registry)).calls(),
        *LedgerCalls(registrar, enrolments, spenders, desk, cards).calls(),
    )

"""Calls of the tLedger dialect about payments."""

from collections.abc import Iterable, Mapping
from typing import Final, cast, get_args

from sidecar.core.errors import NotFound, inside
from sidecar.core.payments import PaymentStatus
from sidecar.doors.dialects import tledger_answers as answers
from sidecar.doors.dialects import tledger_drafts as drafts
from sidecar.doors.dialects import tledger_shapes as shapes
from sidecar.doors.dialects.tledger_manner import called
from sidecar.doors.dialects.tledger_paths import PAGE, call, is_newest_first, page
from sidecar.doors.native.render import Document
from sidecar.doors.native.replays import MARKED
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import one_of
from sidecar.service.identities import Registry
from sidecar.service.paging import Page, PageRequest, numbered
from sidecar.service.payment_lists import Paid, PaymentFilter
from sidecar.service.payments import Paymaster

_FILTERS: Final = frozenset({"sending_agent_id", "receiving_agent_id", "account_id", "status", "currency"})

_NAMES: Final[Mapping[str, str]] = {
    "identity_id": "sending_agent_id",
    "from_account_id": "sending_agent_id",
    "receiver_id": "receiving_agent_id",
    "to_account_id": "receiving_agent_id",
    "amount": "payment_amount",
    "network": "settlement_network",
    "metadata": "trace_context",
}
"""What the native fields of a payment are called here."""


class TLedgerPaymentCalls:
    """The calls, over the services that do them."""

    def __init__(self, paymaster: Paymaster, registry: Registry) -> None:
        """Translate for these services."""
        self._paymaster = paymaster
        self._registry = registry

    def calls(self) -> Iterable[Call]:
        """Return the calls, which are not in the description of the native API."""
        yield call("POST", "/payment", self.create_payment, request=shapes.PaymentBody)
        yield call("GET", "/payments", self.list_payments, query=PAGE | _FILTERS | {"order"})
        yield call("GET", "/payment/{payment_id}", self.get_payment, "/payments/{payment_id}")

    async def create_payment(self, ask: Ask) -> Answer:
        """Pay one agent out of the account of another; a denial is a payment that failed."""
        draft = drafts.payment(cast("shapes.PaymentBody", ask.body))
        with called(**_NAMES):
            done = await self._paymaster.pay(ask.caller, ask.tenant_id(), draft, ask.idempotency_key(), ask.now_us)
        return json_answer(self._shown(ask, (done.value,))[0], headers=MARKED if done.replayed else ())

    async def get_payment(self, ask: Ask) -> Answer:
        """Show a payment and how far it has come."""
        with called(payment_id="path.payment_id"):
            paid = self._paymaster.get(ask.caller, ask.tenant_id(), ask.path["payment_id"])
        return json_answer(self._shown(ask, (paid,))[0])

    async def list_payments(self, ask: Ask) -> Answer:
        """List payments, the newest first unless said."""
        number, size = page(ask.query)
        newest_first = is_newest_first(ask.query)
        with inside("query"):
            status = one_of(ask.query, "status", get_args(PaymentStatus))
        wanted = PaymentFilter(
            identity_id=ask.query.get("sending_agent_id"),
            receiver_id=ask.query.get("receiving_agent_id"),
            account_id=ask.query.get("account_id"),
            status=status,
            currency=ask.query.get("currency"),
        )

        def listed(request: PageRequest) -> Page[Paid]:
            return self._paymaster.listed(ask.caller, ask.tenant_id(), wanted, request, newest_first=newest_first)

        with inside("query"), called(identity_id="sending_agent_id", receiver_id="receiving_agent_id"):
            found, has_more = await numbered(listed, number, size)
        return json_answer(answers.listed(self._shown(ask, found), (number, size), has_more=has_more))

    def _shown(self, ask: Ask, values: Iterable[Paid]) -> list[Document]:
        payments = [each.payment for each in values]
        ids = {each for payment in payments for each in (payment.identity_id, payment.receiver_id)}
        names = {each: self._name(ask, each) for each in ids}
        return [answers.payment(each, names) for each in payments]

    def _name(self, ask: Ask, identity_id: str) -> str | None:
        """Return the name of an identity, None for one that the caller does not reach."""
        try:
            return self._registry.get(ask.caller, ask.tenant_id(), identity_id).identity.name
        except NotFound:
            return None

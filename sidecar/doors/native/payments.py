"""Calls about payments between accounts."""

from collections.abc import Mapping
from typing import cast, get_args

from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_caller_id, check_name
from sidecar.core.instants import utc_text
from sidecar.core.model import Decision
from sidecar.core.payments import PaymentStatus
from sidecar.doors.native import answers, drafts, payment_answers, payment_shapes, render, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, one_of, page_request
from sidecar.service.payment_lists import Paid, PaymentFilter
from sidecar.service.payment_plan import PaymentDraft, Side
from sidecar.service.payments import Paymaster

PATH = "/v1/payments"


class PaymentCalls:
    """The calls, over the service that does them."""

    def __init__(self, paymaster: Paymaster) -> None:
        """Translate for ``paymaster``."""
        self._paymaster = paymaster

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        return (
            Call(
                method="POST",
                path=PATH,
                run=self.pay,
                request=payment_shapes.PaymentBody,
                is_idempotent=True,
                answer=payment_answers.Payment,
                status=201,
            ),
            Call(
                method="GET",
                path=PATH,
                run=self.list_payments,
                query=PAGE | {"identity_id", "sender_id", "receiver_id", "account_id", "status", "currency"},
                answer=answers.Page[payment_answers.Payment],
            ),
            Call(method="GET", path=f"{PATH}/{{payment_id}}", run=self.get_payment, answer=payment_answers.Payment),
            Call(
                method="POST",
                path=f"{PATH}/{{payment_id}}/cancel",
                run=self.cancel_payment,
                request=shapes.TenantOnlyBody,
                is_idempotent=True,
                answer=payment_answers.Payment,
            ),
        )

    async def pay(self, ask: Ask) -> Answer:
        """Decide a payment and make it: reserved, moved and settled at once, or failed where it is denied."""
        body = cast("payment_shapes.PaymentBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        return done_answer(await self._paymaster.pay(ask.caller, tenant_id, draft_of(body), key, ask.now_us), rendered)

    async def list_payments(self, ask: Ask) -> Answer:
        """List payments, those of the caller and of everybody below it."""
        name = list_name("payments", ask.query)
        page = self._paymaster.listed(ask.caller, ask.tenant_id(), _wanted(ask.query), page_request(ask.query, name))
        return page_answer(page, rendered, name)

    async def get_payment(self, ask: Ask) -> Answer:
        """Show a payment as it is now."""
        return json_answer(rendered(self._paymaster.get(ask.caller, ask.tenant_id(), ask.path["payment_id"])))

    async def cancel_payment(self, ask: Ask) -> Answer:
        """Stop a payment that is on its way, where its network still can."""
        tenant_id = ask.tenant_id(cast("shapes.TenantOnlyBody", ask.body).tenant_id)
        key = ask.idempotency_key()
        done = await self._paymaster.cancel(ask.caller, tenant_id, ask.path["payment_id"], key, ask.now_us)
        return done_answer(done, rendered, 200)


def draft_of(body: payment_shapes.PaymentBody) -> PaymentDraft:
    """Return the draft of a payment; without an account to pay from, it is one of who pays."""
    if body.from_account_id is None and body.identity_id is None:
        raise ValidationFailed("a payment names `from_account_id` or `identity_id`", field="from_account_id")
    if (body.to_account_id is None) == (body.receiver_id is None):
        field = "to_account_id" if body.receiver_id is None else "receiver_id"
        raise ValidationFailed("a payment names `to_account_id` or `receiver_id`, one of them", field=field)
    places(body.currency, "currency")  # names its own field; the amount would name its own
    source = Side(account_id=body.from_account_id)
    return PaymentDraft(
        identity_id=body.identity_id,
        source=Side(identity_id=body.identity_id) if body.from_account_id is None else source,
        target=Side(account_id=body.to_account_id, identity_id=body.receiver_id),
        amount=body.amount,
        currency=body.currency,
        network=None if body.network is None else check_caller_id(body.network, "network"),
        request_id=None if body.request_id is None else check_name(body.request_id, "request_id"),
        debug_mode=body.debug_mode,
        context=drafts.plain(body.context, "context"),
        metadata=drafts.metadata(body.metadata),
    )


def _wanted(query: Mapping[str, str]) -> PaymentFilter:
    if "currency" in query:
        places(query["currency"], "currency")
    return PaymentFilter(
        identity_id=query.get("identity_id"),
        sender_id=query.get("sender_id"),
        receiver_id=query.get("receiver_id"),
        account_id=query.get("account_id"),
        status=one_of(query, "status", get_args(PaymentStatus)),
        currency=query.get("currency"),
    )


def rendered(value: Paid) -> payment_answers.Payment:
    """Return a payment with its decision."""
    payment = value.payment
    return {
        "payment_id": payment.payment_id,
        "tenant_id": value.tenant_id,
        "identity_id": payment.identity_id,
        "from_account_id": payment.from_account_id,
        "to_account_id": payment.to_account_id,
        "sender_id": payment.sender_id,
        "receiver_id": payment.receiver_id,
        "amount": render.number(payment.amount_minor, payment.currency),
        "currency": payment.currency,
        "network": payment.network,
        "status": payment.status,
        "request_id": payment.request_id,
        "transaction_hash": payment.transaction_hash,
        "transaction_fee": render.number(payment.transaction_fee_minor, payment.currency),
        "error_details": payment.error_details,
        "challenge": payment.challenge,
        "risk_level": payment.risk_level,
        "debug_mode": payment.debug_mode,
        "metadata": payment.metadata,
        "decision": None if value.decision is None else _decision(value.decision),
        "created_at": utc_text(payment.created_at_us),
        "updated_at": utc_text(payment.updated_at_us),
    }


def _decision(value: Decision) -> payment_answers.PaymentDecision:
    return {
        "decision_id": value.decision_id,
        "allowed": value.allowed,
        "reasons": [render.reason(each) for each in value.reasons],
        "budget_checks": [render.budget_check(each) for each in value.budget_checks],
    }

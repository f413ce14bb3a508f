"""Calls about accounts: what identities hold, and what comes in and goes out."""

from typing import cast, get_args

from sidecar.core.accounts import AccountStatus
from sidecar.core.currencies import places
from sidecar.core.ids import check_caller_id, check_name
from sidecar.core.instants import utc_text
from sidecar.doors.native import answers, payment_answers, payment_shapes, render, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, Function, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, one_of, page_request
from sidecar.service.accounts import AccountDraft, AccountFilter, Bank, Held

PATH = "/v1/accounts"


class AccountCalls:
    """The calls, over the service that does them."""

    def __init__(self, bank: Bank) -> None:
        """Translate for ``bank``."""
        self._bank = bank

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        return (
            Call(
                method="POST",
                path=PATH,
                run=self.open_account,
                request=payment_shapes.AccountBody,
                is_idempotent=True,
                answer=payment_answers.Account,
                status=201,
            ),
            Call(
                method="GET",
                path=PATH,
                run=self.list_accounts,
                query=PAGE | {"identity_id", "asset", "network", "status"},
                answer=answers.Page[payment_answers.Account],
            ),
            Call(method="GET", path=f"{PATH}/{{account_id}}", run=self.get_account, answer=payment_answers.Account),
            _movement("deposits", self.deposit),
            _movement("withdrawals", self.withdraw),
            Call(
                method="POST",
                path=f"{PATH}/{{account_id}}/close",
                run=self.close_account,
                request=shapes.TenantOnlyBody,
                is_idempotent=True,
                answer=payment_answers.Account,
            ),
        )

    async def open_account(self, ask: Ask) -> Answer:
        """Open an account of an identity, with nothing in it."""
        body = cast("payment_shapes.AccountBody", ask.body)
        draft = AccountDraft(
            identity_id=body.identity_id,
            asset=body.asset,
            network=check_caller_id(body.network, "network"),
            wallet_address=None if body.wallet_address is None else check_name(body.wallet_address, "wallet_address"),
            name=None if body.name is None else check_name(body.name, "name"),
        )
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        return done_answer(await self._bank.open(ask.caller, tenant_id, draft, key, ask.now_us), rendered)

    async def list_accounts(self, ask: Ask) -> Answer:
        """List accounts."""
        name, query = list_name("accounts", ask.query), ask.query
        if "asset" in query:
            places(query["asset"], "asset")
        wanted = AccountFilter(
            identity_id=query.get("identity_id"),
            asset=query.get("asset"),
            network=check_caller_id(query["network"], "network") if "network" in query else None,
            status=one_of(query, "status", get_args(AccountStatus)),
        )
        page = self._bank.listed(ask.caller, ask.tenant_id(), wanted, page_request(query, name))
        return page_answer(page, rendered, name)

    async def get_account(self, ask: Ask) -> Answer:
        """Show an account and what is in it."""
        return json_answer(rendered(self._bank.get(ask.caller, ask.tenant_id(), ask.path["account_id"])))

    async def deposit(self, ask: Ask) -> Answer:
        """Book what came in from outside; answers with the account."""
        body = cast("payment_shapes.MovementBody", ask.body)
        done = await self._bank.deposit(
            ask.caller,
            ask.tenant_id(body.tenant_id),
            ask.path["account_id"],
            body.amount,
            _reference(body),
            ask.idempotency_key(),
            ask.now_us,
        )
        return done_answer(done, rendered)

    async def withdraw(self, ask: Ask) -> Answer:
        """Book what goes out, at most what is there; answers with the account."""
        body = cast("payment_shapes.MovementBody", ask.body)
        done = await self._bank.withdraw(
            ask.caller,
            ask.tenant_id(body.tenant_id),
            ask.path["account_id"],
            body.amount,
            _reference(body),
            ask.idempotency_key(),
            ask.now_us,
        )
        return done_answer(done, rendered)

    async def close_account(self, ask: Ask) -> Answer:
        """Close an empty account for good."""
        tenant_id = ask.tenant_id(cast("shapes.TenantOnlyBody", ask.body).tenant_id)
        key = ask.idempotency_key()
        done = await self._bank.close(ask.caller, tenant_id, ask.path["account_id"], key, ask.now_us)
        return done_answer(done, rendered, 200)


def _reference(body: payment_shapes.MovementBody) -> str | None:
    return None if body.reference is None else check_name(body.reference, "reference")


def rendered(held: Held) -> payment_answers.Account:
    """Return an account with what is in it."""
    value = held.account
    return {
        "account_id": value.account_id,
        "tenant_id": held.tenant_id,
        "identity_id": value.identity_id,
        "asset": value.asset,
        "network": value.network,
        "wallet_address": value.wallet_address,
        "name": value.name,
        "status": value.status,
        "balance": render.number(held.balance_minor, value.asset),
        "created_at": utc_text(value.created_at_us),
        "revision": value.revision,
    }


def _movement(noun: str, run: Function) -> Call:
    """Return a call that books what comes in or goes out."""
    return Call(
        method="POST",
        path=f"{PATH}/{{account_id}}/{noun}",
        run=run,
        request=payment_shapes.MovementBody,
        is_idempotent=True,
        answer=payment_answers.Account,
        status=201,
    )

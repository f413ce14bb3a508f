"""Calls about cards and the kill switch."""

from typing import cast, get_args

import msgspec

from sidecar.core.access import Caller
from sidecar.core.cards import CardStatus
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.instants import utc_text
from sidecar.doors.native import drafts, render, shapes
from sidecar.doors.native.replays import done_answer
from sidecar.doors.native.resources import page_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, one_of, page_request
from sidecar.service.kill_switch import Killed, KillSwitch
from sidecar.service.treasury import CardDesk, CardFilter, Shown

PATH = "/v1/treasury/cards"


class TreasuryCalls:
    """The calls, over the service that does them."""

    def __init__(self, desk: CardDesk, kill_switch: KillSwitch) -> None:
        """Translate for these services."""
        self._desk = desk
        self._kill_switch = kill_switch

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        one, only_tenant = f"{PATH}/{{card_id}}", shapes.TenantOnlyBody
        return (
            Call(method="POST", path=PATH, run=self.create, request=shapes.CardBody, is_idempotent=True),
            Call(method="GET", path=PATH, run=self.list, query=PAGE | {"identity_id", "status"}),
            Call(method="GET", path=one, run=self.get),
            Call(method="POST", path=f"{one}/freeze", run=self.freeze, request=only_tenant, is_idempotent=True),
            Call(method="POST", path=f"{one}/unfreeze", run=self.unfreeze, request=only_tenant, is_idempotent=True),
            Call(method="POST", path=f"{one}/close", run=self.close, request=only_tenant, is_idempotent=True),
            Call(
                method="POST",
                path="/v1/treasury/kill-switch",
                run=self.kill,
                request=shapes.KillSwitchBody,
                is_idempotent=True,
            ),
        )

    async def create(self, ask: Ask) -> Answer:
        """Make a card: a reference to one that a network issued, with its limits."""
        body = cast("shapes.CardBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        return done_answer(await self._desk.create(ask.caller, tenant_id, drafts.card(body), key, ask.now_us), rendered)

    async def list(self, ask: Ask) -> Answer:
        """List cards."""
        name = list_name("cards", ask.query)
        wanted = CardFilter(ask.query.get("identity_id"), one_of(ask.query, "status", get_args(CardStatus)))
        page = self._desk.listed(ask.caller, ask.tenant_id(), wanted, page_request(ask.query, name))
        return page_answer(page, rendered, name)

    async def get(self, ask: Ask) -> Answer:
        """Show a card."""
        return json_answer(rendered(self._desk.get(ask.caller, ask.tenant_id(), ask.path["card_id"])))

    async def freeze(self, ask: Ask) -> Answer:
        """Freeze a card: the next decision with it is a denial."""
        return done_answer(await self._desk.freeze(*_named(ask)), rendered, 200)

    async def unfreeze(self, ask: Ask) -> Answer:
        """Make a frozen card active again, also after the kill switch."""
        return done_answer(await self._desk.unfreeze(*_named(ask)), rendered, 200)

    async def close(self, ask: Ask) -> Answer:
        """Close a card for good."""
        return done_answer(await self._desk.close(*_named(ask)), rendered, 200)

    async def kill(self, ask: Ask) -> Answer:
        """Freeze every active card of an identity and of everybody below, by one mark."""
        body = cast("shapes.KillSwitchBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        done = await self._kill_switch.kill(ask.caller, tenant_id, body.identity_id, key, ask.now_us)
        return done_answer(done, killed, 200)


def _named(ask: Ask) -> tuple[Caller, str | None, str, IdempotencyKey | None, int]:
    tenant_id = ask.tenant_id(cast("shapes.TenantOnlyBody", ask.body).tenant_id)
    return ask.caller, tenant_id, ask.path["card_id"], ask.idempotency_key(), ask.now_us


def rendered(shown: Shown) -> render.Document:
    """Return a card; ``status`` is what holds, ``frozen_by`` the identity whose kill switch froze it."""
    value, by = shown.card, shown.standing.identity
    return {
        "card_id": value.card_id,
        "tenant_id": shown.tenant_id,
        "identity_id": value.identity_id,
        "status": shown.standing.status,
        "frozen_by": None if by is None else by.identity_id,
        "currency": value.currency,
        "last4": value.last4,
        "external_ref": None if value.external_ref is None else msgspec.to_builtins(value.external_ref),
        "allowed_mccs": value.allowed_mccs,
        "spend_limit_daily": _spend_limit(shown, "daily"),
        "spend_limit_monthly": _spend_limit(shown, "monthly"),
        "budget_ids": [budget.budget_id for budget in shown.budgets],
        "created_at": utc_text(value.created_at_us),
        "revision": value.revision,
    }


def _spend_limit(shown: Shown, period: str) -> object:
    """Return the lowest hard limit of a card in its own currency for a period, None without one."""
    limits = [
        budget.limit
        for budget in shown.budgets
        if budget.is_hard and budget.period == period and budget.currency == shown.card.currency and not budget.actions
    ]
    return render.number(min(limits), shown.card.currency) if limits else None


def killed(value: Killed) -> render.Document:
    """Return what the kill switch did."""
    return {"frozen": value.frozen, "card_ids": value.card_ids}

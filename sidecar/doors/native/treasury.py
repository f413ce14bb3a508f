"""Calls about cards and the kill switch."""

from typing import cast, get_args

from sidecar.core.access import Caller
from sidecar.core.cards import CardStatus
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.instants import utc_text
from sidecar.doors.native import answers, card_answers, drafts, render, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, Function, json_answer
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
        return (
            Call(
                method="POST",
                path=PATH,
                run=self.create_card,
                request=shapes.CardBody,
                is_idempotent=True,
                answer=card_answers.Card,
                status=201,
            ),
            Call(
                method="GET",
                path=PATH,
                run=self.list_cards,
                query=PAGE | {"identity_id", "status"},
                answer=answers.Page[card_answers.Card],
            ),
            Call(method="GET", path=f"{PATH}/{{card_id}}", run=self.get_card, answer=card_answers.Card),
            _turn("freeze", self.freeze_card),
            _turn("unfreeze", self.unfreeze_card),
            _turn("close", self.close_card),
            Call(
                method="POST",
                path="/v1/treasury/kill-switch",
                run=self.use_kill_switch,
                request=shapes.KillSwitchBody,
                is_idempotent=True,
                answer=card_answers.Killed,
            ),
        )

    async def create_card(self, ask: Ask) -> Answer:
        """Make a card: a reference to one that a network issued, with its limits."""
        body = cast("shapes.CardBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        return done_answer(await self._desk.create(ask.caller, tenant_id, drafts.card(body), key, ask.now_us), rendered)

    async def list_cards(self, ask: Ask) -> Answer:
        """List cards."""
        name = list_name("cards", ask.query)
        wanted = CardFilter(ask.query.get("identity_id"), one_of(ask.query, "status", get_args(CardStatus)))
        page = self._desk.listed(ask.caller, ask.tenant_id(), wanted, page_request(ask.query, name))
        return page_answer(page, rendered, name)

    async def get_card(self, ask: Ask) -> Answer:
        """Show a card."""
        return json_answer(rendered(self._desk.get(ask.caller, ask.tenant_id(), ask.path["card_id"])))

    async def freeze_card(self, ask: Ask) -> Answer:
        """Freeze a card: the next decision with it is a denial."""
        return done_answer(await self._desk.freeze(*_named(ask)), rendered, 200)

    async def unfreeze_card(self, ask: Ask) -> Answer:
        """Make a frozen card active again, also after the kill switch."""
        return done_answer(await self._desk.unfreeze(*_named(ask)), rendered, 200)

    async def close_card(self, ask: Ask) -> Answer:
        """Close a card for good."""
        return done_answer(await self._desk.close(*_named(ask)), rendered, 200)

    async def use_kill_switch(self, ask: Ask) -> Answer:
        """Freeze every active card of an identity and of everybody below, by one mark."""
        body = cast("shapes.KillSwitchBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        done = await self._kill_switch.kill(ask.caller, tenant_id, body.identity_id, key, ask.now_us)
        return done_answer(done, killed, 200)


def _turn(verb: str, run: Function) -> Call:
    """Return a call that changes what holds for a card."""
    return Call(
        method="POST",
        path=f"{PATH}/{{card_id}}/{verb}",
        run=run,
        request=shapes.TenantOnlyBody,
        is_idempotent=True,
        answer=card_answers.Card,
    )


def _named(ask: Ask) -> tuple[Caller, str | None, str, IdempotencyKey | None, int]:
    tenant_id = ask.tenant_id(cast("shapes.TenantOnlyBody", ask.body).tenant_id)
    return ask.caller, tenant_id, ask.path["card_id"], ask.idempotency_key(), ask.now_us


def rendered(shown: Shown) -> card_answers.Card:
    """Return a card; ``status`` is what holds, ``frozen_by`` the identity whose kill switch froze it."""
    value, by = shown.card, shown.state.identity
    return {
        "card_id": value.card_id,
        "tenant_id": shown.tenant_id,
        "identity_id": value.identity_id,
        "status": shown.state.status,
        "frozen_by": None if by is None else by.identity_id,
        "currency": value.currency,
        "last4": value.last4,
        "external_ref": None
        if value.external_ref is None
        else {"network": value.external_ref.network, "id": value.external_ref.id},
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


def killed(value: Killed) -> card_answers.Killed:
    """Return what the kill switch did."""
    return {"frozen": value.frozen or 0, "card_ids": [*value.card_ids]}

"""Calls about budgets."""

from collections.abc import Iterable
from typing import cast

from sidecar.doors.native import answers, drafts, render, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.budgets import BudgetFilter, Treasurer


class BudgetCalls:
    """The calls, over the service that does them."""

    def __init__(self, treasurer: Treasurer) -> None:
        """Translate for this service."""
        self._treasurer = treasurer

    def calls(self) -> Iterable[Call]:
        """Return the documented calls."""
        path, one = "/v1/budgets", "/v1/budgets/{budget_id}"
        yield Call(
            method="POST",
            path=path,
            run=self.create_budget,
            request=shapes.BudgetBody,
            is_idempotent=True,
            answer=answers.Budget,
            status=201,
        )
        yield Call(
            method="GET",
            path=path,
            run=self.list_budgets,
            query=PAGE | {"identity_id", "card_id"},
            answer=answers.Page[answers.Budget],
        )
        yield Call(method="GET", path=one, run=self.get_budget, answer=answers.Budget)
        yield Call(
            method="PATCH", path=one, run=self.change_budget, request=shapes.BudgetPatchBody, answer=answers.Budget
        )
        yield Call(method="DELETE", path=one, run=self.delete_budget, status=204)

    async def create_budget(self, ask: Ask) -> Answer:
        """Make a budget."""
        body = cast("shapes.BudgetBody", ask.body)
        tenant_id, draft = ask.tenant_id(body.tenant_id), drafts.budget(body)
        key = ask.idempotency_key()
        return done_answer(await self._treasurer.create(ask.caller, tenant_id, draft, ask.now_us, key), render.budget)

    async def list_budgets(self, ask: Ask) -> Answer:
        """List budgets."""
        name = list_name("budgets", ask.query)
        wanted = BudgetFilter(ask.query.get("identity_id"), ask.query.get("card_id"))
        page = self._treasurer.listed(ask.caller, ask.tenant_id(), wanted, page_request(ask.query, name), ask.now_us)
        return page_answer(page, render.budget, name)

    async def get_budget(self, ask: Ask) -> Answer:
        """Show a budget with its usage."""
        metered = self._treasurer.get(ask.caller, ask.tenant_id(), ask.path["budget_id"], ask.now_us)
        return json_answer(render.budget(metered))

    async def change_budget(self, ask: Ask) -> Answer:
        """Change a budget."""
        body = cast("shapes.BudgetPatchBody", ask.body)
        tenant_id, patch = ask.tenant_id(body.tenant_id), drafts.budget_patch(body)
        changed = await self._treasurer.change(ask.caller, tenant_id, ask.path["budget_id"], patch, ask.now_us)
        return json_answer(render.budget(changed))

    async def delete_budget(self, ask: Ask) -> Answer:
        """Delete a budget."""
        await self._treasurer.delete(ask.caller, ask.tenant_id(), ask.path["budget_id"], ask.now_us)
        return Answer(204)

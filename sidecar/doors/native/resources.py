"""Calls about what a tenant consists of: tenants, identities, policies, budgets, tokens."""

from collections.abc import Callable, Iterable
from typing import TypeVar, cast

import msgspec

from sidecar.doors.native import answers, drafts, render, shapes
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, cursor_at, page_request
from sidecar.service.budgets import Treasurer
from sidecar.service.identities import Registry
from sidecar.service.paging import Page
from sidecar.service.policies import Legislator
from sidecar.service.tenants import Tenancy
from sidecar.service.tokens import TokenDesk

T = TypeVar("T")


class Services(msgspec.Struct, frozen=True):
    """What these calls are translated onto."""

    tenancy: Tenancy
    registry: Registry
    legislator: Legislator
    treasurer: Treasurer
    desk: TokenDesk


class ResourceCalls:
    """The calls, over the services that do them."""

    def __init__(self, services: Services) -> None:
        """Translate for these services."""
        self._to = services

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        return (*self._tenants(), *self._identities(), *self._policies(), *self._budgets(), *self._tokens())

    def _tenants(self) -> Iterable[Call]:
        path, one = "/v1/tenants", "/v1/tenants/{tenant_id}"
        yield Call(
            method="POST",
            path=path,
            run=self.create_tenant,
            request=shapes.TenantBody,
            answer=answers.FoundedTenant,
            status=201,
            names_tenant=False,
        )
        yield Call(
            method="GET",
            path=path,
            run=self.list_tenants,
            query=PAGE,
            answer=answers.Page[answers.Tenant],
            names_tenant=False,
        )
        yield Call(method="GET", path=one, run=self.get_tenant, answer=answers.Tenant, names_tenant=False)

    def _identities(self) -> Iterable[Call]:
        path, one = "/v1/identities", "/v1/identities/{identity_id}"
        filters = PAGE | {"parent_id", "type", "external_id", "status"}
        yield Call(
            method="POST",
            path=path,
            run=self.create_identity,
            request=shapes.IdentityBody,
            answer=answers.Identity,
            status=201,
        )
        yield Call(
            method="GET",
            path=path,
            run=self.list_identities,
            query=filters,
            answer=answers.Page[answers.Identity],
        )
        yield Call(method="GET", path=one, run=self.get_identity, answer=answers.Identity)
        yield Call(
            method="PATCH",
            path=one,
            run=self.change_identity,
            request=shapes.IdentityPatchBody,
            answer=answers.Identity,
        )
        yield Call(method="GET", path=f"{one}/chain", run=self.get_chain, answer=answers.IdentityChain)
        yield Call(
            method="POST",
            path=f"{one}/revoke",
            run=self.revoke_identity,
            request=shapes.TenantOnlyBody,
            answer=answers.RevokedIdentity,
        )

    def _policies(self) -> Iterable[Call]:
        path, one = "/v1/policies", "/v1/policies/{policy_id}"
        yield Call(
            method="POST",
            path=path,
            run=self.create_policy,
            request=shapes.PolicyBody,
            answer=answers.Policy,
            status=201,
        )
        yield Call(
            method="GET",
            path=path,
            run=self.list_policies,
            query=PAGE | {"identity_id"},
            answer=answers.Page[answers.Policy],
        )
        yield Call(method="GET", path=one, run=self.get_policy, answer=answers.Policy)
        yield Call(method="DELETE", path=one, run=self.delete_policy, status=204)

    def _budgets(self) -> Iterable[Call]:
        path, one = "/v1/budgets", "/v1/budgets/{budget_id}"
        yield Call(
            method="POST",
            path=path,
            run=self.create_budget,
            request=shapes.BudgetBody,
            answer=answers.Budget,
            status=201,
        )
        yield Call(
            method="GET",
            path=path,
            run=self.list_budgets,
            query=PAGE | {"identity_id"},
            answer=answers.Page[answers.Budget],
        )
        yield Call(method="GET", path=one, run=self.get_budget, answer=answers.Budget)
        yield Call(
            method="PATCH",
            path=one,
            run=self.change_budget,
            request=shapes.BudgetPatchBody,
            answer=answers.Budget,
        )
        yield Call(method="DELETE", path=one, run=self.delete_budget, status=204)

    def _tokens(self) -> Iterable[Call]:
        path = "/v1/tokens"
        yield Call(
            method="POST",
            path=path,
            run=self.create_token,
            request=shapes.TokenBody,
            answer=answers.MintedToken,
            status=201,
        )
        yield Call(
            method="GET",
            path=path,
            run=self.list_tokens,
            query=PAGE | {"identity_id"},
            answer=answers.Page[answers.Token],
        )
        yield Call(method="DELETE", path=f"{path}/{{token_id}}", run=self.delete_token, status=204)

    async def create_tenant(self, ask: Ask) -> Answer:
        """Make a tenant; its key is shown in this answer only."""
        draft = drafts.tenant(cast("shapes.TenantBody", ask.body))
        founded = await self._to.tenancy.create(ask.caller, draft, ask.now_us)
        return json_answer(render.tenant(founded.tenant) | {"api_key": founded.key.text}, 201)

    async def list_tenants(self, ask: Ask) -> Answer:
        """List tenants."""
        found = self._to.tenancy.listed(ask.caller, page_request(ask.query, "tenants"))
        return _page(found, render.tenant, "tenants")

    async def get_tenant(self, ask: Ask) -> Answer:
        """Show a tenant."""
        return json_answer(render.tenant(self._to.tenancy.get(ask.caller, ask.path["tenant_id"])))

    async def create_identity(self, ask: Ask) -> Answer:
        """Make an identity."""
        body = cast("shapes.IdentityBody", ask.body)
        tenant_id = ask.tenant_id(body.tenant_id)
        made = await self._to.registry.create(ask.caller, tenant_id, drafts.identity(body), ask.now_us)
        return json_answer(render.identity(made), 201)

    async def list_identities(self, ask: Ask) -> Answer:
        """List identities."""
        wanted = drafts.identity_filter(ask.query)
        page = self._to.registry.listed(ask.caller, ask.tenant_id(), wanted, page_request(ask.query, "identities"))
        return _page(page, render.identity, "identities")

    async def get_identity(self, ask: Ask) -> Answer:
        """Show an identity."""
        return json_answer(render.identity(self._to.registry.get(ask.caller, ask.tenant_id(), ask.path["identity_id"])))

    async def change_identity(self, ask: Ask) -> Answer:
        """Change an identity."""
        body = cast("shapes.IdentityPatchBody", ask.body)
        tenant_id, patch = ask.tenant_id(body.tenant_id), drafts.identity_patch(body)
        changed = await self._to.registry.change(ask.caller, tenant_id, ask.path["identity_id"], patch, ask.now_us)
        return json_answer(render.identity(changed))

    async def get_chain(self, ask: Ask) -> Answer:
        """Show an identity chain."""
        return json_answer(render.chain(self._to.registry.chain(ask.caller, ask.tenant_id(), ask.path["identity_id"])))

    async def revoke_identity(self, ask: Ask) -> Answer:
        """Revoke an identity and everybody below it."""
        tenant_id = ask.tenant_id(cast("shapes.TenantOnlyBody", ask.body).tenant_id)
        revoked = await self._to.registry.revoke(ask.caller, tenant_id, ask.path["identity_id"], ask.now_us)
        return json_answer(render.identity(revoked.described) | {"affected": revoked.affected})

    async def create_policy(self, ask: Ask) -> Answer:
        """Make a policy."""
        body = cast("shapes.PolicyBody", ask.body)
        tenant_id, draft = ask.tenant_id(body.tenant_id), drafts.policy(body, ask.document)
        return json_answer(
            render.policy(await self._to.legislator.create(ask.caller, tenant_id, draft, ask.now_us)), 201
        )

    async def list_policies(self, ask: Ask) -> Answer:
        """List policies."""
        request = page_request(ask.query, "policies")
        page = self._to.legislator.listed(ask.caller, ask.tenant_id(), ask.query.get("identity_id"), request)
        return _page(page, render.policy, "policies")

    async def get_policy(self, ask: Ask) -> Answer:
        """Show a policy."""
        return json_answer(render.policy(self._to.legislator.get(ask.caller, ask.tenant_id(), ask.path["policy_id"])))

    async def delete_policy(self, ask: Ask) -> Answer:
        """Delete a policy."""
        await self._to.legislator.delete(ask.caller, ask.tenant_id(), ask.path["policy_id"], ask.now_us)
        return Answer(204)

    async def create_budget(self, ask: Ask) -> Answer:
        """Make a budget."""
        body = cast("shapes.BudgetBody", ask.body)
        tenant_id, draft = ask.tenant_id(body.tenant_id), drafts.budget(body)
        return json_answer(
            render.budget(await self._to.treasurer.create(ask.caller, tenant_id, draft, ask.now_us)), 201
        )

    async def list_budgets(self, ask: Ask) -> Answer:
        """List budgets."""
        request, identity_id = page_request(ask.query, "budgets"), ask.query.get("identity_id")
        page = self._to.treasurer.listed(ask.caller, ask.tenant_id(), identity_id, request, ask.now_us)
        return _page(page, render.budget, "budgets")

    async def get_budget(self, ask: Ask) -> Answer:
        """Show a budget with its usage."""
        metered = self._to.treasurer.get(ask.caller, ask.tenant_id(), ask.path["budget_id"], ask.now_us)
        return json_answer(render.budget(metered))

    async def change_budget(self, ask: Ask) -> Answer:
        """Change a budget."""
        body = cast("shapes.BudgetPatchBody", ask.body)
        tenant_id, patch = ask.tenant_id(body.tenant_id), drafts.budget_patch(body)
        changed = await self._to.treasurer.change(ask.caller, tenant_id, ask.path["budget_id"], patch, ask.now_us)
        return json_answer(render.budget(changed))

    async def delete_budget(self, ask: Ask) -> Answer:
        """Delete a budget."""
        await self._to.treasurer.delete(ask.caller, ask.tenant_id(), ask.path["budget_id"], ask.now_us)
        return Answer(204)

    async def create_token(self, ask: Ask) -> Answer:
        """Make a token; its text is shown in this answer only."""
        body = cast("shapes.TokenBody", ask.body)
        tenant_id, draft = ask.tenant_id(body.tenant_id), drafts.token(body)
        made = await self._to.desk.create(ask.caller, tenant_id, draft, ask.now_us)
        return json_answer(render.token(made.token, made.tenant_id) | {"token": made.text}, 201)

    async def list_tokens(self, ask: Ask) -> Answer:
        """List tokens."""
        request = page_request(ask.query, "tokens")
        tenant_id, page = self._to.desk.listed(ask.caller, ask.tenant_id(), ask.query.get("identity_id"), request)
        return _page(page, lambda token: render.token(token, tenant_id), "tokens")

    async def delete_token(self, ask: Ask) -> Answer:
        """Delete a token."""
        await self._to.desk.revoke(ask.caller, ask.tenant_id(), ask.path["token_id"], ask.now_us)
        return Answer(204)


def _page(page: Page[T], shown: Callable[[T], object], list_name: str) -> Answer:
    data = [shown(value) for value in page.values]
    return json_answer({"data": data, "next_cursor": cursor_at(page.next_after, list_name)})

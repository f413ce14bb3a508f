"""Calls about what a tenant consists of: tenants, identities, policies, budgets, tokens."""

from collections.abc import Callable, Iterable
from typing import TypeVar, cast, get_args

import msgspec

from sidecar.core.directory import Status
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_type
from sidecar.doors.native import drafts, render, replays, shapes
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, cursor_at, list_name, one_of, page_request
from sidecar.service.budgets import BudgetFilter, Treasurer
from sidecar.service.identities import Registry
from sidecar.service.paging import Page
from sidecar.service.policies import Legislator
from sidecar.service.subtrees import IdentityFilter
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
        path = "/v1/tenants"
        yield Call(method="POST", path=path, run=self.create_tenant, request=shapes.TenantBody, is_idempotent=True)
        yield Call(method="GET", path=path, run=self.list_tenants, query=PAGE)
        yield Call(method="GET", path=f"{path}/{{tenant_id}}", run=self.get_tenant)
        yield Call(method="PATCH", path=f"{path}/{{tenant_id}}", run=self.change_tenant, request=shapes.TenantPatchBody)

    def _identities(self) -> Iterable[Call]:
        path, one = "/v1/identities", "/v1/identities/{identity_id}"
        filters = PAGE | {"parent_id", "type", "external_id", "status"}
        yield Call(method="POST", path=path, run=self.create_identity, request=shapes.IdentityBody, is_idempotent=True)
        yield Call(method="GET", path=path, run=self.list_identities, query=filters)
        yield Call(method="GET", path=one, run=self.get_identity)
        yield Call(method="PATCH", path=one, run=self.change_identity, request=shapes.IdentityPatchBody)
        yield Call(method="GET", path=f"{one}/chain", run=self.get_chain)
        yield Call(
            method="POST",
            path=f"{one}/revoke",
            run=self.revoke_identity,
            request=shapes.TenantOnlyBody,
            is_idempotent=True,
        )

    def _policies(self) -> Iterable[Call]:
        path, one = "/v1/policies", "/v1/policies/{policy_id}"
        yield Call(method="POST", path=path, run=self.create_policy, request=shapes.PolicyBody, is_idempotent=True)
        yield Call(method="GET", path=path, run=self.list_policies, query=PAGE | {"identity_id"})
        yield Call(method="GET", path=one, run=self.get_policy)
        yield Call(method="DELETE", path=one, run=self.delete_policy)

    def _budgets(self) -> Iterable[Call]:
        path, one = "/v1/budgets", "/v1/budgets/{budget_id}"
        yield Call(method="POST", path=path, run=self.create_budget, request=shapes.BudgetBody, is_idempotent=True)
        yield Call(method="GET", path=path, run=self.list_budgets, query=PAGE | {"identity_id", "card_id"})
        yield Call(method="GET", path=one, run=self.get_budget)
        yield Call(method="PATCH", path=one, run=self.change_budget, request=shapes.BudgetPatchBody)
        yield Call(method="DELETE", path=one, run=self.delete_budget)

    def _tokens(self) -> Iterable[Call]:
        path = "/v1/tokens"
        yield Call(method="POST", path=path, run=self.create_token, request=shapes.TokenBody, is_idempotent=True)
        yield Call(method="GET", path=path, run=self.list_tokens, query=PAGE | {"identity_id"})
        yield Call(method="PATCH", path=f"{path}/{{token_id}}", run=self.change_token, request=shapes.TokenPatchBody)
        yield Call(method="DELETE", path=f"{path}/{{token_id}}", run=self.delete_token)
        yield Call(
            method="POST",
            path=f"{path}/{{token_id}}/rotate",
            run=self.rotate_token,
            request=shapes.RotateBody,
            is_idempotent=True,
        )

    async def create_tenant(self, ask: Ask) -> Answer:
        """Make a tenant; its key is shown in this answer only."""
        if ask.tenant_id() is not None:
            raise ValidationFailed("a new tenant is named in the body, as `id`", field="tenant_id")
        draft = drafts.tenant(cast("shapes.TenantBody", ask.body))
        done = await self._to.tenancy.create(ask.caller, draft, ask.now_us, ask.idempotency_key())
        return done_answer(done, replays.founded)

    async def list_tenants(self, ask: Ask) -> Answer:
        """List tenants."""
        name = list_name("tenants", ask.query)
        found = self._to.tenancy.listed(ask.caller, page_request(ask.query, name), ask.tenant_id())
        return page_answer(found, render.tenant, name)

    async def get_tenant(self, ask: Ask) -> Answer:
        """Show a tenant."""
        tenant_id = ask.path["tenant_id"]
        ask.tenant_id(tenant_id)
        return json_answer(render.tenant(self._to.tenancy.get(ask.caller, tenant_id)))

    async def change_tenant(self, ask: Ask) -> Answer:
        """Change a tenant."""
        patch = drafts.tenant_patch(cast("shapes.TenantPatchBody", ask.body))
        changed = await self._to.tenancy.change(ask.caller, ask.path["tenant_id"], patch, ask.now_us)
        return json_answer(render.tenant(changed))

    async def create_identity(self, ask: Ask) -> Answer:
        """Make an identity."""
        body = cast("shapes.IdentityBody", ask.body)
        tenant_id = ask.tenant_id(body.tenant_id)
        draft, key = drafts.identity(body), ask.idempotency_key()
        done = await self._to.registry.create(ask.caller, tenant_id, draft, ask.now_us, key)
        return done_answer(done, render.identity)

    async def list_identities(self, ask: Ask) -> Answer:
        """List identities."""
        type_name = ask.query.get("type")
        wanted = IdentityFilter(
            parent_id=ask.query.get("parent_id"),
            type=None if type_name is None else check_type(type_name, "type"),
            external_id=ask.query.get("external_id"),
            status=one_of(ask.query, "status", get_args(Status)),
        )
        name = list_name("identities", ask.query)
        page = self._to.registry.listed(ask.caller, ask.tenant_id(), wanted, page_request(ask.query, name))
        return page_answer(page, render.identity, name)

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
        key = ask.idempotency_key()
        done = await self._to.registry.revoke(ask.caller, tenant_id, ask.path["identity_id"], ask.now_us, key)
        return done_answer(done, replays.revoked, 200)

    async def create_policy(self, ask: Ask) -> Answer:
        """Make a policy."""
        body = cast("shapes.PolicyBody", ask.body)
        tenant_id, draft = ask.tenant_id(body.tenant_id), drafts.policy(body, ask.document)
        key = ask.idempotency_key()
        return done_answer(
            await self._to.legislator.create(ask.caller, tenant_id, draft, ask.now_us, key), render.policy
        )

    async def list_policies(self, ask: Ask) -> Answer:
        """List policies."""
        name = list_name("policies", ask.query)
        request = page_request(ask.query, name)
        page = self._to.legislator.listed(ask.caller, ask.tenant_id(), ask.query.get("identity_id"), request)
        return page_answer(page, render.policy, name)

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
        key = ask.idempotency_key()
        return done_answer(
            await self._to.treasurer.create(ask.caller, tenant_id, draft, ask.now_us, key), render.budget
        )

    async def list_budgets(self, ask: Ask) -> Answer:
        """List budgets."""
        name = list_name("budgets", ask.query)
        wanted = BudgetFilter(ask.query.get("identity_id"), ask.query.get("card_id"))
        page = self._to.treasurer.listed(ask.caller, ask.tenant_id(), wanted, page_request(ask.query, name), ask.now_us)
        return page_answer(page, render.budget, name)

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
        key = ask.idempotency_key()
        return done_answer(await self._to.desk.create(ask.caller, tenant_id, draft, ask.now_us, key), replays.minted)

    async def list_tokens(self, ask: Ask) -> Answer:
        """List tokens."""
        name = list_name("tokens", ask.query)
        request = page_request(ask.query, name)
        tenant_id, page = self._to.desk.listed(ask.caller, ask.tenant_id(), ask.query.get("identity_id"), request)
        return page_answer(page, lambda token: render.token(token, tenant_id), name)

    async def change_token(self, ask: Ask) -> Answer:
        """Change a token."""
        body = cast("shapes.TokenPatchBody", ask.body)
        tenant_id, patch = ask.tenant_id(body.tenant_id), drafts.token_patch(body)
        tenant_id, changed = await self._to.desk.change(ask.caller, tenant_id, ask.path["token_id"], patch, ask.now_us)
        return json_answer(render.token(changed, tenant_id))

    async def rotate_token(self, ask: Ask) -> Answer:
        """Give a token a new text, shown in this answer only; the one before opens on for the grace time."""
        body = cast("shapes.RotateBody", ask.body)
        tenant_id, token_id = ask.tenant_id(body.tenant_id), ask.path["token_id"]
        key = ask.idempotency_key()
        return done_answer(
            await self._to.desk.rotate(ask.caller, tenant_id, token_id, body.grace_seconds, ask.now_us, key),
            replays.minted,
            200,
        )

    async def delete_token(self, ask: Ask) -> Answer:
        """Delete a token."""
        await self._to.desk.revoke(ask.caller, ask.tenant_id(), ask.path["token_id"], ask.now_us)
        return Answer(204)


def page_answer(page: Page[T], shown: Callable[[T], render.Document], name: str) -> Answer:
    """Return a page of a list as its answer."""
    data = [shown(value) for value in page.values]
    return json_answer({"data": data, "next_cursor": cursor_at(page.next_after, name)})

"""Calls about tenants."""

from collections.abc import Iterable
from typing import cast

from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_name
from sidecar.doors.native import answers, drafts, render, replays, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.tenants import Tenancy


class TenantCalls:
    """The calls, over the service that does them."""

    def __init__(self, tenancy: Tenancy) -> None:
        """Translate for this service."""
        self._tenancy = tenancy

    def calls(self) -> Iterable[Call]:
        """Return the documented calls."""
        path, one = "/v1/tenants", "/v1/tenants/{tenant_id}"
        yield Call(
            method="POST",
            path=path,
            run=self.create_tenant,
            request=shapes.TenantBody,
            is_idempotent=True,
            answer=answers.FoundedTenant,
            status=201,
            names_tenant=False,
        )
        yield Call(
            method="GET",
            path=path,
            run=self.list_tenants,
            query=PAGE | {"external_id"},
            answer=answers.Page[answers.Tenant],
        )
        yield Call(method="GET", path=one, run=self.get_tenant, answer=answers.Tenant, names_tenant=False)
        yield Call(
            method="PATCH",
            path=one,
            run=self.change_tenant,
            request=shapes.TenantPatchBody,
            answer=answers.Tenant,
            names_tenant=False,
        )

    async def create_tenant(self, ask: Ask) -> Answer:
        """Make a tenant; its key is shown in this answer only."""
        if ask.tenant_id() is not None:
            raise ValidationFailed("a new tenant is named in the body, as `id`", field="tenant_id")
        draft = drafts.tenant(cast("shapes.TenantBody", ask.body))
        done = await self._tenancy.create(ask.caller, draft, ask.now_us, ask.idempotency_key())
        return done_answer(done, replays.founded)

    async def list_tenants(self, ask: Ask) -> Answer:
        """List tenants."""
        name = list_name("tenants", ask.query)
        external_id = check_name(ask.query["external_id"], "external_id") if "external_id" in ask.query else None
        request = page_request(ask.query, name)
        found = self._tenancy.listed(ask.caller, request, ask.tenant_id(), external_id)
        return page_answer(found, render.tenant, name)

    async def get_tenant(self, ask: Ask) -> Answer:
        """Show a tenant."""
        tenant_id = ask.path["tenant_id"]
        ask.tenant_id(tenant_id)
        return json_answer(render.tenant(self._tenancy.get(ask.caller, tenant_id)))

    async def change_tenant(self, ask: Ask) -> Answer:
        """Change a tenant."""
        patch = drafts.tenant_patch(cast("shapes.TenantPatchBody", ask.body))
        changed = await self._tenancy.change(ask.caller, ask.path["tenant_id"], patch, ask.now_us)
        return json_answer(render.tenant(changed))

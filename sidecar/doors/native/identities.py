"""Calls about identities."""

from collections.abc import Iterable
from typing import cast

from sidecar.doors.native import answers, drafts, render, replays, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.identities import Registry


class IdentityCalls:
    """The calls, over the service that does them."""

    def __init__(self, registry: Registry) -> None:
        """Translate for this service."""
        self._registry = registry

    def calls(self) -> Iterable[Call]:
        """Return the documented calls."""
        path, one = "/v1/identities", "/v1/identities/{identity_id}"
        filters = PAGE | {"parent_id", "type", "external_id", "status"}
        yield Call(
            method="POST",
            path=path,
            run=self.create_identity,
            request=shapes.IdentityBody,
            is_idempotent=True,
            answer=answers.Identity,
            status=201,
        )
        yield Call(
            method="GET", path=path, run=self.list_identities, query=filters, answer=answers.Page[answers.Identity]
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
            is_idempotent=True,
            answer=answers.RevokedIdentity,
        )

    async def create_identity(self, ask: Ask) -> Answer:
        """Make an identity."""
        body = cast("shapes.IdentityBody", ask.body)
        tenant_id = ask.tenant_id(body.tenant_id)
        draft, key = drafts.identity(body), ask.idempotency_key()
        done = await self._registry.create(ask.caller, tenant_id, draft, ask.now_us, key)
        return done_answer(done, render.identity)

    async def list_identities(self, ask: Ask) -> Answer:
        """List identities."""
        wanted = drafts.identity_filter(ask.query)
        name = list_name("identities", ask.query)
        page = self._registry.listed(ask.caller, ask.tenant_id(), wanted, page_request(ask.query, name))
        return page_answer(page, render.identity, name)

    async def get_identity(self, ask: Ask) -> Answer:
        """Show an identity."""
        return json_answer(render.identity(self._registry.get(ask.caller, ask.tenant_id(), ask.path["identity_id"])))

    async def change_identity(self, ask: Ask) -> Answer:
        """Change an identity."""
        body = cast("shapes.IdentityPatchBody", ask.body)
        tenant_id, patch = ask.tenant_id(body.tenant_id), drafts.identity_patch(body)
        changed = await self._registry.change(ask.caller, tenant_id, ask.path["identity_id"], patch, ask.now_us)
        return json_answer(render.identity(changed))

    async def get_chain(self, ask: Ask) -> Answer:
        """Show an identity chain."""
        return json_answer(render.chain(self._registry.chain(ask.caller, ask.tenant_id(), ask.path["identity_id"])))

    async def revoke_identity(self, ask: Ask) -> Answer:
        """Revoke an identity and everybody below it."""
        tenant_id = ask.tenant_id(cast("shapes.TenantOnlyBody", ask.body).tenant_id)
        key = ask.idempotency_key()
        done = await self._registry.revoke(ask.caller, tenant_id, ask.path["identity_id"], ask.now_us, key)
        return done_answer(done, replays.revoked, 200)

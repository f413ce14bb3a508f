"""Calls about policies."""

from collections.abc import Iterable
from typing import cast

from sidecar.core.errors import ValidationFailed
from sidecar.doors.native import answers, drafts, render, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.render import Document
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.policies import Legislator
from sidecar.service.reload import Reloaded, Reloading


class PolicyCalls:
    """The calls, over the services that do them."""

    def __init__(self, legislator: Legislator, reloading: Reloading) -> None:
        """Translate for these services."""
        self._legislator = legislator
        self._reloading = reloading

    def calls(self) -> Iterable[Call]:
        """Return the documented calls."""
        path, one = "/v1/policies", "/v1/policies/{policy_id}"
        yield Call(
            method="POST",
            path=path,
            run=self.create_policy,
            request=shapes.PolicyBody,
            is_idempotent=True,
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
        yield Call(
            method="POST",
            path=f"{path}/reload",
            run=self.reload_policies,
            request=shapes.EmptyBody,
            is_idempotent=True,
            answer=answers.ReloadedPolicies,
            names_tenant=False,
        )
        yield Call(method="GET", path=one, run=self.get_policy, answer=answers.Policy)
        yield Call(method="DELETE", path=one, run=self.delete_policy, status=204)

    async def create_policy(self, ask: Ask) -> Answer:
        """Make a policy."""
        body = cast("shapes.PolicyBody", ask.body)
        tenant_id, draft = ask.tenant_id(body.tenant_id), drafts.policy(body, ask.document())
        key = ask.idempotency_key()
        return done_answer(await self._legislator.create(ask.caller, tenant_id, draft, ask.now_us, key), render.policy)

    async def reload_policies(self, ask: Ask) -> Answer:
        """Load the policy files as they lie there now; for the operator. Refused ones are a 409 that says why."""
        if ask.tenant_id() is not None:
            raise ValidationFailed("policy files hold for all tenants", field="tenant_id")
        done = await self._reloading.reload(ask.caller, ask.now_us, ask.idempotency_key())
        return done_answer(done, reloaded, 200)

    async def list_policies(self, ask: Ask) -> Answer:
        """List policies."""
        name = list_name("policies", ask.query)
        request = page_request(ask.query, name)
        page = self._legislator.listed(ask.caller, ask.tenant_id(), ask.query.get("identity_id"), request)
        return page_answer(page, render.policy, name)

    async def get_policy(self, ask: Ask) -> Answer:
        """Show a policy."""
        return json_answer(render.policy(self._legislator.get(ask.caller, ask.tenant_id(), ask.path["policy_id"])))

    async def delete_policy(self, ask: Ask) -> Answer:
        """Delete a policy."""
        await self._legislator.delete(ask.caller, ask.tenant_id(), ask.path["policy_id"], ask.now_us)
        return Answer(204)


def reloaded(value: Reloaded) -> Document:
    """Return what became of policy files."""
    return {
        "outcome": value.outcome,
        "policy_revision": value.revision,
        "previous_revision": value.previous,
        "files": value.files,
        "seconds": round(value.seconds, 3),
        "reason": value.reason,
    }

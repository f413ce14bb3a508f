"""Calls about permission grants."""

from collections.abc import Callable
from typing import cast, get_args

from sidecar.core.ceremonies import request_options
from sidecar.core.grants import ShownStatus, challenge, signed_text
from sidecar.core.instants import parse_utc, utc_text
from sidecar.core.model import ResourceRef
from sidecar.core.relying_party import RelyingParty
from sidecar.doors.native import answers, grant_answers, grant_shapes, render, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, one_of, page_request
from sidecar.service.grant_drafts import GrantDraft
from sidecar.service.grants import GrantFilter, Grants, ShownGrant

PATH = "/v1/grants"


class GrantCalls:
    """The calls, over the service that does them."""

    def __init__(self, grants: Grants, party: RelyingParty) -> None:
        """Translate for ``grants``, whose signatures are for ``party``."""
        self._grants = grants
        self._rendered = renderer(party)

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        one = f"{PATH}/{{grant_id}}"
        return (
            Call(
                method="POST",
                path=PATH,
                run=self.create_grant,
                request=grant_shapes.GrantBody,
                is_idempotent=True,
                answer=grant_answers.Grant,
                status=201,
            ),
            Call(
                method="GET",
                path=PATH,
                run=self.list_grants,
                query=PAGE | {"identity_id", "account_id", "status"},
                answer=answers.Page[grant_answers.Grant],
            ),
            Call(method="GET", path=one, run=self.get_grant, answer=grant_answers.Grant),
            Call(
                method="POST",
                path=f"{one}/approve",
                run=self.approve_grant,
                request=grant_shapes.ApproveBody,
                is_idempotent=True,
                answer=grant_answers.Grant,
            ),
            Call(
                method="POST",
                path=f"{one}/revoke",
                run=self.revoke_grant,
                request=shapes.TenantOnlyBody,
                is_idempotent=True,
                answer=grant_answers.Grant,
            ),
        )

    async def create_grant(self, ask: Ask) -> Answer:
        """Ask a wallet's owner to let an agent pay from it, within limits; nothing is permitted before it is signed."""
        body = cast("grant_shapes.GrantBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        done = await self._grants.create(ask.caller, tenant_id, drafted(body), key, ask.now_us)
        return done_answer(done, self._rendered)

    async def list_grants(self, ask: Ask) -> Answer:
        """List permission grants, by agent, wallet or what holds."""
        name = list_name("grants", ask.query)
        wanted = GrantFilter(
            ask.query.get("identity_id"),
            ask.query.get("account_id"),
            one_of(ask.query, "status", get_args(ShownStatus)),
        )
        page = self._grants.listed(ask.caller, ask.tenant_id(), wanted, page_request(ask.query, name), ask.now_us)
        return page_answer(page, self._rendered, name)

    async def get_grant(self, ask: Ask) -> Answer:
        """Show a permission grant."""
        shown = self._grants.get(ask.caller, ask.tenant_id(), ask.path["grant_id"], ask.now_us)
        return json_answer(self._rendered(shown))

    async def approve_grant(self, ask: Ask) -> Answer:
        """Bring a grant into force with its owner's signature: as a policy and budgets of the agent."""
        body = cast("grant_shapes.ApproveBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        grant_id = ask.path["grant_id"]
        done = await self._grants.approve(ask.caller, tenant_id, grant_id, body.credential, key, ask.now_us)
        return done_answer(done, self._rendered, 200)

    async def revoke_grant(self, ask: Ask) -> Answer:
        """End a grant with its policy and budgets: the next decision is made without it."""
        tenant_id = ask.tenant_id(cast("shapes.TenantOnlyBody", ask.body).tenant_id)
        key = ask.idempotency_key()
        done = await self._grants.revoke(ask.caller, tenant_id, ask.path["grant_id"], key, ask.now_us)
        return done_answer(done, self._rendered, 200)


def drafted(body: grant_shapes.GrantBody) -> GrantDraft:
    """Return the draft of a grant."""
    return GrantDraft(
        identity_id=body.identity_id,
        account_id=body.account_id,
        max_per_tx=body.max_per_tx,
        daily_cap=body.daily_cap,
        recipients=tuple(ResourceRef(each.type, each.id) for each in body.recipients),
        expires_at_us=None if body.expires_at is None else parse_utc(body.expires_at, "expires_at"),
    )


def renderer(party: RelyingParty) -> Callable[[ShownGrant], grant_answers.Grant]:
    """Return what shows a grant, with what a browser is asked to sign for ``party`` while it waits."""

    def rendered(shown: ShownGrant) -> grant_answers.Grant:
        value = shown.grant
        signed = challenge(value, shown.tenant_id)
        waits = shown.status == "pending"
        return {
            "grant_id": value.grant_id,
            "tenant_id": shown.tenant_id,
            "identity_id": value.identity_id,
            "account_id": value.account_id,
            "owner_id": value.owner_id,
            "asset": value.asset,
            "max_per_tx": render.number(value.max_per_tx, value.asset),
            "daily_cap": render.number(value.daily_cap, value.asset),
            "recipients": [{"type": each.type, "id": each.id} for each in value.recipients],
            "expires_at": _text(value.expires_at_us),
            "status": shown.status,
            "approval": request_options(party, signed, shown.credential_ids) if waits else None,
            "signed_text": signed_text(value, shown.tenant_id).decode(),
            "policy_id": value.policy_id,
            "budget_ids": [*value.budget_ids],
            "passkey_id": value.passkey_id,
            "created_at": utc_text(value.created_at_us),
            "approved_at": _text(value.approved_at_us),
            "revoked_at": _text(value.revoked_at_us),
            "revision": value.revision,
        }

    return rendered


def _text(moment_us: int | None) -> str | None:
    return None if moment_us is None else utc_text(moment_us)

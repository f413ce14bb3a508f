"""Calls about tokens."""

from collections.abc import Iterable
from typing import cast

from sidecar.doors.native import answers, drafts, render, replays, shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.tokens import TokenDesk


class TokenCalls:
    """The calls, over the service that does them."""

    def __init__(self, desk: TokenDesk) -> None:
        """Translate for this service."""
        self._desk = desk

    def calls(self) -> Iterable[Call]:
        """Return the documented calls."""
        path, one = "/v1/tokens", "/v1/tokens/{token_id}"
        yield Call(
            method="POST",
            path=path,
            run=self.create_token,
            request=shapes.TokenBody,
            is_idempotent=True,
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
        yield Call(method="PATCH", path=one, run=self.change_token, request=shapes.TokenPatchBody, answer=answers.Token)
        yield Call(method="DELETE", path=one, run=self.delete_token, status=204)
        yield Call(
            method="POST",
            path=f"{one}/rotate",
            run=self.rotate_token,
            request=shapes.RotateBody,
            is_idempotent=True,
            answer=answers.MintedToken,
        )

    async def create_token(self, ask: Ask) -> Answer:
        """Make a token; its text is shown in this answer only."""
        body = cast("shapes.TokenBody", ask.body)
        tenant_id, draft = ask.tenant_id(body.tenant_id), drafts.token(body)
        key = ask.idempotency_key()
        return done_answer(await self._desk.create(ask.caller, tenant_id, draft, ask.now_us, key), replays.minted)

    async def list_tokens(self, ask: Ask) -> Answer:
        """List tokens."""
        name = list_name("tokens", ask.query)
        request = page_request(ask.query, name)
        tenant_id, page = self._desk.listed(ask.caller, ask.tenant_id(), ask.query.get("identity_id"), request)
        return page_answer(page, lambda token: render.token(token, tenant_id), name)

    async def change_token(self, ask: Ask) -> Answer:
        """Change a token."""
        body = cast("shapes.TokenPatchBody", ask.body)
        tenant_id, patch = ask.tenant_id(body.tenant_id), drafts.token_patch(body)
        tenant_id, changed = await self._desk.change(ask.caller, tenant_id, ask.path["token_id"], patch, ask.now_us)
        return json_answer(render.token(changed, tenant_id))

    async def delete_token(self, ask: Ask) -> Answer:
        """Delete a token."""
        await self._desk.revoke(ask.caller, ask.tenant_id(), ask.path["token_id"], ask.now_us)
        return Answer(204)

    async def rotate_token(self, ask: Ask) -> Answer:
        """Give a token a new text, shown in this answer only; the one before opens on for the grace time."""
        body = cast("shapes.RotateBody", ask.body)
        tenant_id, token_id = ask.tenant_id(body.tenant_id), ask.path["token_id"]
        key = ask.idempotency_key()
        return done_answer(
            await self._desk.rotate(ask.caller, tenant_id, token_id, body.grace_seconds, ask.now_us, key),
            replays.minted,
            200,
        )

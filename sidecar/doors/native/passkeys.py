"""Calls about passkeys."""

from typing import cast

from sidecar.core.grants import url_safe
from sidecar.core.ids import check_name
from sidecar.core.instants import utc_text
from sidecar.doors.native import answers, grant_answers, grant_shapes
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.passkeys import NAME_DEFAULT, PasskeyDesk, PasskeyDraft, ShownPasskey

PATH = "/v1/passkeys"


class PasskeyCalls:
    """The calls, over the service that does them."""

    def __init__(self, desk: PasskeyDesk) -> None:
        """Translate for ``desk``."""
        self._desk = desk

    def calls(self) -> tuple[Call, ...]:
        """Return the documented calls."""
        one = f"{PATH}/{{passkey_id}}"
        return (
            Call(
                method="POST",
                path=f"{PATH}/options",
                run=self.passkey_options,
                request=grant_shapes.PasskeyOptionsBody,
                is_idempotent=True,
                answer=grant_answers.CreationOptions,
            ),
            Call(
                method="POST",
                path=PATH,
                run=self.create_passkey,
                request=grant_shapes.PasskeyBody,
                is_idempotent=True,
                answer=grant_answers.Passkey,
                status=201,
            ),
            Call(
                method="GET",
                path=PATH,
                run=self.list_passkeys,
                query=PAGE | {"identity_id"},
                answer=answers.Page[grant_answers.Passkey],
            ),
            Call(method="GET", path=one, run=self.get_passkey, answer=grant_answers.Passkey),
            Call(method="DELETE", path=one, run=self.delete_passkey, status=204),
        )

    async def passkey_options(self, ask: Ask) -> Answer:
        """Ask for a new passkey: what a browser makes it with, for five minutes."""
        body = cast("grant_shapes.PasskeyOptionsBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        done = await self._desk.options(ask.caller, tenant_id, body.identity_id, key, ask.now_us)
        return done_answer(done, lambda options: options, 200)

    async def create_passkey(self, ask: Ask) -> Answer:
        """Register the passkey that a browser made."""
        body = cast("grant_shapes.PasskeyBody", ask.body)
        name = NAME_DEFAULT if body.name is None else check_name(body.name, "name")
        draft = PasskeyDraft(identity_id=body.identity_id, name=name, credential=body.credential)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        return done_answer(await self._desk.register(ask.caller, tenant_id, draft, key, ask.now_us), rendered)

    async def list_passkeys(self, ask: Ask) -> Answer:
        """List passkeys."""
        name = list_name("passkeys", ask.query)
        request = page_request(ask.query, name)
        page = self._desk.listed(ask.caller, ask.tenant_id(), ask.query.get("identity_id"), request)
        return page_answer(page, rendered, name)

    async def get_passkey(self, ask: Ask) -> Answer:
        """Show a passkey."""
        return json_answer(rendered(self._desk.get(ask.caller, ask.tenant_id(), ask.path["passkey_id"])))

    async def delete_passkey(self, ask: Ask) -> Answer:
        """Delete a passkey: it approves nothing more, and what it has approved stays."""
        await self._desk.delete(ask.caller, ask.tenant_id(), ask.path["passkey_id"], ask.now_us)
        return Answer(204)


def rendered(shown: ShownPasskey) -> grant_answers.Passkey:
    """Return a passkey; its public key is of no use to a caller."""
    value = shown.passkey
    return {
        "passkey_id": value.passkey_id,
        "tenant_id": shown.tenant_id,
        "identity_id": value.identity_id,
        "name": value.name,
        "credential_id": url_safe(value.credential_id),
        "sign_count": value.sign_count,
        "backed_up": value.is_backed_up,
        "created_at": utc_text(value.created_at_us),
        "revision": value.revision,
    }

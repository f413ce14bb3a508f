"""Calls about card programs: the accounts at card networks whose messages the card doors believe."""

from collections.abc import Iterable
from typing import Annotated, Final, cast

import msgspec

from sidecar.core.card_events import Network
from sidecar.core.grammar import Name, TenantId
from sidecar.core.ids import check_name
from sidecar.core.instants import utc_text
from sidecar.core.limits import GRACE_SECONDS_MAX
from sidecar.doors.native.answers import Page
from sidecar.doors.native.card_program_answers import CardProgram
from sidecar.doors.native.pages import page_answer
from sidecar.doors.native.render import instant
from sidecar.doors.native.replays import done_answer
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, list_name, page_request
from sidecar.service.card_programs import ProgramDesk, ProgramDraft, ShownProgram

PATH: Final = "/v1/treasury/card-programs"

GRACE_SECONDS_DEFAULT: Final = 86_400
"""A day, for which networks sign with both secrets too."""

Given = Annotated[str, msgspec.Meta(description="as the network shows it; never shown again", examples=["whsec_…"])]


class CardProgramBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/treasury/card-programs``; ``secret`` is the one that the network signs its messages with."""

    tenant_id: TenantId | None = None
    network: Network
    name: Name
    secret: Given


class RotateCardProgramBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /v1/treasury/card-programs/{id}/rotate``; for so long the replaced secret is good as well."""

    tenant_id: TenantId | None = None
    secret: Given
    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=GRACE_SECONDS_MAX)] = GRACE_SECONDS_DEFAULT


class CardProgramCalls:
    """The calls, over the service that does them."""

    def __init__(self, desk: ProgramDesk) -> None:
        """Translate for ``desk``."""
        self._desk = desk

    def calls(self) -> Iterable[Call]:
        """Return the documented calls."""
        one = f"{PATH}/{{program_id}}"
        yield Call(
            method="POST",
            path=PATH,
            run=self.create_card_program,
            request=CardProgramBody,
            is_idempotent=True,
            answer=CardProgram,
            status=201,
        )
        yield Call(method="GET", path=PATH, run=self.list_card_programs, query=PAGE, answer=Page[CardProgram])
        yield Call(method="GET", path=one, run=self.get_card_program, answer=CardProgram)
        yield Call(method="DELETE", path=one, run=self.delete_card_program, status=204)
        yield Call(
            method="POST",
            path=f"{one}/rotate",
            run=self.rotate_card_program,
            request=RotateCardProgramBody,
            is_idempotent=True,
            answer=CardProgram,
        )

    async def create_card_program(self, ask: Ask) -> Answer:
        """Register an account at a card network, by the secret that it signs with."""
        body = cast("CardProgramBody", ask.body)
        draft = ProgramDraft(body.network, check_name(body.name, "name"), body.secret)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        return done_answer(await self._desk.create(ask.caller, tenant_id, draft, ask.now_us, key), rendered)

    async def list_card_programs(self, ask: Ask) -> Answer:
        """List card programs."""
        name = list_name("card programs", ask.query)
        page = self._desk.listed(ask.caller, ask.tenant_id(), page_request(ask.query, name), ask.now_us)
        return page_answer(page, rendered, name)

    async def get_card_program(self, ask: Ask) -> Answer:
        """Show a card program."""
        return json_answer(rendered(self._desk.get(ask.caller, ask.tenant_id(), ask.path["program_id"], ask.now_us)))

    async def delete_card_program(self, ask: Ask) -> Answer:
        """Delete a card program: its messages are refused from then on."""
        await self._desk.delete(ask.caller, ask.tenant_id(), ask.path["program_id"], ask.now_us)
        return Answer(204)

    async def rotate_card_program(self, ask: Ask) -> Answer:
        """Replace a card program's secret by the one that its network shows now."""
        body = cast("RotateCardProgramBody", ask.body)
        tenant_id, key = ask.tenant_id(body.tenant_id), ask.idempotency_key()
        program_id, grace = ask.path["program_id"], body.grace_seconds
        done = await self._desk.rotate(ask.caller, tenant_id, program_id, body.secret, grace, ask.now_us, key)
        return done_answer(done, rendered, 200)


def rendered(shown: ShownProgram) -> CardProgram:
    """Return a card program."""
    return {
        "program_id": shown.program_id,
        "tenant_id": shown.tenant_id,
        "network": shown.network,
        "name": shown.name,
        "has_former_secret": shown.former_until_us is not None,
        "former_secret_until": instant(shown.former_until_us),
        "created_at": utc_text(shown.created_at_us),
        "rotated_at": instant(shown.rotated_at_us),
        "revision": shown.revision,
    }

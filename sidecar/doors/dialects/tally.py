"""The API of Tally for Agents below ``/tally``: agents, and the permissions that owners of wallets gave them.

An agent is an identity on the tenant's roster; its ``id`` is the name there. The key is a token of the tenant, so the
mode is the tenant's. How Tally's errors and rate limits read is ``sidecar.doors.dialects.tally_manner``'s; what differs
from Tally is in ``docs/dialects/tally.md``.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal, cast

import msgspec
import orjson

from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_name
from sidecar.core.instants import utc_text
from sidecar.core.money import major_text
from sidecar.doors.dialects.tally_manner import TALLY
from sidecar.doors.wire.endpoint import Ask, Call, Function, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import PAGE, cursor_at, one_of, page_request
from sidecar.service.roster import Entry, Granted, Roster

PATH: Final = "/tally/v1/agents"
ONE: Final = f"{PATH}/{{agent_id:path}}"
"""A whole rest of a path: names that other doors gave may hold slashes."""

ID_LENGTH_MAX: Final = 64
RENDERED_AT_ONCE: Final = 500
"""Agents of a long list that are written in one go: some 2 ms, then whatever else waits has its turn."""

LIST_NAME: Final = "tally agents"
LISTED: Final[tuple[Literal["active", "pending"], ...]] = ("active", "pending")
"""Which permissions can be listed."""


class AgentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /v1/agents``."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH_MAX)]


class TallyCalls:
    """The calls, over the service that does them."""

    def __init__(self, roster: Roster) -> None:
        """Translate for this service."""
        self._roster = roster

    def calls(self) -> Iterable[Call]:
        """Return the calls; of two paths that fit one request the first is taken."""
        yield _call("POST", PATH, self.register_agent, request=AgentBody)
        yield _call("GET", PATH, self.list_agents, query=PAGE)
        yield _call("GET", f"{ONE}/permissions", self.list_permissions, query=frozenset({"status"}))
        yield _call("GET", ONE, self.get_agent)
        yield _call("DELETE", ONE, self.delete_agent)

    async def register_agent(self, ask: Ask) -> Answer:
        """Create an agent, or show the one that is there."""
        name = _checked(cast("AgentBody", ask.body).id)
        entry = await self._roster.register(ask.caller, ask.tenant_id(), name, ask.now_us)
        return json_answer({"agent": _agent(entry)}, 201)

    async def list_agents(self, ask: Ask) -> Answer:
        """List all agents, or a page of them where a limit or a cursor is given."""
        if PAGE.isdisjoint(ask.query):
            return await _whole_list(await self._roster.everyone(ask.caller, ask.tenant_id(), ask.now_us))
        request = page_request(ask.query, LIST_NAME)
        page = await self._roster.listed(ask.caller, ask.tenant_id(), request, ask.now_us)
        agents = [_agent(entry) for entry in page.values]
        return json_answer({"agents": agents, "next_cursor": cursor_at(page.next_after, LIST_NAME)})

    async def get_agent(self, ask: Ask) -> Answer:
        """Show an agent."""
        entry = self._roster.get(ask.caller, ask.tenant_id(), ask.path["agent_id"], ask.now_us)
        return json_answer({"agent": _agent(entry)})

    async def list_permissions(self, ask: Ask) -> Answer:
        """List the active grants of an agent, or those that wait for the wallet's owner."""
        status = one_of(ask.query, "status", LISTED) or "active"
        found = self._roster.granted(ask.caller, ask.tenant_id(), ask.path["agent_id"], status, ask.now_us)
        return json_answer({"permissions": [_permission(granted) for granted in found]})

    async def delete_agent(self, ask: Ask) -> Answer:
        """Revoke an agent; its id is free again."""
        await self._roster.remove(ask.caller, ask.tenant_id(), ask.path["agent_id"], ask.now_us)
        return Answer(204)


def _call(
    method: str, path: str, run: Function, *, request: type | None = None, query: frozenset[str] = frozenset()
) -> Call:
    return Call(method=method, path=path, run=run, request=request, query=query, is_documented=False, manner=TALLY)


def _checked(name: str) -> str:
    """Return ``name`` when it can be the id of a new agent.

    A slash would end it in a path, and `.` and `..` are taken out of a path before it is sent.
    """
    check_name(name, "id")
    if "/" in name or name in {".", ".."} or name != name.strip():
        raise ValidationFailed(
            "not an id, expected one without slashes and outer spaces, and not `.` or `..`", field="id"
        )
    return name


async def _whole_list(entries: Sequence[Entry]) -> Answer:
    chunks = []
    for start in range(0, len(entries), RENDERED_AT_ONCE):
        agents = [_agent(entry) for entry in entries[start : start + RENDERED_AT_ONCE]]
        chunks.append(orjson.dumps(agents)[1:-1])
        await asyncio.sleep(0)
    return Answer(200, b'{"agents":[' + b",".join(chunks) + b"]}")


def _agent(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.name,
        "status": "active" if entry.may_pay else "no_permissions",
        "mode": entry.mode,
        "created_at": utc_text(entry.created_at_us),
        "active_signers": entry.active,
        "pending_signers": entry.pending,
    }


def _permission(granted: Granted) -> dict[str, object]:
    """Return a grant; the figures of its policy are named after the wallet's asset, which is USDC at Tally."""
    grant, wallet = granted.grant, granted.wallet
    unit = grant.asset.lower()
    policy: dict[str, object] = {
        f"max_per_tx_{unit}": _amount(grant.max_per_tx, grant.asset),
        f"daily_cap_{unit}": _amount(grant.daily_cap, grant.asset),
        "recipient_allowlist": [recipient.id for recipient in grant.recipients],
        "expires_at": _time(grant.expires_at_us),
    }
    return {
        "id": grant.grant_id,
        "agent_id": granted.name,
        "wallet_id": grant.account_id,
        "wallet_address": None if wallet is None else wallet.wallet_address,
        "wallet_display_name": None if wallet is None else wallet.name,
        "status": granted.status,
        "policy": policy,
        "created_at": utc_text(grant.created_at_us),
        "activated_at": _time(grant.approved_at_us),
    }


def _amount(minor: int | None, asset: str) -> str | None:
    return None if minor is None else major_text(minor, asset)


def _time(us: int | None) -> str | None:
    return None if us is None else utc_text(us)

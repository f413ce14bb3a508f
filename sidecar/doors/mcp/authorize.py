"""``POST /mcp/authorize``: what a gateway asks before it passes on ``tools/call`` and ``tools/list``.

A message is taken as MCP has it, with what it does not say beside: whose call it is and on which server. A call is
decided, recorded and held as natively; which tools are shown is rehearsed and leaves nothing behind.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
from starlette.concurrency import run_in_threadpool

from sidecar.core.access import Caller
from sidecar.core.errors import ValidationFailed
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.ids import check_caller_id, check_name
from sidecar.doors.mcp.drafts import Probe, ToolCall, probe_of, request_of
from sidecar.doors.mcp.mapping import Entry, Settle, Tools
from sidecar.doors.mcp.paths import check_alone
from sidecar.doors.mcp.protocol import (
    MCP_BODY_BYTES_MAX,
    MCP_DEPTH_MAX,
    PATH,
    TOOLS_CALL,
    TOOLS_LIST,
    TOOLS_LISTED_MAX,
)
from sidecar.doors.native import render
from sidecar.doors.native.replays import MARKED
from sidecar.doors.wire import strict_json, typed
from sidecar.doors.wire.body import APART_BYTES
from sidecar.doors.wire.endpoint import Ask, Call, check_key, json_answer
from sidecar.doors.wire.http import Answer, Incoming
from sidecar.service.authorize import Authorizer
from sidecar.service.batch import SLICE

NOT_LISTED: Final = "tool_not_listed"
NOT_MAPPED: Final = "arguments_not_mapped"

CERTAIN: Final = frozenset({"identity_revoked", "identity_suspended", "not_permitted", "replica_stale"})
"""Codes of denials that no arguments would change; of the others it is not known before the call."""


class MessageBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message of MCP, with whose it is (the token's identity unless said), its server, and the tools of a list."""

    method: str
    params: dict[str, object] = {}
    jsonrpc: str | None = None
    id: object = None
    tenant_id: str | None = None
    identity_id: str | None = None
    server: str | None = None
    tools: list[object] | None = None


class McpCalls:
    """The call, over the service that decides."""

    def __init__(self, authorizer: Authorizer, tools: Tools) -> None:
        """Ask ``authorizer`` as ``tools`` says."""
        self._authorizer = authorizer
        self._tools = tools

    def calls(self) -> tuple[Call, ...]:
        """Return the call."""
        call = Call(
            method="POST",
            path=PATH,
            run=self.authorize,
            is_raw=True,
            is_idempotent=True,
            is_decision=True,
            body_bytes_max=MCP_BODY_BYTES_MAX,
            is_documented=False,
        )
        return (call,)

    async def authorize(self, ask: Ask) -> Answer:
        """Decide a call of a tool, or tell which tools are shown."""
        head = ask.head
        head.require_json()
        tenant_id = _tenant_in_query(head)
        if len(ask.raw) > APART_BYTES:
            document, body = await run_in_threadpool(_read, ask.raw)
        else:
            document, body = _read(ask.raw)
        if None not in {tenant_id, body.tenant_id} and tenant_id != body.tenant_id:
            raise ValidationFailed("the call names two different tenants", field="tenant_id")
        asked = msgspec.structs.replace(body, tenant_id=tenant_id or body.tenant_id)
        key_text = head.header(b"idempotency-key")
        if body.method == TOOLS_CALL:
            key = None if key_text is None else _key(ask, key_text, document)
            return await self._call(ask, asked, key)
        if body.method == TOOLS_LIST:
            if key_text is not None:
                raise ValidationFailed("a list changes nothing and takes no idempotency key", field="Idempotency-Key")
            return await self._list(ask, asked)
        raise ValidationFailed(f"expected `{TOOLS_CALL}` or `{TOOLS_LIST}`", field="method")

    async def _call(self, ask: Ask, body: MessageBody, key: IdempotencyKey | None) -> Answer:
        identity_id, server = _identity(ask.caller, body), _server(body)
        call = ToolCall(_tool(body.params), server, _arguments(body.params))
        entry = self._tools.find(server, call.tool)
        if entry is None:
            return _denial(
                identity_id, NOT_LISTED, f"the tool `{call.tool}` is not listed in the mapping of this sidecar"
            )
        try:
            request = request_of(entry, call, identity_id)
        except ValidationFailed as error:
            return _denial(identity_id, NOT_MAPPED, f"{error.field}: {error.message}", entry)
        answered = await self._authorizer.authorize(ask.caller, body.tenant_id, request, key, ask.now_us)
        document = render.decision(answered.decision)
        return json_answer({**document, "settle": entry.settle}, headers=MARKED if answered.replayed else ())

    async def _list(self, ask: Ask, body: MessageBody) -> Answer:
        """Tell which tools are shown, a few of them at a time with the event loop free in between."""
        identity_id, server = _identity(ask.caller, body), _server(body)
        allowed, denied = [], []
        for index, tool in enumerate(_names(body)):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            why = self._hidden(ask, body.tenant_id, tool, server, identity_id)
            if why is None:
                allowed.append(tool)
            else:
                denied.append({"name": tool, "code": why[0], "message": why[1]})
        return json_answer({"allowed": allowed, "denied": denied})

    def _hidden(
        self, ask: Ask, tenant_id: str | None, tool: str, server: str | None, identity_id: str
    ) -> tuple[str, str] | None:
        """Return code and sentence of why a tool is not shown, None where it is."""
        entry = self._tools.find(server, tool)
        if entry is None:
            return NOT_LISTED, f"the tool `{tool}` is not listed in the mapping of this sidecar"
        try:
            check_name(tool, "name")
            probe = probe_of(entry, tool, server, identity_id)
        except ValidationFailed as error:
            return NOT_MAPPED, error.message
        return self._rehearsed(ask, tenant_id, probe)

    def _rehearsed(self, ask: Ask, tenant_id: str | None, probe: Probe) -> tuple[str, str] | None:
        try:
            decision = self._authorizer.rehearse(ask.caller, tenant_id, probe.request, ask.now_us).decision
        except ValidationFailed as error:
            # Such as a field that the schema requires and that only a call has.
            return None if probe.is_open else (NOT_MAPPED, error.message)
        if decision.allowed or (probe.is_open and not CERTAIN & {reason.code for reason in decision.reasons}):
            return None
        return decision.reasons[0].code, decision.reasons[0].message


def _read(raw: bytes) -> tuple[object, MessageBody]:
    """Return a message as it was written, and by its fields. Raises InvalidJson and ValidationFailed."""
    document = strict_json.decode(raw, MCP_DEPTH_MAX)
    return document, typed.convert(document, MessageBody)


def _key(ask: Ask, text: str, document: object) -> IdempotencyKey:
    check_key(text)
    return idempotency_key(ask.caller.name, ask.route, text, strict_json.canonical(document))


def _tenant_in_query(head: Incoming) -> str | None:
    query = head.query()
    for name in query:
        if name != "tenant_id":
            raise ValidationFailed(f"unknown query field `{name[:64]}`", field=name[:64])
    return query.get("tenant_id")


def _identity(caller: Caller, body: MessageBody) -> str:
    """Return whose call it is: the identity that is named, or that of the token."""
    identity_id = body.identity_id or caller.top
    if identity_id is None:
        raise ValidationFailed("this token has no identity of its own, so the call names one", field="identity_id")
    return identity_id


def _server(body: MessageBody) -> str | None:
    return None if body.server is None else check_caller_id(body.server, "server")


def _tool(params: dict[str, object]) -> str:
    check_alone(params, "name", "params.name")
    name = params.get("name")
    if not isinstance(name, str):
        raise ValidationFailed("a call names its tool", field="params.name")
    return check_name(name, "params.name")


def _arguments(params: dict[str, object]) -> dict[str, object]:
    check_alone(params, "arguments", "params.arguments")
    found = params.get("arguments")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValidationFailed("arguments are an object", field="params.arguments")
    return found


def _names(body: MessageBody) -> Iterator[str]:
    """Yield the tools of a list, which come by name or as a server describes them."""
    if body.tools is None:
        raise ValidationFailed("expected the tools of which some may be shown", field="tools")
    if len(body.tools) > TOOLS_LISTED_MAX:
        raise ValidationFailed(f"at most {TOOLS_LISTED_MAX} tools at a time", field="tools")
    for index, tool in enumerate(body.tools):
        name = tool.get("name") if isinstance(tool, dict) else tool
        if not isinstance(name, str):
            raise ValidationFailed("a tool has a name", field=f"tools[{index}]")
        yield name


def _denial(identity_id: str, code: str, message: str, entry: Entry | None = None) -> Answer:
    """Return a denial without a decision: there is no request that could be decided and recorded."""
    settle: Settle | None = None if entry is None else entry.settle
    reason = {"verdict": "deny", "code": code, "policy_id": None, "matched_rule": None, "source": None}
    document = {
        "decision_id": None,
        "identity_id": identity_id,
        "allowed": False,
        "reasons": [{**reason, "message": message}],
        "budget_checks": [],
        "reservation": None,
        "settle": settle,
    }
    return json_answer(document)

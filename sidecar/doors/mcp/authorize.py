"""``POST /mcp/authorize``: what a gateway asks before it passes on ``tools/call`` and ``tools/list``.

A message is taken as MCP has it, with what it does not say beside: whose call it is and on which server. A call is
decided, recorded and held as natively; which tools are shown is rehearsed and leaves nothing behind.
"""

from typing import Final

import msgspec

from sidecar.doors.mcp.mapping import Tools
from sidecar.doors.wire.endpoint import Ask, Call
from sidecar.doors.wire.http import Answer
from sidecar.service.authorize import Authorizer

MCP_BODY_BYTES_MAX: Final = 4 * 1024 * 1024 + 64 * 1024
"""A line of the proxy, and what it says beside."""

MCP_DEPTH_MAX: Final = 64
"""Nesting of a message: arguments are whatever a tool takes, and the paths to what matters in them are short."""

TOOLS_LISTED_MAX: Final = 500
"""Tools of one question which of them are shown; each is a rehearsal of some tenths of a millisecond."""


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
        return ()

    async def authorize(self, ask: Ask) -> Answer:
        """Decide a call of a tool, or tell which tools are shown."""
        raise NotImplementedError

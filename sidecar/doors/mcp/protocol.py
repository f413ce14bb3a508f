"""Words and limits that the door and the proxy share."""

from typing import Final

PATH: Final = "/mcp/authorize"
TOOLS_CALL: Final = "tools/call"
TOOLS_LIST: Final = "tools/list"

MCP_BODY_BYTES_MAX: Final = 4 * 1024 * 1024 + 64 * 1024
"""A line of the proxy, and what it says beside."""

MCP_DEPTH_MAX: Final = 64
"""Nesting of a message: arguments are whatever a tool takes, and the paths to what matters in them are short."""

TOOLS_LISTED_MAX: Final = 500
"""Tools of one question which of them are shown; each is a rehearsal of some tenths of a millisecond."""

TOKEN_VARIABLE: Final = "SIDECAR_TOKEN"  # noqa: S105 -- a name
"""Where the proxy finds its token; its child is not given it."""

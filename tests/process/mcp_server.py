"""An MCP server of the tests, made with the official SDK: tools that look, buy, fail and end the server.

What it was called with goes to the file that is its first argument, so that a test sees what reached it.
"""

import os
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("shop")
seen = Path(sys.argv[1])


def _note(line: str) -> None:
    with seen.open("a") as file:
        file.write(line + "\n")


@server.tool()
def look_up(text: str) -> str:
    """Look something up."""
    _note(f"look_up {len(text)}")
    return f"found {len(text)}"


@server.tool()
def buy(item: str, amount: str) -> str:
    """Buy something for an amount in CAD."""
    _note(f"buy {item} {amount}")
    if item == "nothing":
        raise ValueError("sold out")
    return f"bought {item}"


@server.tool()
def wipe() -> str:
    """Delete everything."""
    _note("wipe")
    return "wiped"


@server.tool()
def crash() -> str:
    """End the server in the middle of a call."""
    _note("crash")
    os._exit(9)


if __name__ == "__main__":
    server.run()

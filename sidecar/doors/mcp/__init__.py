"""MCP: calls of tools, asked by gateways over HTTP or by a proxy that stands between a client and its server."""

"""From a request's path to its endpoint: fixed paths by one look into a table, all others through the framework.

The framework tries its routes one after the other below three layers of its own, which costs more than reading a
request does. What it does is what counts: the table holds only paths that it gives to the same endpoint.
"""

from collections.abc import Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from sidecar.doors.wire.endpoint import Endpoint

PLACEHOLDER: Final = "{"


class Application:
    """The ASGI application of a worker."""

    def __init__(self, framework: Starlette, endpoints: Mapping[str, Endpoint]) -> None:
        """Serve ``endpoints`` by path, and through ``framework`` what a path with placeholders or none of them fits."""
        self.framework = framework
        self._fixed = {path: endpoint for path, endpoint in endpoints.items() if PLACEHOLDER not in path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. A server that is mounted below another path counts that path, so the framework looks."""
        endpoint = None
        if scope["type"] == "http" and not scope.get("root_path"):
            endpoint = self._fixed.get(scope["path"])
        await (self.framework if endpoint is None else endpoint)(scope, receive, send)

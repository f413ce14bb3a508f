"""The floor: a bare ASGI application under the server's own stack that sends back what it got.

Run as ``python -m bench.echo``; prints ``ready on URL`` like the server does.
"""

import socket
from contextlib import suppress

import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

CONTENT_TYPE = (b"content-type", b"application/json")


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body."""
    body: bytes = (await receive()).get("body", b"")
    headers = [CONTENT_TYPE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve() -> None:
    """Serve on any free port until SIGTERM or SIGINT."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        echo, loop="none", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    print(f"ready on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # the socket listens already
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Ctrl-C reaches the whole group, and the parent tells of it
        uvloop.run(serve())

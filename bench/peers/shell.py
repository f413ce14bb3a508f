"""``python -m bench.peers.shell DECIDER LAYOUT WORK``: a library as a server, with nothing around it.

The same bare ASGI application for each of them, under uvicorn with uvloop and httptools: JSON in, the decision, JSON
out. Prints ``ready on URL`` when it can decide.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn
import uvloop

from bench.peers.deciders import DECIDERS, Decide

ANSWERS: Final = {is_allowed: orjson.dumps({"allowed": is_allowed}) for is_allowed in (False, True)}


def application(decide: Decide) -> Callable[[Mapping[str, Any], Any, Any], Awaitable[None]]:
    """Return the ASGI application that answers with what ``decide`` says."""

    async def answer(_scope: Mapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI's callables
        body: bytes = (await receive()).get("body", b"")
        told = ANSWERS[decide(orjson.loads(body))]
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(told))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": told})

    return answer


async def serve(decide: Decide) -> None:
    """Serve on any free port until SIGTERM or SIGINT."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application(decide), loop="none", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    print(f"ready on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # the socket listens already
    await uvicorn.Server(config).serve(sockets=[listener])


def main(decider: str, layout: str, path: str) -> None:
    """Prepare ``decider`` for the work in the file at ``path`` and serve it."""
    decide = DECIDERS[decider](orjson.loads(Path(path).read_bytes()), layout)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(decide))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Ctrl-C reaches the whole group, and the parent tells of it
        main(*sys.argv[1:])

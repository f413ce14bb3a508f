"""From the calls of all doors to one ASGI application: calls of one path behind one route, and what is on none."""

from collections.abc import Iterable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sidecar.core.errors import NotFound
from sidecar.doors.wire.application import Application
from sidecar.doors.wire.context import OTHER, Context, Served
from sidecar.doors.wire.endpoint import Call, Endpoint
from sidecar.doors.wire.http import Incoming
from sidecar.doors.wire.manner import NATIVE, Manner


def application(context: Context, calls: Iterable[Call], manners: Mapping[str, Manner]) -> Application:
    """Return the ASGI application that serves ``calls``, those of one path behind one route.

    At and below each path of ``manners`` an unknown path is answered in that manner, elsewhere in the native one.
    """
    by_path: dict[str, dict[str, Call]] = {}
    for call in calls:
        for path in (call.path, *call.aliases):
            by_path.setdefault(path, {})[call.method] = call
    endpoints = {path: Endpoint(context, methods) for path, methods in by_path.items()}

    async def unknown_path(request: Request, _error: Exception) -> Response:
        error = NotFound("no such path")
        request_id = Incoming(request.scope).request_id() or context.new_request_id(context.clock())
        asked = f"{request.scope['path']}/"
        manner = next((each for path, each in manners.items() if asked.startswith(f"{path}/")), NATIVE)
        answer = manner.error_answer(error, request_id, ())
        context.count(Served(OTHER, OTHER, answer.status))
        headers = {"x-request-id": request_id, **dict(answer.headers)}
        return Response(answer.body, answer.status, headers, answer.content_type)

    routes = [Route(path, endpoint) for path, endpoint in endpoints.items()]
    framework = Starlette(routes=routes, exception_handlers={404: unknown_path})
    framework.router.redirect_slashes = False
    return Application(framework, endpoints)

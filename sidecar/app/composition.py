"""One worker's parts, put together: store, services, doors. Nothing runs yet when this returns."""

from collections.abc import Callable, Iterable

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sidecar.app.duty import Duty
from sidecar.app.sources import AscendingIds, random_bytes
from sidecar.core.errors import ConfigurationInvalid, NotFound, StoreUnusable
from sidecar.core.snapshot import SourceFile
from sidecar.doors.native.audit import AuditCalls
from sidecar.doors.native.decisions import DecisionCalls
from sidecar.doors.native.reference import ReferenceCalls
from sidecar.doors.native.resources import ResourceCalls, Services
from sidecar.doors.operations import OperationCalls
from sidecar.doors.wire.endpoint import Call, Context, Endpoint, error_answer
from sidecar.doors.wire.http import Incoming
from sidecar.replica.vetting import ProcessVetting
from sidecar.service.audit import Auditor
from sidecar.service.authorize import Authorizer
from sidecar.service.budgets import Treasurer
from sidecar.service.identities import Registry
from sidecar.service.policies import Legislator
from sidecar.service.settlement import Settler
from sidecar.service.snapshots import Snapshots
from sidecar.service.tenants import Tenancy
from sidecar.service.tokens import TokenDesk
from sidecar.settings import Settings
from sidecar.state.boot import newest_time
from sidecar.state.clock import Clock
from sidecar.state.environment import open_environment
from sidecar.state.headroom import Headroom
from sidecar.state.store import LmdbStore


class Worker(msgspec.Struct, frozen=True):
    """One process's application, the work that runs beside it, and the store to be closed at the end."""

    application: Starlette
    duty: Duty
    store: LmdbStore


class Health:
    """Whether this process can decide."""

    def __init__(self) -> None:
        """Be well."""
        self.broken: StoreUnusable | None = None

    def require_ready(self) -> None:
        """Raise what broke the store."""
        if self.broken is not None:
            raise self.broken


def compose(settings: Settings, stop: Callable[[], None], health: Health) -> Worker:
    """Open the store and return the parts of one worker.

    ``stop`` is called once, from any thread, when the store broke.
    """
    if settings.admin_token is None:
        raise ConfigurationInvalid("the operator's token is not set")

    def fail(error: StoreUnusable) -> None:
        health.broken = error
        stop()

    def require_ready() -> None:
        health.require_ready()
        store.require_room()

    environment = open_environment(settings.store, durability=settings.durability, map_size=settings.map_size)
    headroom = Headroom(environment.data_file(), settings.free_bytes_min)
    clock = Clock(newest_time(environment))
    store = LmdbStore(environment, headroom, shared=settings.workers > 1, fail=fail)
    snapshots, new_id = Snapshots(), AscendingIds()
    registry = Registry(store, snapshots, new_id)
    desk = TokenDesk(store, new_id, random_bytes, settings.admin_token)
    settler = Settler(store)
    services = Services(
        tenancy=Tenancy(store, registry, desk, new_id),
        registry=registry,
        legislator=Legislator(store, snapshots, new_id, ProcessVetting(lambda: _schemas(store, snapshots))),
        treasurer=Treasurer(store, snapshots, new_id),
        desk=desk,
    )
    calls = (
        *DecisionCalls(Authorizer(store, snapshots, new_id), settler).calls(),
        *ResourceCalls(services).calls(),
        *AuditCalls(Auditor(store)).calls(),
        *OperationCalls(require_ready).calls(),
    )
    context = Context(desk.authenticate, clock, lambda now_us: new_id("req", now_us))
    duty = Duty(settings.data_dir / "background.lock", store, settler, clock)
    return Worker(application(context, (*calls, *ReferenceCalls(calls).calls())), duty, store)


def _schemas(store: LmdbStore, snapshots: Snapshots) -> tuple[SourceFile, ...]:
    with store.read() as txn:
        return snapshots.files(txn).files.schemas


def application(context: Context, calls: Iterable[Call]) -> Starlette:
    """Return the ASGI application that serves ``calls``, those of one path behind one route."""
    by_path: dict[str, dict[str, Call]] = {}
    for call in calls:
        for path in (call.path, *call.aliases):
            by_path.setdefault(path, {})[call.method] = call
    routes = [Route(path, Endpoint(context, methods)) for path, methods in by_path.items()]

    async def unknown_path(request: Request, _error: Exception) -> Response:
        error = NotFound("no such path")
        request_id = Incoming(request.scope).request_id() or context.new_request_id(context.clock())
        answer = error_answer(error, request_id, ())
        return Response(answer.body, answer.status, {"x-request-id": request_id}, answer.content_type)

    app = Starlette(routes=routes, exception_handlers={404: unknown_path})
    app.router.redirect_slashes = False
    return app

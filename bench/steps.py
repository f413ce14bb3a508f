"""``python -m bench steps``: what each step of a decision costs, without a network, in a process of its own.

Requests go straight into the real ASGI application. Each kind of run gets a fresh interpreter and a fresh store, on one
processor, because that is what a worker has; of several rounds the fastest counts, step by step.
"""

import asyncio
import gc
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import uvloop

from bench import cores, stages, tenant
from bench.generator import varied
from bench.results import Step
from bench.servers import ROOT
from bench.tenant import Tenant
from sidecar.app.composition import Health, compose
from sidecar.app.logs import set_up_logs
from sidecar.app.prepare import prepare
from sidecar.settings import Settings

OPERATOR: Final = "operator-of-the-benchmark-in-process"
WARM_UP: Final = 200
MICRO: Final = 1_000_000


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of run: what is asked, at which durability, by how many at a time."""

    name: str
    durability: str
    at_a_time: int
    dry_run: bool = False


KINDS: Final = (
    Kind(name="dry run", durability="process-crash", at_a_time=1, dry_run=True),
    Kind(name="permit, process-crash", durability="process-crash", at_a_time=1),
    Kind(name="permit, power-loss", durability="power-loss", at_a_time=1),
    Kind(name="permit, process-crash, 32 at once", durability="process-crash", at_a_time=32),
    Kind(name="permit, power-loss, 32 at once", durability="power-loss", at_a_time=32),
)


class Size(msgspec.Struct, frozen=True):
    """How much is measured: rounds of so many requests."""

    rounds: int = 7
    requests: int = 1_024


class Task(msgspec.Struct, frozen=True):
    """What a process is told to measure, in a folder of its own."""

    kind: Kind
    size: Size
    folder: str


class StepsFailedError(Exception):
    """A run of the steps did not end well."""


def measure(size: Size, data_dir: Path | None, core: int | None, told: Callable[[str], None]) -> tuple[Step, ...]:
    """Return the steps of all kinds; raises StepsFailedError."""
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        told(kind.name)
        with tempfile.TemporaryDirectory(prefix="sidecar-bench-", dir=data_dir) as folder, cores.held(core):
            task = msgspec.json.encode(Task(kind, size, folder))
            command = [sys.executable, "-m", "bench.steps"]
            done = subprocess.run(command, input=task, cwd=ROOT, capture_output=True, check=False)
        if done.returncode:
            raise StepsFailedError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
        found[kind.name] = msgspec.json.decode(done.stdout, type=dict[str, float])
    names = [*stages.STEPS, stages.REST, stages.WHOLE, stages.CPU]
    return tuple(
        Step(name=name, microseconds={kind: taken[name] for kind, taken in found.items() if name in taken})
        for name in names
        if any(name in taken for taken in found.values())
    )


def run(task: Task) -> dict[str, float]:
    """Return microseconds of each step, of the whole request, and of what no step names."""
    set_up_logs("error")
    settings = prepare(
        Settings(
            data_dir=Path(task.folder) / "data",
            policies=ROOT / "policies",
            schemas=ROOT / "schemas",
            durability="power-loss" if task.kind.durability == "power-loss" else "process-crash",
            admin_token=OPERATOR,
        )
    )
    with stages.watched() as watched:
        worker = compose(settings, lambda: None, Health())
        try:
            return uvloop.run(_rounds(task, worker.application, watched))
        finally:
            worker.store.close()


async def _rounds(task: Task, application: Any, watched: stages.Stages) -> dict[str, float]:  # noqa: ANN401  # ASGI
    """Measure in rounds and keep the least of each step: what disturbs a round only ever adds."""
    asker = await _set_up(application)
    body = orjson.dumps(asker.request(dry_run=task.kind.dry_run))
    bodies = itertools.cycle(varied(body, f"{tenant.AMOUNT}"))  # another amount each time, so that Cedar is asked

    async def ask(times: int) -> None:
        for _ in range(times):
            answer = await call(application, "/v1/authorize", next(bodies), asker.token)
            if answer.get("allowed") is not True:
                raise StepsFailedError(f"no permit: {answer}")

    await ask(WARM_UP)
    each = max(1, task.size.requests // task.kind.at_a_time)
    requests = each * task.kind.at_a_time
    least: dict[str, float] = {}
    for _ in range(task.size.rounds):
        gc.collect()
        watched.reset()
        began, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*(ask(each) for _ in range(task.kind.at_a_time)))
        whole = (time.perf_counter() - began) / requests * MICRO
        processor = (time.process_time() - busy) / requests * MICRO
        for name, taken in (watched.microseconds(requests) | {stages.WHOLE: whole, stages.CPU: processor}).items():
            least[name] = min(taken, least.get(name, taken))
    steps = sum(taken for name, taken in least.items() if name in stages.STEPS)
    return least | {stages.REST: max(least[stages.WHOLE] - steps, 0.0)}


async def _set_up(application: Any) -> Tenant:  # noqa: ANN401  # as above
    """Make the tenant that ``bench.tenant`` makes over HTTP."""

    async def make(path: str, body: dict[str, object], token: str) -> dict[str, Any]:
        return await call(application, f"/v1/{path}", orjson.dumps(body), token)

    made = await make("tenants", {"name": "Bench", "time_zone": "America/Toronto"}, OPERATOR)
    key, root = made["api_key"], made["root_identity_id"]

    async def identity(parent: str, kind: str) -> str:
        found: str = (await make("identities", {"parent_id": parent, "type": kind, "name": kind}, key))["identity_id"]
        return found

    team = await identity(root, "team")
    await make("policies", {"identity_id": team, "name": "Cloud spend", "rules": tenant.RULES}, key)
    agent = await identity(team, "agent")
    for owner, period in ((team, "total"), (agent, "daily")):
        await make("budgets", tenant.budget(owner, period, period, tenant.BUDGET_LIMIT), key)
    token = (await make("tokens", {"name": "Worker", "identity_id": agent}, key))["token"]
    return Tenant(key, token, root, team, agent, "")


def call(
    application: Any,  # noqa: ANN401  # ASGI
    path: str,
    body: bytes,
    token: str,
    *,
    method: str = "POST",
) -> Coroutine[Any, Any, dict[str, Any]]:
    """Send ``body`` as uvicorn would hand it over and return the decoded answer; a query may follow the path."""
    headers = [
        (b"host", b"127.0.0.1:8181"),
        (b"accept", b"*/*"),
        (b"user-agent", b"bench"),
        (b"authorization", b"Bearer " + token.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]

    async def answered() -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads((await send(application, method, path, headers, body))[1])
        return found

    return answered()


async def send(
    application: Any,  # noqa: ANN401  # ASGI
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
) -> tuple[int, bytes]:
    """Send a request as uvicorn would hand it over and return status and body; a query may follow the path."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "headers": headers,
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:  # ASGI's callables are coroutines
        return {"type": "http.request", "body": body, "more_body": False}

    async def told(message: dict[str, Any]) -> None:  # as above
        sent.append(message)

    await application(scope, receive, told)
    return sent[0]["status"], sent[1]["body"]


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Task))))

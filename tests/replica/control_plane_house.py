"""A real control plane in this process, over a store of its own, with a clock that is set by hand.

It is the application that ``sidecar serve`` runs, spoken to without a socket. It can be closed and opened again on what
it left, and copied as a backup would.
"""

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from sidecar.app import composition
from sidecar.app.composition import Health, Worker, compose
from sidecar.app.prepare import prepare
from sidecar.core.access import Token
from sidecar.core.budget import Budget, card_owner
from sidecar.core.cards import Card
from sidecar.core.directory import Identity
from sidecar.core.feed import KINDS, Change, FollowedToken, state_digest
from sidecar.core.snapshot import PolicyFiles, PolicyRecord
from sidecar.service.store import TenantTransaction
from sidecar.settings import Settings
from tests.doors.door import SetClock
from tests.process.server import OPERATOR, ROOT, Document
from tests.replica.simulator import Asked, Given, Upstream, application_upstream

TENANT: Final = "t_one"
ROOT_IDENTITY: Final = "root"


async def pass_all(*_: object) -> None:
    """Find nothing wrong with a policy, since the process that would look at it costs half a second."""


class ControlPlaneHouse:
    """A control plane with tenant ``t_one``; ``runner`` is the event loop of all that takes part in the test."""

    def __init__(self, folder: Path, runner: asyncio.Runner, clock: SetClock) -> None:
        """Open or create it in ``folder``."""
        self.folder = folder
        self.clock = clock
        self._runner = runner
        self._worker: Worker | None = None
        self.open()

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is open."""
        self.close()

    def open(self) -> None:
        """Start it on what is in its folder."""
        settings = Settings(
            data_dir=self.folder / "data",
            policies=ROOT / "policies",
            schemas=ROOT / "schemas",
            admin_token=OPERATOR,
            free_bytes_min=0,
            durability="process-crash",
            watch=False,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(composition, "Clock", lambda _floor_us: self.clock)
            patch.setattr(composition, "ProcessVetting", lambda *_: pass_all)
            made = settings if settings.store.exists() else prepare(settings)
            self._worker = compose(made, lambda: None, Health())
        self.upstream: Upstream = application_upstream(self._worker.application)

    def close(self) -> None:
        """End it as at SIGTERM, if it runs."""
        if self._worker is not None:
            self._worker.store.close()
            self._worker.rates.close()
            self._worker = None

    def restart(self) -> None:
        """End it and start it again."""
        self.close()
        self.open()

    @property
    def worker(self) -> Worker:
        """The parts of the process."""
        assert self._worker is not None
        return self._worker

    @contextmanager
    def backup(self, folder: Path) -> Iterator["ControlPlaneHouse"]:
        """Give a control plane as it is restored from a copy of this one as it is now."""
        # Only the data: to open the lock file in a process that has it open would drop its locks.
        (folder / "data" / "db").mkdir(parents=True)
        shutil.copy(self.folder / "data" / "db" / "data.mdb", folder / "data" / "db" / "data.mdb")
        with ControlPlaneHouse(folder, self._runner, self.clock) as restored:
            yield restored

    def call(self, method: str, path: str, body: object = None, token: str = OPERATOR) -> Given:
        """Make one call, without any fault."""
        headers = {"authorization": f"Bearer {token}"}
        if body is not None:
            headers["content-type"] = "application/json"
        content = b"" if body is None else json.dumps(body).encode()
        return self._runner.run(self.upstream(Asked(method, path, tuple(headers.items()), content)))

    def ok(self, method: str, path: str, body: object = None, token: str = OPERATOR) -> Document:
        """Make a call that must succeed and return its document."""
        return self.read(self.call(method, path, body, token))

    def read(self, given: Given) -> Document:
        """Return the document of an answer that must be good."""
        assert given.status in {200, 201, 204}, given
        document: Document = json.loads(given.body) if given.body else {}
        return document

    def found(self, tenant_id: str = TENANT) -> Document:
        """Make a tenant and return what is said once."""
        return self.ok("POST", "/v1/tenants", {"id": tenant_id, "name": "One", "root": {"id": ROOT_IDENTITY}})

    def follower_token(self, identity_id: str | None = None, tenant_id: str = TENANT) -> tuple[str, str]:
        """Make a token to follow with; returns its text and its id."""
        body = {"name": "a follower", "kind": "follower", "tenant_id": tenant_id}
        made = self.ok("POST", "/v1/tokens", body | ({} if identity_id is None else {"identity_id": identity_id}))
        return made["token"], made["token_id"]

    def replace_files(self, files: PolicyFiles) -> None:
        """Make these the policy files that hold, as a reload does after it has tried them."""
        self._runner.run(self.worker.store.write(lambda txn: txn.keep_policy_files(files)))

    @contextmanager
    def look(self, tenant_id: str = TENANT) -> Iterator[TenantTransaction]:
        """Give the committed state of a tenant."""
        with self.worker.store.read() as txn:
            tenant = txn.tenants.find(tenant_id)
            assert tenant is not None
            yield txn.of(tenant)


class State(dict[tuple[str, str], Change]):
    """All followed records of a tenant by kind and id."""

    @classmethod
    def of(cls, part: TenantTransaction) -> "State":
        """Return what is in a store."""
        return cls({(each.kind, each.id): each for kind in KINDS for each in part.feed.all(kind)})

    def within(self, scope: str | None) -> "State":
        """Return what a follower that is limited to ``scope`` has to know of it, the obvious way.

        What followed policies look into beside that is not in it.
        """
        kept = {key: each for key, each in self.items() if not is_follower_token(each)}
        if scope is None:
            return State(kept)
        below = {key for kind, key in kept if kind == "identity" and scope in self.chain(key)}
        owners = self.chain(scope) | below
        owners |= {card_owner(key) for kind, key in kept if kind == "card" and kept[kind, key].owner in owners}
        return State({key: each for key, each in kept.items() if _owner(each) in {None, *owners}})

    def chain(self, identity_id: str) -> set[str]:
        """Return an identity and all above it."""
        found: set[str] = set()
        above: str | None = identity_id
        while above is not None:
            found.add(above)
            value = self["identity", above].value
            above = getattr(value, "parent_id", None)
        return found

    def digest(self) -> str:
        """Return what stands for exactly this."""
        return state_digest(self.values())


def _owner(change: Change) -> str | None:
    """Return whom a record belongs to by what it says itself."""
    match change.value:
        case Identity(identity_id=found) | FollowedToken(token=Token(identity_id=found)):
            return found
        case PolicyRecord(identity_id=found) | Card(identity_id=found):
            return found
        case Budget() as budget:
            return budget.owner
        case None:
            return change.owner


def is_follower_token(change: Change) -> bool:
    """Whether a record is a token that control planes keep to themselves."""
    return isinstance(change.value, FollowedToken) and change.value.token.kind == "follower"

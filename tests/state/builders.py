"""Stores without the services above them: an environment in a folder, and one transaction at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.core.directory import Identity, Tenant
from sidecar.state.environment import Environment, open_environment
from sidecar.state.transaction import Transaction

MAP_SIZE = 1 << 26


def open_store(folder: Path, *, map_size: int = MAP_SIZE, map_size_max: int = MAP_SIZE) -> Environment:
    """Open or create a store below ``folder``."""
    return open_environment(folder / "db", durability="process-crash", map_size=map_size, map_size_max=map_size_max)


@contextmanager
def store_in(folder: Path) -> Iterator[Environment]:
    """Open or create a store below ``folder`` and close it at the end."""
    environment = open_store(folder)
    try:
        yield environment
    finally:
        environment.close()


@contextmanager
def writing(environment: Environment) -> Iterator[Transaction]:
    """Give a write transaction that is committed unless an error leaves it."""
    parent = environment.begin_write()
    try:
        yield Transaction(parent, environment.tables)
        parent.commit()
    finally:
        parent.abort()


@contextmanager
def reading(environment: Environment) -> Iterator[Transaction]:
    """Give the committed state."""
    with environment.read() as txn:
        yield Transaction(txn, environment.tables)


def a_tenant(number: int = 1) -> Tenant:
    """The tenant of this number."""
    return Tenant(
        tenant_id=f"t_{number}",
        number=number,
        name=f"Tenant {number}",
        mode="live",
        time_zone="UTC",
        root_identity_id="root",
        log_id=f"log{number}",
        created_at_us=number,
    )


def an_identity(
    identity_id: str, parent_id: str | None = "root", *, external_id: str | None = None, revision: int = 1
) -> Identity:
    """An identity below the root."""
    return Identity(
        identity_id=identity_id,
        parent_id=parent_id,
        type="agent",
        name=identity_id,
        external_id=external_id,
        created_at_us=0,
        revision=revision,
    )


def rows(environment: Environment, table: str) -> list[tuple[bytes, bytes]]:
    """Every row of a table."""
    with environment.read() as txn, txn.cursor(db=environment.tables[table]) as cursor:
        return [(bytes(key), bytes(value)) for key, value in cursor]

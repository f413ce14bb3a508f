"""The logs of a data directory as histories: read in chunks, beside a running server or without one.

Each chunk is read in a transaction of its own, so that a long replay keeps no pages of a server from being used again.
A history ends at the head that was found first, whatever is appended meanwhile.
"""

from collections.abc import Iterator
from typing import Final

from sidecar.core.directory import Tenant
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.log_entries import link
from sidecar.state.audit_log import TILE
from sidecar.state.environment import Environment
from sidecar.state.transaction import Transaction

CHUNK: Final = 8 * TILE
"""Records read in one transaction; also those whose requests are, once the first of them is asked for."""


class StoredChronicle:
    """One tenant's log; implements ``sidecar.service.chronicle.Chronicle``."""

    def __init__(self, environment: Environment, tenant: Tenant, size: int | None = None) -> None:
        """Read the log of ``tenant`` up to its present end, or only ``size`` records of it.

        Raises ConfigurationInvalid where it has fewer.
        """
        self._environment = environment
        self._tenant = tenant
        self._requests: dict[bytes, bytes] = {}
        self._requests_from = -1
        self.tenant_id = tenant.tenant_id
        with environment.read() as txn:
            log = Transaction(txn, environment.tables).of(tenant).audit
            head = log.head()
            self.origin = log.origin
            self.size, self.link = head.next_index, head.link
            if size is not None and size > self.size:
                raise ConfigurationInvalid(
                    f"the log of tenant `{tenant.tenant_id}` ends with record {self.size - 1}, expected {size - 1}"
                )
            if size is not None and size < self.size:
                self.size = size
                self.link = next((link(body) for _, body in log.read(size - 1, 1)), b"")

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield the records from the first on, as seq and body."""
        start, chunk = 0, self._read(0)
        while chunk:
            yield from chunk
            start = chunk[-1][0] + 1
            chunk = self._read(start)

    def _read(self, start: int) -> list[tuple[int, bytes]]:
        with self._environment.read() as txn:
            log = Transaction(txn, self._environment.tables).of(self._tenant).audit
            return [row for row in log.read(start, min(CHUNK, self.size - start)) if row[0] < self.size]

    def fact(self, digest: bytes, seq: int) -> bytes | None:
        """Return the bytes that record ``seq`` refers to, None when they were erased."""
        if seq - seq % CHUNK != self._requests_from:
            self._requests_from = seq - seq % CHUNK
            with self._environment.read() as txn:
                log = Transaction(txn, self._environment.tables).of(self._tenant).audit
                self._requests = dict(log.requests(self._requests_from, self._requests_from + CHUNK))
        content = self._requests.get(digest)
        if content is None:
            with self._environment.read() as txn:
                content = Transaction(txn, self._environment.tables).of(self._tenant).audit.fact(digest, seq)
        return content

    def place(self, seq: int) -> str:
        """Return where record ``seq`` lies, as messages name it."""
        return f"record {seq} of tenant `{self.tenant_id}`"


def chronicles(environment: Environment, tenant_id: str | None, size: int | None = None) -> list[StoredChronicle]:
    """Return the history of one tenant, or of all in order of creation.

    Raises ConfigurationInvalid for an unknown tenant.
    """
    with environment.read() as txn:
        tenants = Transaction(txn, environment.tables).tenants
        if tenant_id is None:
            found = list(tenants.after(0))
        else:
            tenant = tenants.find(tenant_id)
            if tenant is None:
                raise ConfigurationInvalid(f"the store has no tenant `{tenant_id}`")
            found = [tenant]
    return [StoredChronicle(environment, tenant, size) for tenant in found]

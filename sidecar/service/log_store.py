"""What the use cases need of a store for the log and the answers of one tenant."""

from collections.abc import Iterator
from typing import Protocol

from sidecar.core.audit import Body, Head
from sidecar.core.idempotency import Replay
from sidecar.core.model import AuditMark, Decision


class LogReader(Protocol):
    """The hash chain of one log, to read."""

    @property
    def origin(self) -> str:
        """The name of the log, written into each of its records."""

    def head(self) -> Head:
        """Return the end of the log."""

    def read(self, start: int, most: int) -> Iterator[tuple[int, bytes]]:
        """Yield stored records from index ``start`` on."""

    def fact(self, digest: bytes, index: int) -> bytes | None:
        """Return the bytes that record ``index`` refers to."""


class AuditLog(LogReader, Protocol):
    """The hash chain of one tenant and the facts behind it."""

    def append(self, kind: str, now_us: int, fields: Body) -> AuditMark:
        """Seal one record onto the head."""

    def tell_notices(self, now_us: int) -> None:
        """Record what happened to the deployment and this log has not told of yet."""

    def keep_request(self, content: bytes) -> bytes:
        """Store the canonical request of the next record; returns its hash."""

    def keep_fact(self, content: bytes) -> bytes:
        """Store what many records refer to; returns its hash."""

    def has_fact(self, digest: bytes) -> bool:
        """Whether a lasting fact is kept."""


class Answers(Protocol):
    """The answers that were given in one tenant."""

    def decision(self, decision_id: str) -> Decision | None:
        """Return a decision as it was answered."""

    def keep_decision(self, decision: Decision) -> None:
        """Store a decision under its id."""

    def replay(self, scope: str, now_us: int) -> Replay | None:
        """Return the stored outcome of an idempotency key."""

    def keep_replay(self, replay: Replay) -> None:
        """Store an outcome."""

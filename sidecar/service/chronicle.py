"""A log as whoever replays it reads it: its records in order, and the facts behind them, each compared with its hash.

Facts are taken by their address and by nothing else. One that was erased is no fault of the log: ``FactMissing`` says
what is not known any more, and its asker tells that instead of an answer.
"""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Final, Protocol, TypeVar

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.history import Decided, Ended, digest, may_reopen, read_event
from sidecar.core.model import AuthorizeRequest

V = TypeVar("V")

_request: Final = msgspec.json.Decoder(AuthorizeRequest)


class FactMissing(Exception):
    """What was asked for lies in a fact that was erased; ``what`` names it."""

    def __init__(self, what: str) -> None:
        """Keep what is missing."""
        super().__init__(what)
        self.what = what


class Chronicle(Protocol):
    """The log of one tenant up to some record, in a data directory or in an export."""

    @property
    def tenant_id(self) -> str:
        """Whose it is."""

    @property
    def origin(self) -> str:
        """The name of the log."""

    @property
    def size(self) -> int:
        """How many records it has."""

    @property
    def link(self) -> bytes:
        """The link of its last record."""

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield the records from the first on, as seq and body."""

    def fact(self, digest: bytes, seq: int) -> bytes | None:
        """Return the bytes that record ``seq`` refers to, None when they were erased."""

    def place(self, seq: int) -> str:
        """Return where record ``seq`` lies, as messages name it."""


class Facts:
    """The facts of one log, each compared with its address when it is read."""

    def __init__(self, chronicle: Chronicle) -> None:
        """Read them from ``chronicle``."""
        self._chronicle = chronicle

    def content(self, address: str, seq: int, what: str) -> bytes:
        """Return the bytes of a fact.

        Raises FactMissing where they were erased, ValidationFailed where they are not what the address says.
        """
        wanted = digest(address)
        content = self._chronicle.fact(wanted, seq)
        if content is None:
            raise FactMissing(what)
        if sha256(content).digest() != wanted:
            raise ValidationFailed(f"the fact `{address}` was changed: its content has another hash")
        return content

    def text(self, address: str, seq: int, what: str) -> str:
        """Return a fact that is a text. Raises as ``content`` does."""
        return self.content(address, seq, what).decode()

    def value(self, decoder: msgspec.json.Decoder[V], address: str, seq: int, what: str) -> V:
        """Return a fact that is a value. Raises as ``content`` does, ValidationFailed for what cannot be read."""
        content = self.content(address, seq, what)
        try:
            return decoder.decode(content)
        except msgspec.DecodeError as error:
            raise ValidationFailed(f"the fact of {what} cannot be read: {error}") from error

    def request(self, decided: Decided) -> AuthorizeRequest:
        """Return what was asked. Raises FactMissing, ValidationFailed."""
        return self.value(_request, decided.request, decided.seq, "the request")


def reopened(chronicle: Chronicle) -> frozenset[str]:
    """Return the decisions whose holds ended and were settled late or refunded: all others are over when they end."""
    found = set()
    for _, body in chronicle.entries():
        if may_reopen(body):
            with suppress(ValidationFailed):  # whoever takes the record names it
                event = read_event(body)
                if isinstance(event, Ended):
                    found.add(event.decision_id)
    return frozenset(found)

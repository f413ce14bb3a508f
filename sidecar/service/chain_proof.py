"""Whether the hash chain of a history holds, read from the log or from an export, and how a difference is told."""

from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.verification import FORMAT, Verifier
from sidecar.service.chronicle import Chronicle

CHUNK: Final = 1_000
"""Records after which is told how far the work has come."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first record that is not what it must be. ``field`` is the one that differs, empty where the whole does."""

    seq: int
    decision_id: str | None
    field: str
    recorded: str
    found: str

    @property
    def sentence(self) -> str:
        """What differs, in one line."""
        about = "" if self.decision_id is None else f" (decision `{self.decision_id}`)"
        if not self.field:
            return f"record {self.seq}{about}: {self.found}"
        return f"record {self.seq}{about}: `{self.field}` is recorded as {self.recorded}, and came out as {self.found}"


class Chain(msgspec.Struct, frozen=True):
    """What came of verifying the hash chain of a log."""

    tenant_id: str
    fault: Difference | None


def verify_chain(chronicle: Chronicle, told: Callable[[int], object]) -> Chain:
    """Return whether each record follows the one before it, up to the head.

    Raises ConfigurationInvalid for a record of a format that this version does not have.
    """
    verifier = Verifier(chronicle.origin, chronicle.tenant_id)
    for seq, body in chronicle.entries():
        fault = verifier.feed(seq, body)
        if fault is not None:
            _require_format(body, chronicle.place(seq))
            break
        if seq % CHUNK == 0:
            told(seq)
    else:
        fault = verifier.finish(chronicle.size, chronicle.link)
    told(chronicle.size)
    if fault is None:
        return Chain(chronicle.tenant_id, None)
    found = Difference(seq=fault.seq, decision_id=None, field="", recorded="", found=fault.reason)
    return Chain(chronicle.tenant_id, found)


class _Version(msgspec.Struct):
    v: int = FORMAT


def _require_format(body: bytes, place: str) -> None:
    """Raise ConfigurationInvalid where a record that is no good is one of another format."""
    try:
        version = msgspec.json.decode(body, type=_Version).v
    except msgspec.DecodeError:
        return
    if version != FORMAT:
        raise ConfigurationInvalid(f"{place}: format version `{version}`, expected {FORMAT}")

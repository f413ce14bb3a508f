"""What a proof of a history found: the first record that is not what it must be, and what could not be decided anew."""

from typing import Final

import msgspec


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


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that was erased, and the record that needs it."""

    seq: int
    decision_id: str | None
    what: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. ``decisions`` are those that were decided again, up to ``difference`` where there is one.

    ``unchained`` is the first record that does not follow the one before it: where there is one, it is what is wrong.
    """

    tenant_id: str
    entries: int
    decisions: int
    missing: tuple[Missing, ...]
    missing_count: int
    difference: Difference | None
    unchained: Difference | None = None

    @property
    def wrong(self) -> Difference | None:
        """What is wrong with the history, None for nothing."""
        return self.unchained or self.difference

    @property
    def is_exact(self) -> bool:
        """Whether the chain holds and every decision that could be decided again came out as it was recorded."""
        return self.wrong is None


MISSING_MAX: Final = 10_000
"""Missing facts that are named; all are counted."""

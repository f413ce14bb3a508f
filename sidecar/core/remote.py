"""What the record of a follower's decision tells of its control plane's word, read back; ``audit`` writes it."""

from typing import TypeAlias

import msgspec

from sidecar.core.delegation import Referral, Share, Word
from sidecar.core.model import AuditMark
from sidecar.core.reasons import as_told

Shared: TypeAlias = tuple[str, int, int | None, int | str, int | str, int]
"""A claim at a control plane: budget, its revision, its window's start, what was settled and held, what was asked."""


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower's control plane said of a decision, and where its own record of it stands, where it made one."""

    granted: bool
    codes: tuple[str, ...] = ()
    budgets: tuple[Shared, ...] = ()
    seq: int | None = None
    hash: str | None = None


def referral_of(decision_id: str, remote: Remote) -> Referral:
    """Return what a follower's record says that came of asking, as far as it tells: codes without their sentences."""
    if not remote.granted and not remote.codes:
        return Referral(decision_id=decision_id)
    word = Word(
        decision_id=decision_id,
        granted=remote.granted,
        reasons=tuple(as_told(code) for code in remote.codes),
        checks=(),
        shares=tuple(_share(row, granted=remote.granted) for row in remote.budgets),
        expires_at_us=None,
        entity_revision=None,
        policy_revision=None,
        audit=None if remote.seq is None or remote.hash is None else AuditMark(remote.seq, remote.hash),
    )
    return Referral(decision_id=decision_id, word=word)


def _share(row: Shared, *, granted: bool) -> Share:
    budget_id, revision, start_us, settled, held, asked = row
    return Share(
        budget_id=budget_id,
        revision=revision,
        window_start_us=start_us,
        settled=int(settled),
        held=int(held),
        asked=asked,
        granted=asked if granted else 0,
    )

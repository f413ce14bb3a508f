"""What a replay found, put together for reports: flips by what made them, sums of money, and sentences.

What turns a denial into a permit stands first: it is what a reviewer must see. Amounts are exact, in major units, per
currency.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from sidecar.core.money import major_text
from sidecar.service.courses import Ground
from sidecar.service.proof import Proof
from sidecar.service.replay import Cause, Comparison, Flip, Span, Verdict

LIMIT: Final = 20
"""Rows of a table unless told."""

DIRECTIONS: Final[tuple[tuple[Verdict, Verdict], ...]] = (("deny", "allow"), ("allow", "deny"))
"""From and to; the more dangerous one first."""


class Group(msgspec.Struct, frozen=True):
    """The flips in one direction that one thing made."""

    before: Verdict
    after: Verdict
    cause: Cause
    decisions: int
    money: tuple[tuple[str, int], ...]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """All that came of a replay."""

    proofs: tuple[Proof, ...]
    comparisons: tuple[Comparison, ...]
    span: Span
    candidate: str
    engine: str

    @property
    def decisions(self) -> int:
        """How many decisions were decided again."""
        return sum(each.decisions for each in self.comparisons)

    @property
    def is_exact(self) -> bool:
        """Whether every proof holds."""
        return all(proof.is_exact for proof in self.proofs)

    @property
    def left_out(self) -> list[str]:
        """Tenants whose history could not be read to its end, so that nothing of it was compared."""
        compared = {each.tenant_id for each in self.comparisons}
        return [proof.tenant_id for proof in self.proofs if proof.tenant_id not in compared]

    @property
    def missing(self) -> int:
        """How many facts are missing."""
        return sum(each.missing_count for each in self.comparisons)

    @property
    def suspended(self) -> tuple[int, int]:
        """How many denials by a budget that suspends were made then only, and by the candidate only."""
        return (
            sum(each.suspended_only_before for each in self.comparisons),
            sum(each.suspended_only_after for each in self.comparisons),
        )

    def flips(self, before: Verdict) -> list[Flip]:
        """Return the flips from one verdict, tenant by tenant in the order of the records."""
        return [flip for each in self.comparisons for flip in each.flips if flip.before == before]


def groups_of(flips: Iterable[Flip]) -> list[Group]:
    """Return flips of one direction by what made them, the most numerous first."""
    by_cause: dict[Cause, list[Flip]] = {}
    for flip in flips:
        by_cause.setdefault(flip.cause, []).append(flip)
    found = [Group(own[0].before, own[0].after, cause, len(own), money_of(own)) for cause, own in by_cause.items()]
    return sorted(found, key=lambda group: (-group.decisions, group.cause.kind, group.cause.id))


def money_of(flips: Iterable[Flip]) -> tuple[tuple[str, int], ...]:
    """Return what flips come to per currency, in minor units."""
    sums: dict[str, int] = {}
    for flip in flips:
        if flip.amount_minor is not None and flip.currency is not None:
            sums[flip.currency] = sums.get(flip.currency, 0) + flip.amount_minor
    return tuple(sorted(sums.items()))


def summary(found: Replayed) -> str:
    """Return the outcome in one sentence."""
    permitted, denied = len(found.flips("deny")), len(found.flips("allow"))
    if permitted == denied == 0:
        return f"none of {found.decisions} decisions comes out differently"
    each = f"{permitted} DENY to ALLOW, {denied} ALLOW to DENY"
    return f"{permitted + denied} of {found.decisions} decisions come out differently: {each}"


def remarks(found: Replayed, limit: int) -> list[str]:
    """Return what has to be known beside the outcome: the proof, what is missing, what was not undone."""
    said = [proof_said(found)]
    left = found.left_out
    if left:
        said.append(f"not decided again, and counted nowhere here: the history of tenant {', '.join(left)}")
    if found.missing:
        said.append(f"{found.missing} facts are missing, what needs them is counted apart and not guessed:")
        named = [
            f"  tenant {each.tenant_id}, record {one.seq}: {one.what}"
            for each in found.comparisons
            for one in each.missing
        ]
        said += named[:limit]
        if found.missing > limit:
            said.append(f"  and {found.missing - limit} more")
    then, now = found.suspended
    if then or now:
        said.append(
            f"suspensions by budgets are those of then: {then} denials that suspended somebody would not have been made"
            f" by the candidate, {now} others would; neither is undone or added"
        )
    return said


def proof_said(found: Replayed) -> str:
    """Return in one sentence whether the history could be proven."""
    for proof in found.proofs:
        if proof.difference is not None:
            return f"PROOF FAILED for tenant {proof.tenant_id}: {proof.difference.sentence}"
    count = sum(proof.decisions for proof in found.proofs)
    return f"proven first: {count} decisions come out exactly as recorded by the policies of then"


def money_text(money: tuple[tuple[str, int], ...]) -> str:
    """Return sums as people read them."""
    return ", ".join(f"{major_text(minor, currency)} {currency}" for currency, minor in money)


def cause_text(cause: Cause) -> str:
    """Return what made a difference, with its place."""
    named = cause.kind if cause.kind == "schema" else f"{cause.kind} {cause.id}"
    return named if cause.source is None else f"{named} ({cause.source})"


def amount_text(flip: Flip) -> str:
    """Return the amount of a decision."""
    if flip.amount_minor is None or flip.currency is None:
        return ""
    return f"{major_text(flip.amount_minor, flip.currency)} {flip.currency}"


def codes_text(grounds: tuple[Ground, ...]) -> str:
    """Return the codes of reasons, each once."""
    return ", ".join(dict.fromkeys(ground.code for ground in grounds))

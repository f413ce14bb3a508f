"""How requests that two policy sets decide differently are told: in text, in JSON and in markdown.

People are shown the first ``SHOWN_MAX`` of each kind, what is allowed by the new set before the rest; JSON has all.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from sidecar.cli.diff_flips import Tried
from sidecar.cli.shown import code, plain
from sidecar.core.money import major_text
from sidecar.service.flips import Flip, Flips

SHOWN_MAX: Final = 20


def document(tried: Tried) -> dict[str, object]:
    """Return what the JSON format says of the requests."""
    return {"tests": _flips_document(tried.tests), "history": _flips_document(tried.history)}


def _flips_document(found: Flips | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "requests": found.requests,
        "same": found.requests - len(found.flips),
        "deny_to_allow": found.count("deny", "allow"),
        "allow_to_deny": found.count("allow", "deny"),
        "missing": found.missing,
        "flips": [_flip_document(flip) for flip in found.flips],
    }


def _flip_document(flip: Flip) -> dict[str, object]:
    return {
        "place": flip.place,
        "name": flip.name,
        "identity_id": flip.identity_id,
        "action": flip.action,
        "resource": flip.resource,
        "amount": _amount(flip),
        "currency": flip.currency,
        "old": {"verdict": flip.old.verdict, "because": flip.old.because},
        "new": {"verdict": flip.new.verdict, "because": flip.new.because},
    }


def _amount(flip: Flip) -> str | None:
    """Return the exact amount in major units, as text."""
    if flip.amount_minor is None or flip.currency is None:
        return None
    return major_text(flip.amount_minor, flip.currency)


def text(tried: Tried) -> Iterator[tuple[str, str]]:
    """Yield the lines, each behind the mark that its colour stands for."""
    for title, found, lacking in _asked(tried):
        yield "", ""
        yield "", f"{title}: {_counted(found, lacking)}"
        for flip in found.flips[:SHOWN_MAX]:
            mark = "+" if flip.new.verdict == "allow" else "-"
            yield mark, f"{mark} {_direction(flip)} {_asked_for(flip)} ({plain(flip.place)}, {plain(flip.name)})"
            yield "", f"    {plain('; '.join(flip.old.because))}"
            yield "", f"    → {plain('; '.join(flip.new.because))}"
        if len(found.flips) > SHOWN_MAX:
            yield "", f"  and {len(found.flips) - SHOWN_MAX} more"


def markdown(tried: Tried) -> Iterator[str]:
    """Yield a table for each set of requests."""
    for title, found, lacking in _asked(tried):
        yield from ("", f"**{title}**: {_counted(found, lacking)}.")
        if found.flips:
            yield from ("", "| | Request | Because | Where |", "|---|---|---|---|")
        for flip in found.flips[:SHOWN_MAX]:
            because = code("; ".join(flip.new.because))
            strong = "**" if flip.new.verdict == "allow" else ""
            told = f"{strong}{_direction(flip)}{strong}"
            yield f"| {told} | {code(_asked_for(flip))} | {because} | {code(flip.place)} |"
        if len(found.flips) > SHOWN_MAX:
            yield from ("", f"And {len(found.flips) - SHOWN_MAX} more.")


def _asked(tried: Tried) -> list[tuple[str, Flips, str]]:
    """Return what was asked for: what it is called, what came of it, and what is wrong with those that are missing."""
    both = (
        ("requests of tests", tried.tests, "cannot be decided by either"),
        ("decisions of the history", tried.history, "cannot be decided again, facts are missing"),
    )
    return [(title, found, lacking) for title, found, lacking in both if found is not None]


def _counted(found: Flips, lacking: str) -> str:
    directions = Counter((flip.old.verdict, flip.new.verdict) for flip in found.flips)
    told = [f"{count} from {old} to {new}{_money(found, old, new)}" for (old, new), count in directions.items()]
    missing = [f"{found.missing} {lacking}"] if found.missing else []
    return ", ".join([f"{found.requests} decided by both", *(told or ["none flips"]), *missing])


def _money(found: Flips, old: str, new: str) -> str:
    sums = Counter[str]()
    for flip in found.flips:
        if (flip.old.verdict, flip.new.verdict) == (old, new) and flip.amount_minor and flip.currency:
            sums[flip.currency] += flip.amount_minor
    told = ", ".join(f"{major_text(minor, currency)} {currency}" for currency, minor in sorted(sums.items()))
    return f" ({told})" if told else ""


def _direction(flip: Flip) -> str:
    return f"{flip.old.verdict} → {flip.new.verdict}"


def _asked_for(flip: Flip) -> str:
    amount = _amount(flip)
    paid = "" if amount is None else f" {amount} {flip.currency}"
    return plain(f"{flip.identity_id} {flip.action} {flip.resource}{paid}")

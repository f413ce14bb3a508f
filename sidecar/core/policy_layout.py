"""How the parts of a policy are laid out for people: its scope as Cedar writes it, its conditions without comments.

Policies that mean the same need not be laid out alike; whether they do is for ``sidecar.core.policy_meaning``.
"""

from sidecar.core.literals import entity
from sidecar.core.policy import format_statement
from sidecar.core.policy_scope import Constraint, EntityUid
from sidecar.core.policy_text import tokens


def scope_text(name: str, constraint: Constraint) -> str:
    """Return one part of a scope as it is written in a policy: ``principal is Agent in Team::"team_1"``."""
    kind = f" is {constraint.type_name}" if constraint.type_name is not None else ""
    slot = f"?{name}"
    if constraint.equal is not None or constraint.slot == "==":
        return f"{name}{kind} == {slot if constraint.equal is None else entity(*constraint.equal)}"
    if constraint.slot == "in":
        return f"{name}{kind} in {slot}"
    return f"{name}{kind}{_within_text(constraint.within)}"


def _within_text(within: tuple[EntityUid, ...] | None) -> str:
    if within is None:
        return ""
    written = [entity(*uid) for uid in within]
    return f" in {written[0]}" if len(written) == 1 else f" in [{', '.join(written)}]"


def conditions_text(text: str) -> str | None:
    """Return the ``when`` and ``unless`` of a policy as Cedar's formatter lays them out, without comments.

    None for a policy that has none.
    """
    formatted = format_statement(_without_comments(text))
    depth, before = 0, ""
    for token in tokens(formatted, ""):
        if depth == 0 and before != "@" and token.text in {"when", "unless"}:
            return formatted[token.offset :].rstrip()
        depth += (token.text in {"(", "[", "{"}) - (token.text in {")", "]", "}"})
        before = token.text
    return None


def _without_comments(text: str) -> str:
    pieces, end = [], 0
    for token in tokens(text, ""):
        pieces += [" "] if token.offset > end else []
        pieces.append(token.text)
        end = token.end
    return "".join(pieces)

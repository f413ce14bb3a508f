"""Where in a policy the validator's complaint belongs: Cedar says what is wrong, and not where.

The validator reads a policy from left to right, and what stands behind a place changes nothing that it says of it. So
the policy is cut behind each piece of its conditions, and the piece with which a complaint first appears is the one
meant; in that piece, the name that the complaint quotes is searched for.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final

from sidecar.core.condition_text import spans
from sidecar.core.policy_text import Token, tokens

Span = tuple[int, int]
"""Offsets of the first character and of the one behind the last."""

Complaints = Callable[[str], bool]
"""Whether a policy, given as text, has the complaint in question."""

_QUOTED: Final = re.compile(r"`([^`]+)`")


def head_span(text: str) -> Span:
    """Return where a statement's effect and scope stand."""
    found = list(tokens(text, ""))
    first = next((index for index, each in enumerate(found) if each.text in {"permit", "forbid"}), 0)
    depth = 0
    for token in found[first:]:
        depth += (token.text == "(") - (token.text == ")")
        if token.text == ")" and depth == 0:
            return found[first].offset, token.end
    return found[first].offset, found[-1].end


def sections(text: str) -> list[tuple[Span, str]]:
    """Return the head and each piece of the conditions of a statement, with the statement as it is when it ends there.

    The text must parse.
    """
    head = head_span(text)
    pieces = [(each.begin, each.end) for each in spans(text)]
    return [(head, text[: head[1]] + ";"), *((piece, text[: piece[1]] + " };") for piece in pieces)]


def first_section(text: str, complains: Complaints) -> Span:
    """Return the first part of a statement with which ``complains`` holds; the last one where it never does."""
    cuts = sections(text)
    index = bisect_left(cuts, True, hi=len(cuts) - 1, key=lambda cut: complains(cut[1]))  # noqa: FBT003 -- a key, no flag
    return cuts[index][0]


def fault_span(text: str, message: str, complains: Complaints) -> tuple[Span, Span]:
    """Return the part of a statement that the validator's ``message`` is about, and in it what it names."""
    section = first_section(text, complains)
    found = [token for token in tokens(text, "") if section[0] <= token.offset < section[1]]
    spans_named = (_named(found, name) for name in _QUOTED.findall(message))
    return section, next((span for span in spans_named if span is not None), section)


def entity_span(text: str, entity: str) -> Span:
    """Return where the conditions name an entity, ``User::"ann"``; the head where they write it otherwise."""
    head = head_span(text)
    return _named([token for token in tokens(text, "") if token.offset > head[1]], entity) or head


def _named(found: Sequence[Token], name: str) -> Span | None:
    """Return where ``name`` stands: a word, a path of attributes, an entity, or a text; rather as what is read."""
    wanted = [token.text.strip('"') for token in tokens(name, "")]
    size = len(wanted)
    texts = [token.text.strip('"') for token in found]
    hits = [index for index in range(len(found)) if texts[index : index + size] == wanted]
    if not hits:
        return None
    index = next((hit for hit in hits if hit and found[hit - 1].text in {".", "[", "("}), hits[0])
    return found[index].offset, found[index + size - 1].end

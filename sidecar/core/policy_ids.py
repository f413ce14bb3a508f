"""The ids of policies: what one can be, and how it is read off a text that writes it plainly, without asking Cedar."""

import re
from collections.abc import Sequence
from typing import Final

from sidecar.core.policy_text import Statement

ID_LENGTH_MAX: Final = 200
"""Characters of a policy's ``@id``: it is repeated in every answer that the policy decides."""

# Without escapes and comments: the text between the quotes is the value.
_ANNOTATION: Final = re.compile(r'@([A-Za-z_][A-Za-z_0-9]*+)\s*+\(\s*+"([^"\\]*+)"\s*+\)\s*+', re.ASCII)
_EFFECT: Final = re.compile(r"(?:permit|forbid)\b", re.ASCII)


def is_id(text: str) -> bool:
    """Whether ``text`` can be the id of a policy."""
    return 0 < len(text) <= ID_LENGTH_MAX and text.isprintable() and "`" not in text


def numbered_id(file: str, number: int) -> str:
    """Return the id of a policy without ``@id``: which one of its file it is, counted from 1."""
    return f"{file.rpartition('/')[2]}#{number}"


def plain_ids(statements: Sequence[Statement], file: str) -> tuple[str, ...] | None:
    """Return the ids of a file's policies in their order, None where one is no id or only Cedar can tell it."""
    found = [_plain_id(each.text, numbered_id(file, number)) for number, each in enumerate(statements, start=1)]
    ids = tuple(each for each in found if each is not None)
    return ids if len(ids) == len(found) else None


def _plain_id(text: str, otherwise: str) -> str | None:
    annotations: dict[str, str] = {}
    begin = 0
    while match := _ANNOTATION.match(text, begin):
        annotations[match[1]] = match[2]
        begin = match.end()
    policy_id = annotations.get("id", otherwise)
    return policy_id if _EFFECT.match(text, begin) and is_id(policy_id) else None

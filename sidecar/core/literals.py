"""String literals of Cedar's policy and schema language, written and read.

Invariant: ``unquote(quote(text)) == text`` for every text that has UTF-8, and a quoted text holds no character that
could end its literal or its line. Whatever is put into policy text goes through ``quote``, entity ids included.
Source: https://docs.cedarpolicy.com/policies/syntax-grammar.html
"""

import re
from typing import Final

_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE: Final = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{2})|(.))", re.DOTALL)


def quote(text: str) -> str:
    """Return ``text`` as a literal; a character that is not printable is written by its code point."""
    return '"' + "".join(map(_quoted, text)) + '"'


def entity(type_name: str, entity_id: str) -> str:
    """Return the entity of a Cedar type, such as ``Agent``, with any id: ``Agent::"id_9"``."""
    return f"{type_name}::{quote(entity_id)}"


def unquote(literal: str) -> str:
    """Return the text that a literal, quotes included, writes; raises ValueError for an escape unknown to Cedar."""
    return _ESCAPE.sub(_unescaped, literal[1:-1])


def _quoted(character: str) -> str:
    if character in {'"', "\\"}:
        return "\\" + character
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code:
        return chr(int(code, 16))
    if match[3] not in _ESCAPES:
        raise ValueError(f"unknown escape `{match[0]}`")
    return _ESCAPES[match[3]]

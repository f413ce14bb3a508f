"""The path and the host of a request that a proxy saw, read in the one way that every server agrees on, or refused.

A proxy passes a request on to an upstream that reads the path again: by its own rules. Whatever two readers are known
to read differently is therefore refused here and not tidied up: dot segments and doubled slashes (some resolve them,
some do not), encoded slashes, backslashes and percent signs (decoded once, twice or never), path parameters behind a
semicolon (some servers drop them), control characters, bytes that are no UTF-8. Nothing else is normalised: upper and
lower case, and two ways to write a character, are two paths. Sources: RFC 3986 sections 2.1, 3.3 and 6.2.2, RFC 9110
section 7.2.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from sidecar.core.errors import ValidationFailed

TARGET_LENGTH_MAX: Final = 8192
"""As long as a request line may be at the usual proxies."""

# `pchar` of RFC 3986 without `;`: many servers read what is behind it as a parameter and route without it.
_is_path: Final = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})*)+").fullmatch
_AMBIGUOUS: Final = frozenset("/\\%;?#\x7f") | frozenset(map(chr, range(0x20)))
"""Characters that must not come out of an encoding: one more reading of the path would read them as something else."""

_is_host: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*"
).fullmatch
_is_address: Final = re.compile(r"\[[0-9a-f:.]{2,45}\]").fullmatch
_PORT: Final = re.compile(r":[0-9]{0,5}\Z")


def segments_of(target: str) -> tuple[str, ...]:
    """Return the decoded segments of the path in ``target``, a path with its query; the last is empty after a slash.

    Raises ValidationFailed for a path that servers read in more than one way, and for a target without a path.
    """
    path, _, _ = target[: TARGET_LENGTH_MAX + 1].partition("?")
    if len(target) > TARGET_LENGTH_MAX:
        raise _refused(f"it is over {TARGET_LENGTH_MAX} characters")
    if _is_path(path) is None:
        raise _refused("it must begin with `/` and have no other than the plain characters of a path")
    written = path[1:].split("/")
    segments = tuple([_segment(each) for each in written])
    if "" in segments[:-1]:
        raise _refused("it has an empty segment")
    return segments


def host_of(text: str) -> str:
    """Return a host without its port, in lower case and without the dot of the root.

    Raises ValidationFailed for what is none.
    """
    host = _PORT.sub("", text.lower()).removesuffix(".")
    if _is_host(host) is None and _is_address(host) is None:
        raise ValidationFailed("the host cannot be read", field="host")
    return host


def _segment(written: str) -> str:
    if "%" not in written:
        segment = written
    else:
        try:
            segment = unquote_to_bytes(written).decode()
        except UnicodeDecodeError:
            raise _refused("an encoding in it is no UTF-8") from None
        if not _AMBIGUOUS.isdisjoint(segment):
            raise _refused("an encoded character in it would be read as another path, or not at all")
    if segment in {".", ".."}:
        raise _refused("it has a dot segment")
    return segment


def _refused(why: str) -> ValidationFailed:
    return ValidationFailed(f"the path could be read in more than one way: {why}", field="path")

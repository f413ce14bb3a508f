"""JSON that can be read in one way only: no duplicate keys, no NaN, no half of a surrogate pair, bounded nesting.

A number with a fraction or an exponent keeps its text, so that an amount is never a float. Source: RFC 8259, with what
it leaves open decided (RELIABILITY 5.3).
"""

import json
import re
from typing import Final, NoReturn

import orjson

from sidecar.core.errors import InvalidJson
from sidecar.core.limits import JSON_DEPTH_MAX
from sidecar.core.money import NumberText

_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""Every text of a body. One without an end goes to the end of the body, and nothing is tried twice: or the time would
grow with the square of the length."""
_STRUCTURE: Final = re.compile(_TEXT.pattern + rb"|[\[\]{}]", re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_OPENING: Final = frozenset(b"[{")
_KEY: Final = re.compile(rb'"([^"]*+)"\s*+:|"[^"]*+"')
"""Every string of a body without backslashes, kept where it is a key. Both must be taken, to stay in step."""


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidJson(f"the key `{key[:64]}` is given twice")
            seen.add(key)
    return found


def _constant(text: str) -> NoReturn:
    raise InvalidJson(f"`{text}` is not JSON")


_decoder: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=NumberText, parse_constant=_constant)


def is_plain(body: bytes) -> bool:
    """Whether it can be seen at a glance that ``body``, if it is JSON, gives no key twice and nests within bounds.

    False says nothing: a body with an escape, or with a key in two objects of it, takes a closer look.
    """
    if body.count(b"{") + body.count(b"[") > JSON_DEPTH_MAX:
        return False
    return _is_complete(body) or _keys_differ(body)


def _is_complete(body: bytes) -> bool:
    """Whether the values in ``body`` are all of it: written again they are these bytes, and no second key was dropped.

    So it is with what JavaScript writes, and others without spaces; of others it is not asked, as it costs too much.
    """
    if b'": ' in body:
        return False
    try:
        return orjson.dumps(orjson.loads(body)) == body
    except orjson.JSONDecodeError:
        return False


def _keys_differ(body: bytes) -> bool:
    """Whether ``body`` has neither escapes nor empty texts, and no two keys that are the same in whatever objects."""
    if b"\\" in body or b'""' in body:
        return False
    keys = [key for key in _KEY.findall(body) if key]  # an empty one would look like a text that is no key
    return len(set(keys)) == len(keys)


def decode(body: bytes, depth_max: int = JSON_DEPTH_MAX) -> object:
    """Return the value in ``body``. Raises InvalidJson, saying what is wrong and where."""
    _check_depth(body, depth_max)
    try:
        text = body.decode()
        value: object = _decoder.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidJson(f"byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg.lower()} at line {error.lineno} column {error.colno}") from error
    except ValueError as error:
        raise InvalidJson("a number has too many digits") from error
    if b"\\u" in body:
        _check_surrogates(value)
    return value


def canonical(value: object) -> bytes:
    """Return the bytes that stand for a decoded value when two bodies are compared.

    Key order and spaces do not matter.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def text_of(value: object) -> str:
    """Return a decoded value as JSON text again, with every number as it was written.

    Raises InvalidJson for an integer beyond 64 bits, which no field takes.
    """
    try:
        return orjson.dumps(value, default=_number).decode()
    except TypeError as error:
        raise InvalidJson("an integer has more than 64 bits") from error


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, NumberText):
        return orjson.Fragment(value.text.encode())
    raise TypeError


def _check_depth(body: bytes, depth_max: int) -> None:
    if body.count(b"{") + body.count(b"[") <= depth_max or _is_shallow(body, depth_max):
        return
    depth = 0
    for match in _STRUCTURE.finditer(body):
        token = match[0]
        if token[0] in _OPENING:
            depth += 1
            if depth > depth_max:
                raise InvalidJson(f"nested deeper than {depth_max} levels at byte {match.start()}")
        elif token in {b"]", b"}"}:
            depth -= 1


def _is_shallow(body: bytes, depth_max: int) -> bool:
    """Whether a body nests within bounds: at a tenth of the price of finding out where it does not."""
    depth = 0
    for bracket in _TEXT.sub(b"", body).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > depth_max:
            return False
    return True


def _check_surrogates(value: object) -> None:
    try:
        orjson.dumps(value, default=str)
    except TypeError as error:
        if "surrogates" in str(error) or "utf-8" in str(error).lower():
            raise InvalidJson("a text holds half of a surrogate pair") from error
